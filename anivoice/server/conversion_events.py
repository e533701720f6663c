"""`POST /convert` with `Accept: text/event-stream`: progress as events, the audio at an address of its own."""

import asyncio
import io
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from aiohttp import web

from anivoice.errors import AnivoiceError, Cancelled, NotFound
from anivoice.server.convert import (
    ConversionWatch,
    Converted,
    answer_headers,
    content_name,
    convert,
    receive_upload,
    resolved_parameters,
    run_conversion,
    send_result,
)
from anivoice.server.state import APP_STATE, CALLER, AppState
from anivoice.server.uploads import ReceivedForm, check_upload_headers

logger = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
EVENT_HEADERS = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
POLL_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 10.0
RESULT_TTL_SECONDS = 120
MAX_WAITING_RESULTS = 32


@dataclass
class WaitingResult:
    """A finished conversion that has not been fetched; `files` closes its temporary file."""

    files: AsyncExitStack
    file: BinaryIO
    converted: Converted
    headers: Mapping[str, str]


class ConversionJobs:
    """Conversions that run with events, and results that wait, by their secret ids. Belongs to the event loop."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[Converted]] = {}
        self._waiting: OrderedDict[str, WaitingResult] = OrderedDict()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def began(self, job_id: str, conversion: "asyncio.Future[Converted]") -> None:
        self._running[job_id] = conversion

    def ended(self, job_id: str) -> None:
        self._running.pop(job_id, None)

    async def keep(self, job_id: str, result: WaitingResult) -> None:
        """Until it is fetched, for RESULT_TTL_SECONDS; the oldest gives way when there are too many."""
        self._waiting[job_id] = result
        loop = asyncio.get_running_loop()
        self._timers[job_id] = loop.call_later(RESULT_TTL_SECONDS, lambda: asyncio.ensure_future(self._drop(job_id)))
        while len(self._waiting) > MAX_WAITING_RESULTS:
            await self._drop(next(iter(self._waiting)))

    def take(self, job_id: str) -> WaitingResult:
        """Raises NotFound."""
        if job_id not in self._waiting:
            raise NotFound("there is no such result: it is not done yet, was fetched, or has expired; convert again")
        self._timers.pop(job_id).cancel()
        return self._waiting.pop(job_id)

    async def cancel(self, job_id: str) -> None:
        """Ends what runs, drops what waits. Raises NotFound."""
        if job_id in self._running:
            self._running[job_id].cancel()
            return
        await self.take(job_id).files.aclose()

    async def close(self) -> None:
        for job_id in list(self._waiting):
            await self._drop(job_id)

    async def _drop(self, job_id: str) -> None:
        if job_id in self._waiting:
            await self.take(job_id).files.aclose()


JOBS = web.AppKey("JOBS", ConversionJobs)


def add_conversion_routes(app: web.Application) -> None:
    """`/conversions/{job_id}`."""
    app[JOBS] = ConversionJobs()
    app.router.add_get("/conversions/{job_id}", fetch_result)
    app.router.add_delete("/conversions/{job_id}", cancel_conversion)
    app.on_shutdown.append(_close_jobs)


async def _close_jobs(app: web.Application) -> None:
    await app[JOBS].close()


async def fetch_result(request: web.Request) -> web.StreamResponse:
    """The audio. Once it has been sent whole it is gone; a broken download can be begun again."""
    job_id, jobs = request.match_info["job_id"], request.app[JOBS]
    result = jobs.take(job_id)
    try:
        await request.app[APP_STATE].workers.run(result.file.seek, 0)
        response = await send_result(request, result.file, result.converted, result.headers, request.app[APP_STATE])
    except BaseException:
        await jobs.keep(job_id, result)
        raise
    await result.files.aclose()
    return response


async def cancel_conversion(request: web.Request) -> web.Response:
    await request.app[JOBS].cancel(request.match_info["job_id"])
    return web.Response(status=204)


async def convert_or_tell(request: web.Request) -> web.StreamResponse:
    """The handler of `POST /convert`: the audio, or events for who accepts those."""
    if EVENT_STREAM not in request.headers.get("Accept", ""):
        return await convert(request)
    state, caller = request.app[APP_STATE], request[CALLER]
    check_upload_headers(request, state.settings)
    state.conversions.check_room(caller)
    async with state.workers.temporary_file() as upload:
        form = await receive_upload(request, upload, state)
        with state.conversions.place(caller):
            return await _Telling(request, state, upload, form).run()


class _Telling:
    """One conversion whose client is told how far it is."""

    def __init__(self, request: web.Request, state: AppState, upload: BinaryIO, form: ReceivedForm) -> None:
        self._request = request
        self._state = state
        self._upload = upload
        self._form = form
        self._response = web.StreamResponse(headers=EVENT_HEADERS)
        self._job_id = secrets.token_urlsafe(16)
        self._watch = ConversionWatch()

    async def run(self) -> web.StreamResponse:
        parameters = await resolved_parameters(self._state, self._form.fields)
        num_bytes = await self._state.workers.run(_length_of, self._upload)
        await self._response.prepare(self._request)
        url = f"/conversions/{self._job_id}"
        await self._tell("received", {"job": self._job_id, "url": url, "received_bytes": num_bytes})
        async with AsyncExitStack() as files:
            file = await files.enter_async_context(self._state.workers.temporary_file())
            try:
                converted = await self._convert(parameters, file)
            except Exception as error:
                await self._tell("failed", self._failure(error))
            else:
                headers = answer_headers(converted, parameters, self._form.file_name)
                result = WaitingResult(files.pop_all(), file, converted, headers)
                await self._request.app[JOBS].keep(self._job_id, result)
                done = {"url": url, "expires_in": RESULT_TTL_SECONDS, "num_bytes": converted.num_bytes}
                name = content_name(self._form.file_name, converted.task.voice.name, converted.task.output_format)
                await self._tell("done", {**done, "file_name": name, "headers": headers})
        await self._response.write_eof()
        return self._response

    async def _convert(self, parameters: Any, file: BinaryIO) -> Converted:
        """Tells how far it is until it is done. Who hangs up, or `DELETE`, cancels it."""
        caller = self._request[CALLER]
        conversion = asyncio.ensure_future(
            run_conversion(self._state, parameters, self._upload, file, caller, self._watch)
        )
        jobs = self._request.app[JOBS]
        jobs.began(self._job_id, conversion)
        try:
            await self._tell_until_done(conversion)
        finally:
            jobs.ended(self._job_id)
            if not conversion.done():
                conversion.cancel()
                await asyncio.wait([conversion])
        if conversion.cancelled():
            raise Cancelled("the conversion was cancelled")
        return conversion.result()

    async def _tell_until_done(self, conversion: "asyncio.Future[Converted]") -> None:
        told, told_s = None, time.monotonic()
        while not conversion.done():
            now = self._progress()
            if now != told:
                told, told_s = now, time.monotonic()
                await self._tell("progress", now)
            elif time.monotonic() - told_s >= KEEP_ALIVE_SECONDS:
                told_s = time.monotonic()
                await self._write(b": waiting\n\n")
            await asyncio.wait([conversion], timeout=POLL_SECONDS)

    def _progress(self) -> dict[str, Any]:
        watch = self._watch
        total_s = None if watch.total_s is None else round(watch.total_s, 3)
        return {
            "state": "converting" if watch.has_begun else "waiting",
            "done_s": round(watch.done_s, 3),
            "total_s": total_s,
        }

    def _failure(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, AnivoiceError):
            return {"error": str(error), "status": error.http_status}
        logger.error("conversion %s failed", self._job_id[:4], exc_info=error)
        return {"error": "internal error; see the server's log", "status": 500}

    async def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        await self._write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    async def _write(self, text: bytes) -> None:
        async with asyncio.timeout(self._state.settings.max_stall_seconds):
            await self._response.write(text)


def _length_of(file: BinaryIO) -> int:
    """In bytes; leaves the file at its beginning."""
    num_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    return num_bytes
