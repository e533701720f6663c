"""`GET /models/{name}/preview`: a bundled sentence (spoken by espeak-ng), said with this voice."""

from importlib import resources
from typing import BinaryIO

from aiohttp import web

from anivoice.server.convert import answer_headers, resolved_parameters, run_conversion, send_result
from anivoice.server.state import APP_STATE, CALLER
from anivoice.server.uploads import query_fields

SENTENCE = "preview.ogg"


async def preview(request: web.Request) -> web.StreamResponse:
    """Converted anew each time, as any recording; the query takes the parameters of `POST /convert`."""
    state, caller = request.app[APP_STATE], request[CALLER]
    fields = {**query_fields(request), "model_name": request.match_info["name"]}
    workers = state.workers
    with state.conversions.place(caller):
        parameters = await resolved_parameters(state, fields)
        async with workers.temporary_file() as sentence, workers.temporary_file() as result:
            await workers.run(_write_sentence, sentence)
            converted = await run_conversion(state, parameters, sentence, result, caller)
            headers = answer_headers(converted, parameters, SENTENCE)
            return await send_result(request, result, converted, headers, state)


def _write_sentence(file: BinaryIO) -> None:
    file.write((resources.files("anivoice.voices") / SENTENCE).read_bytes())
    file.seek(0)
