"""`POST /convert`: upload -> turn -> conversion on a thread -> the result streamed from its temporary file."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import quote, unquote

from aiohttp import HttpVersion11, hdrs, web

from anivoice.audio.files import CONTENT_TYPES, resolve_output_rate
from anivoice.engine.batch import Job
from anivoice.errors import Cancelled, Unavailable
from anivoice.offline import ConversionReport, ConversionTask, convert_file, index_use, resolve
from anivoice.server.auth import Caller
from anivoice.server.state import APP_STATE, CALLER, AppState, known_voice, voice_defaults
from anivoice.server.uploads import (
    FileParameters,
    ReceivedForm,
    Receiver,
    check_upload_headers,
    is_raw,
    parse_fields,
    query_fields,
)
from anivoice.server.workers import Workers

logger = logging.getLogger(__name__)

SEND_BYTES = 2**18
MAX_NAME_CHARS = 80
SAFE_IN_NAMES = " ()[]+,.;=@!'&~"
"""What of plain ASCII stays in a header's text; the rest is percent-encoded."""
OUT_OF_MEMORY = "there is not enough memory for this conversion now; try again later, or send the recording in parts"
RETRY_AFTER_S = 10.0


@dataclass(frozen=True)
class Converted:
    """A finished conversion; the result's `num_bytes` are in the file that was given."""

    task: ConversionTask
    report: ConversionReport
    num_bytes: int
    seconds: float


@dataclass
class ConversionWatch:
    """How far a conversion is: written on its thread, read on the event loop."""

    has_begun: bool = False
    total_s: float | None = None
    done_s: float = 0.0

    def told_length_s(self, seconds: float) -> None:
        self.total_s = seconds

    def told_share(self, share: float) -> None:
        self.done_s = share * (self.total_s or 0.0)


async def expect_later(request: web.Request) -> None:
    """`Expect: 100-continue` is answered by the handler, when it is sure that it wants the body."""


async def convert(request: web.Request) -> web.StreamResponse:
    """Of `POST /convert`: answers with the audio."""
    state = request.app[APP_STATE]
    caller = request[CALLER]
    check_upload_headers(request, state.settings)
    state.conversions.check_room(caller)
    async with state.workers.temporary_file() as upload:
        arrived_s = time.perf_counter()
        form = await receive_upload(request, upload, state)
        received_s = time.perf_counter()
        with state.conversions.place(caller):
            parameters = await resolved_parameters(state, form.fields)
            async with state.workers.temporary_file() as result:
                converted = await run_conversion(state, parameters, upload, result, caller)
                headers = answer_headers(converted, parameters, form.file_name)
                headers["Server-Timing"] = _server_timing(
                    upload=received_s - arrived_s,
                    wait=time.perf_counter() - received_s - converted.seconds,
                    convert=converted.seconds,
                )
                return await send_result(request, result, converted, headers, state)


async def receive_upload(request: web.Request, upload: BinaryIO, state: AppState) -> ReceivedForm:
    """The whole upload. What is wrong already before the audio is refused before it is read."""
    query = query_fields(request)
    async with state.arrivals.admit(request[CALLER].name) as arrival:
        receiver = Receiver(upload, state.workers, state.settings.max_upload_mb, arrival)
        if is_raw(request):
            await _check_early(state, query)
            await _send_continue(request)
            return await receiver.receive_body(request, query)
        await _send_continue(request)
        return await receiver.receive_form(request, query, partial(_check_early, state))


async def _check_early(state: AppState, fields: Mapping[str, str]) -> None:
    parameters = parse_fields(fields, state.defaults)
    if parameters.model_name is not None:
        await state.workers.run(state.runtime.library.find, parameters.model_name)


async def resolved_parameters(state: AppState, fields: Mapping[str, str]) -> FileParameters:
    """With the voice's full name and, where the request says nothing, its own defaults."""
    asked = parse_fields(fields, state.defaults).model_name
    name = await state.workers.run(known_voice, state.runtime.library, asked)
    defaults = await state.workers.run(voice_defaults, state.runtime.library, name, state.defaults)
    parameters = parse_fields(fields, defaults)
    return parameters.model_copy(update={"model_name": name})


async def run_conversion(
    state: AppState,
    parameters: FileParameters,
    upload: BinaryIO,
    result: BinaryIO,
    caller: Caller,
    watch: "ConversionWatch | None" = None,
) -> Converted:
    """Waits for its turn, converts and counts."""
    metrics = state.metrics
    work = partial(convert_upload, state, parameters, upload, result, watch or ConversionWatch())
    try:
        converted = await state.conversions.run(work, caller.name)
    except (asyncio.CancelledError, Cancelled):
        metrics.conversions.labels("cancelled").inc()
        raise
    except Exception as error:
        metrics.conversions.labels("failed").inc()
        if state.runtime.runner.is_out_of_memory(error):
            logger.warning("a conversion failed for want of memory: %s", type(error).__name__)
            raise Unavailable(OUT_OF_MEMORY, RETRY_AFTER_S) from error
        raise
    output_seconds = converted.report.num_samples / converted.report.sample_rate_hz
    metrics.count_conversion(converted.report.input_seconds, output_seconds, converted.seconds)
    return converted


