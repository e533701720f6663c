"""Voices over REST: what is known of one, and uploading, renaming, removing, defaults and pictures."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from anivoice.config import MEBIBYTE, Settings
from anivoice.errors import Forbidden, InvalidParameter, InvalidRequest, NotFound, TooLarge
from anivoice.server.json_text import parse_object
from anivoice.server.origins import is_loopback
from anivoice.server.preview import preview
from anivoice.server.state import APP_STATE, AppState
from anivoice.voices.archives import WANTED_SUFFIXES
from anivoice.voices.catalogue import Unlisted
from anivoice.voices.library import VoiceEntry, VoiceLibrary, read_settings
from anivoice.voices.store import VoiceStore

FILE_FIELD = "file"
TAKEN_SUFFIXES = (*WANTED_SUFFIXES, ".zip")
CHUNK_BYTES = 2**18
MAX_FILES = 16
MAX_TEXT_BYTES = 4096
MAX_PICTURE_BYTES = MEBIBYTE
MAX_CARDS = 1024
PICTURE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
TRUE_TEXTS = ("true", "1", "on", "yes")


class VoiceShelf:
    """The library and its store, with what was read of each voice, until its files change. For worker threads."""

    def __init__(self, library: VoiceLibrary, settings: Settings, has_keys: bool) -> None:
        self.library = library
        self.store = VoiceStore(library, settings.max_upload_mb * MEBIBYTE)
        self._refusal = _refusal(settings, has_keys)
        self._entries: OrderedDict[object, VoiceEntry] = OrderedDict()

    def card(self, name: str) -> dict[str, Any]:
        """All that is known of a voice, as JSON. Raises NotFound."""
        files = self.library.find(name)
        key = (files, files.stamp())
        if key not in self._entries:
            self._entries[key] = self.library.describe(files.name)
            while len(self._entries) > MAX_CARDS:
                self._entries.popitem(last=False)
        has_picture = self.store.picture(files.name) is not None
        picture = f"/models/{quote(files.name, safe='')}/picture" if has_picture else None
        defaults = {} if self._entries[key].problem else read_settings(files).defaults
        return _card(self._entries[key]) | {
            "defaults": dict(defaults),
            "picture": picture,
            "can_change": self._refusal is None,
        }

    def check_allowed(self) -> None:
        """Raises Forbidden where voices may not be changed over REST."""
        if self._refusal is not None:
            raise Forbidden(self._refusal)


SHELF = web.AppKey("SHELF", VoiceShelf)


def _refusal(settings: Settings, has_keys: bool) -> str | None:
    if settings.voice_changes == "off":
        return "voices cannot be changed over REST on this server: its setting voice_changes is off"
    if settings.voice_changes == "auto" and not has_keys and not is_loopback(settings.host):
        return (
            "voices cannot be changed by everybody who reaches this server: give it a key (ANIVOICE_API_KEY), or set "
            "voice_changes to on"
        )
    return None


def _card(entry: VoiceEntry) -> dict[str, Any]:
    config, index = entry.config, None
    if entry.index_name is not None:
        index = {
            "file": entry.index_name,
            "reason": entry.index_reason,
            "num_vectors": entry.num_index_vectors,
            "problem": entry.index_problem,
        }
    return {
        "name": entry.name,
        "file": entry.file_name,
        "size_bytes": entry.size_bytes,
        "version": config and config.version,
        "sample_rate_hz": config and config.sample_rate_hz,
        "has_f0": config and config.has_f0,
        "num_speakers": config and config.num_speakers,
        "vocoder": config and config.vocoder,
        "embedder_model": entry.embedder_model,
        "unvoiced_f0": config and entry.unvoiced_f0,
        "problem": entry.problem,
        "index": index,
    }


def add_voice_routes(app: web.Application, state: AppState) -> None:
    """The routes below `/models/`, and `POST /models`."""
    app[SHELF] = VoiceShelf(state.runtime.library, state.settings, state.keys.are_set)
    router = app.router
    router.add_post("/models", add_voices)
    router.add_get("/models/{name}", show_voice)
    router.add_patch("/models/{name}", change_voice)
    router.add_delete("/models/{name}", remove_voice)
    router.add_get("/models/{name}/preview", preview)
    router.add_get("/models/{name}/picture", show_picture)
    router.add_put("/models/{name}/picture", put_picture)
    router.add_delete("/models/{name}/picture", remove_picture)


async def show_voice(request: web.Request) -> web.Response:
    shelf, state = request.app[SHELF], request.app[APP_STATE]
    return web.json_response(await state.workers.run(shelf.card, _name(request)))


async def add_voices(request: web.Request) -> web.Response:
    """Everything is checked in a hidden folder before it is seen, and nothing stays behind when it is refused."""
    shelf, state = request.app[SHELF], request.app[APP_STATE]
    shelf.check_allowed()
    staging = shelf.store.staging()
    folder = await state.workers.run(staging.__enter__)
    try:
        fields, left_out = await _receive(request, folder, state)
        replace = fields.get("replace", "").lower() in TRUE_TEXTS
        added = await state.workers.run(shelf.store.add, folder, fields.get("name") or None, replace)
        cards = [await state.workers.run(shelf.card, name) for name in added.names]
    finally:
        await asyncio.shield(state.workers.run(staging.__exit__, None, None, None))
    answer = {"voices": cards, "left_out": [asdict(one) for one in (*left_out, *added.left_out)]}
    headers = {"Location": f"/models/{quote(added.names[0], safe='')}"}
    return web.json_response(answer, status=201, headers=headers)


async def change_voice(request: web.Request) -> web.Response:
    shelf, state = request.app[SHELF], request.app[APP_STATE]
    shelf.check_allowed()
    name = _name(request)
    async with _upload_errors(state.settings):
        body = await request.read()
    values = parse_object(body, "the body")
    unknown = sorted(values.keys() - {"name", "defaults"})
    if unknown:
        raise InvalidParameter(f"{unknown[0]}: no such entry; known are name and defaults")
    new, defaults = values.get("name"), values.get("defaults")
    if new is not None and not isinstance(new, str):
        raise InvalidParameter("name: must be text")
    if defaults is not None and not isinstance(defaults, Mapping):
        raise InvalidParameter("defaults: must be an object of parameters")
    if defaults is not None:
        await state.workers.run(shelf.store.set_defaults, name, defaults)
    if new is not None:
        await state.workers.run(shelf.store.rename, name, new)
        name = new
    return web.json_response(await state.workers.run(shelf.card, name))


async def remove_voice(request: web.Request) -> web.Response:
    shelf, state = request.app[SHELF], request.app[APP_STATE]
    shelf.check_allowed()
    await state.workers.run(shelf.store.remove, _name(request))
    return web.Response(status=204)


async def show_picture(request: web.Request) -> web.Response:
    shelf, state = request.app[SHELF], request.app[APP_STATE]
    path = await state.workers.run(shelf.store.picture, _name(request))
    if path is None:
        raise NotFound(f"voice {_name(request)!r} has no picture")
    content = await state.workers.run(path.read_bytes)
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'none'"}
    return web.Response(body=content, content_type=PICTURE_TYPES[path.suffix], headers=headers)


async def put_picture(request: web.Request) -> web.Response:
    shelf, state = request.app[SHELF], request.app[APP_STATE]
    shelf.check_allowed()
    content = bytearray()
    async with _upload_errors(state.settings):
        while chunk := await request.content.readany():
            content += chunk
            if len(content) > MAX_PICTURE_BYTES:
                raise TooLarge(f"the picture is larger than {MAX_PICTURE_BYTES // MEBIBYTE} MiB")
    await state.workers.run(shelf.store.set_picture, _name(request), bytes(content))
    return web.Response(status=204)


async def remove_picture(request: web.Request) -> web.Response:
    shelf, state = request.app[SHELF], request.app[APP_STATE]
    shelf.check_allowed()
    await state.workers.run(shelf.store.set_picture, _name(request), None)
    return web.Response(status=204)


def _name(request: web.Request) -> str:
    return request.match_info["name"]


async def _receive(request: web.Request, folder: Path, state: AppState) -> tuple[dict[str, str], list[Unlisted]]:
    """The text fields; files go to `folder`, those that are none of a voice are left out, with the reason."""
    if request.content_type != "multipart/form-data":
        raise InvalidRequest(f"send multipart/form-data with a field {FILE_FIELD}: curl -F {FILE_FIELD}=@voice.pth")
    form = _Form(folder, state)
    async with _upload_errors(state.settings):
        parts = await request.multipart()
    while True:
        async with _upload_errors(state.settings):
            part = await parts.next()
        if part is None:
            break
        if not isinstance(part, BodyPartReader) or part.name not in (FILE_FIELD, "name", "replace"):
            raise InvalidRequest(f"the form takes the fields {FILE_FIELD}, name and replace")
        await form.take(part)
    if form.num_files == 0:
        raise InvalidRequest(f"the form has no field {FILE_FIELD}: curl -F {FILE_FIELD}=@voice.pth")
    return form.fields, form.left_out


@asynccontextmanager
async def _upload_errors(settings: Settings) -> AsyncIterator[None]:
    """One step of reading a request, in its time; what goes wrong in our own words."""
    try:
        async with asyncio.timeout(settings.max_stall_seconds):
            yield
    except TimeoutError as error:
        raise InvalidRequest(f"the upload stood still for {settings.max_stall_seconds:g} s; send it again") from error
    except (ValueError, RuntimeError, LookupError, HttpProcessingError, web.RequestPayloadError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidRequest(f"the upload is cut off or is no multipart/form-data ({reason})") from error


class _Form:
    """What came so far of the form of `POST /models`."""

    def __init__(self, folder: Path, state: AppState) -> None:
        self.fields: dict[str, str] = {}
        self.left_out: list[Unlisted] = []
        self.num_files = 0
        self._folder = folder
        self._state = state
        self._bytes_left = state.settings.max_upload_mb * MEBIBYTE

    async def take(self, part: BodyPartReader) -> None:
        if part.name != FILE_FIELD:
            self.fields[str(part.name)] = await self._text(part)
            return
        self.num_files += 1
        if self.num_files > MAX_FILES:
            raise InvalidRequest(f"more than {MAX_FILES} files; pack them into a .zip")
        name = _file_name(part)
        if name.lower().endswith(TAKEN_SUFFIXES):
            await self._store(part, self._folder / name)
        else:
            self.left_out.append(Unlisted(name, f"its ending is none of {', '.join(TAKEN_SUFFIXES)}"))
            while await self._chunk(part):
                pass

    async def _text(self, part: BodyPartReader) -> str:
        text = await self._chunk(part)
        if len(text) > MAX_TEXT_BYTES or await self._chunk(part):
            raise InvalidRequest(f"the field {part.name} is longer than {MAX_TEXT_BYTES} bytes")
        return text.decode("utf-8", "replace").strip()

    async def _store(self, part: BodyPartReader, path: Path) -> None:
        workers = self._state.workers
        try:
            file = await workers.run(path.open, "xb")
        except FileExistsError as error:
            raise InvalidRequest(f"two files are called {path.name}; send one of them") from error
        try:
            while chunk := await self._chunk(part):
                await workers.run(file.write, chunk)
        finally:
            await asyncio.shield(workers.run(file.close))

    async def _chunk(self, part: BodyPartReader) -> bytes:
        """The next piece; empty at the end. Raises TooLarge."""
        async with _upload_errors(self._state.settings):
            raw = await part.read_chunk(CHUNK_BYTES)
            chunk = bytes(part.decode(raw))
        self._bytes_left -= len(chunk)
        if self._bytes_left < 0:
            raise TooLarge(f"the upload is larger than the limit of {self._state.settings.max_upload_mb} MiB")
        return chunk


def _file_name(part: BodyPartReader) -> str:
    """The plain name, without folders; not hidden. Clients send it as it is or percent-encoded."""
    name = PurePosixPath(unquote(part.filename or "").replace("\\", "/")).name.lstrip(".")
    if not name or "\0" in name or len(name.encode("utf-8", "surrogateescape")) > 240:
        raise InvalidRequest("a file of the form has no usable name")
    return name