def convert_upload(
    state: AppState,
    parameters: FileParameters,
    upload: BinaryIO,
    result: BinaryIO,
    watch: "ConversionWatch",
    job: Job,
) -> Converted:
    """On a conversion thread: the whole conversion of an uploaded file. Raises AnivoiceError."""
    runtime = state.runtime
    watch.has_begun = True
    with runtime.voices.using(str(parameters.model_name), parameters.index_rate > 0) as voice:
        task = resolve(voice, parameters, runtime.runner.pitch)
        rate_hz = resolve_output_rate(
            parameters.output_format, parameters.output_sample_rate, voice.config.sample_rate_hz
        )
        task = replace(
            task,
            output_format=parameters.output_format,
            output_rate_hz=rate_hz,
            max_seconds=state.settings.max_audio_seconds,
            marks_synthetic=state.settings.mark_synthetic,
        )
        started_s = time.perf_counter()
        report = convert_file(runtime.engine, task, upload, result, job, watch.told_share, watch.told_length_s)
        seconds = time.perf_counter() - started_s
    num_bytes = result.seek(0, os.SEEK_END)
    result.seek(0)
    chosen = "chosen" if parameters.pitch_extraction_algo else "default"
    logger.info(
        "converted %.2f s in %.2f s: voice %s, pitch %s (%s), index %s",
        *(report.input_seconds, seconds, voice.name, task.pitch_algo, chosen, index_use(voice, parameters)),
    )
    return Converted(task, report, num_bytes, seconds)


def answer_headers(converted: Converted, parameters: FileParameters, file_name: str) -> dict[str, str]:
    """What the answer says about itself. Names are percent-encoded where they are not plain ASCII."""
    task, report = converted.task, converted.report
    return {
        "Content-Type": CONTENT_TYPES[task.output_format],
        "Content-Disposition": content_disposition(file_name, task.voice.name, task.output_format),
        "X-Anivoice-Voice": quote(task.voice.name, safe=SAFE_IN_NAMES, errors="surrogateescape"),
        "X-Anivoice-Pitch-Method": task.pitch_algo,
        "X-Anivoice-Seed": str(task.seed),
        "X-Anivoice-Index": index_use(task.voice, task.parameters),
        "X-Anivoice-Sample-Rate": str(report.sample_rate_hz),
        "X-Anivoice-Audio-Seconds": f"{report.num_samples / report.sample_rate_hz:.6f}",
        "X-Anivoice-Real-Time-Factor": f"{converted.seconds / report.input_seconds:.4f}",
        **_index_headers(task),
        **_notes_header(report.notes),
    }


def _index_headers(task: ConversionTask) -> dict[str, str]:
    """Which index was used, and why that one."""
    files = task.voice.files
    if files.index_path is None or index_use(task.voice, task.parameters) != "used":
        return {}
    return {
        "X-Anivoice-Index-File": quote(files.index_path.name, safe=SAFE_IN_NAMES, errors="surrogateescape"),
        "X-Anivoice-Index-Reason": quote(str(files.index_reason), safe=SAFE_IN_NAMES),
    }


def _notes_header(notes: Sequence[str]) -> dict[str, str]:
    """Sentences, each percent-encoded: it may hold a voice's name."""
    return {"X-Anivoice-Notes": ", ".join(quote(note, safe=" :;.()") for note in notes)} if notes else {}


def content_disposition(upload_name: str, voice_name: str, output_format: str) -> str:
    """`attachment` with the name `<upload stem>_<voice>.<format>`, safe for every file system (RFC 6266).

    Clients send the upload's name as it is or percent-encoded.
    """
    name = content_name(upload_name, voice_name, output_format)
    plain = re.sub(r"[^\x20-\x7e]", "_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='', errors='surrogateescape')}"
    return f'attachment; filename="{plain}"{extended}'


def content_name(upload_name: str, voice_name: str, output_format: str) -> str:
    """What the result may be called: `<upload stem>_<voice>.<format>`."""
    stem = PurePosixPath(unquote(upload_name).replace("\\", "/")).stem
    return f"{_safe_name(stem) or 'audio'}_{_safe_name(voice_name) or 'voice'}.{output_format}"


def _safe_name(text: str) -> str:
    """Letters, digits, `-`, `_`, `.` and spaces inside; everything else becomes `_`."""
    return re.sub(r"[^\w\-. ]", "_", text)[:MAX_NAME_CHARS].strip(". ")


def _server_timing(**seconds: float) -> str:
    return ", ".join(f"{name};dur={1000 * max(value, 0.0):.1f}" for name, value in seconds.items())


async def send_result(
    request: web.Request, result: BinaryIO, converted: Converted, headers: Mapping[str, str], state: AppState
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_length = converted.num_bytes
    await response.prepare(request)
    await _send_file(response, result, converted.num_bytes, state.workers, state.settings.max_stall_seconds)
    return response


async def _send_file(
    response: web.StreamResponse, file: BinaryIO, num_bytes: int, workers: Workers, max_stall_s: float
) -> None:
    """Nothing is awaited after the last byte: a client that has everything may hang up."""
    for start in range(0, num_bytes, SEND_BYTES):
        chunk = await workers.run(file.read, min(SEND_BYTES, num_bytes - start))
        async with asyncio.timeout(max_stall_s):
            await response.write(chunk)
    await response.write_eof()


async def _send_continue(request: web.Request) -> None:
    """Tells a client that asked before sending (`Expect: 100-continue`) that its body is wanted."""
    expectation = request.headers.get(hdrs.EXPECT, "").lower()
    if expectation and expectation != "100-continue":
        raise web.HTTPExpectationFailed
    if expectation and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # As aiohttp's own handler does: the interim answer is no part of the response.
        request.writer.output_size = 0
