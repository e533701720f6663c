"""What `POST /convert` takes: a form of text fields and one audio file in any order, or the recording as the body.

The audio goes straight to disk, all is bounded. How fast it must come, `arrivals.py` says.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, BinaryIO

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError
from pydantic import Field

from anivoice.audio.files import MAX_RATE_HZ, MIN_RATE_HZ, OutputFormat, check_output
from anivoice.config import MEBIBYTE, Settings
from anivoice.errors import InvalidRequest, TooLarge, UndecodableAudio
from anivoice.parameters import Blank, ConversionParameters
from anivoice.server.arrivals import Arrival
from anivoice.server.workers import Workers

AUDIO_FIELD = "audio_file"
CHUNK_BYTES = 2**18
MAX_FIELDS = 64
MAX_FIELD_BYTES = 4096
MAX_FORM_OVERHEAD_BYTES = 2**20
"""What a request may hold beside the audio: boundaries, part headers, parameters."""

RAW_TYPES = ("audio/", "video/", "application/octet-stream", "application/ogg")
"""A body of these types is a recording itself."""

BeforeAudio = Callable[[Mapping[str, str]], Awaitable[None]]


class FileParameters(ConversionParameters):
    """The fields of the form beside the audio: the parameters, and how the result is written."""

    output_format: OutputFormat = Field("wav", description="Format of the answer.")
    output_sample_rate: Annotated[int | None, Blank] = Field(
        None,
        ge=MIN_RATE_HZ,
        le=MAX_RATE_HZ,
        description="Sample rate of the answer in Hz. Default: the voice's (for mp3 the next one that mp3 knows).",
    )


@dataclass(frozen=True)
class ReceivedForm:
    """What was sent beside the audio."""

    fields: Mapping[str, str]
    file_name: str


def parse_fields(fields: Mapping[str, str], defaults: ConversionParameters) -> FileParameters:
    """Raises InvalidParameter that names each wrong field."""
    parameters = FileParameters.parse(fields, defaults)
    assert isinstance(parameters, FileParameters)
    if parameters.output_sample_rate is not None:
        check_output(parameters.output_format, parameters.output_sample_rate)
    return parameters


def check_upload_headers(request: web.Request, settings: Settings) -> None:
    """Raises InvalidRequest or TooLarge for what can be seen without reading the body."""
    if request.content_type != "multipart/form-data" and not is_raw(request):
        raise InvalidRequest(
            f"send multipart/form-data with the field {AUDIO_FIELD}, or the recording itself as audio/..., not "
            f"{request.content_type}: curl -F {AUDIO_FIELD}=@speech.wav"
        )
    max_bytes = settings.max_upload_mb * MEBIBYTE
    if request.content_length is not None and request.content_length > max_bytes + MAX_FORM_OVERHEAD_BYTES:
        raise _too_large(settings.max_upload_mb)


def is_raw(request: web.Request) -> bool:
    """The body is the recording, without a form around it."""
    return request.content_type.startswith(RAW_TYPES)


def query_fields(request: web.Request) -> dict[str, str]:
    """The parameters of the address, as a form's. Raises InvalidRequest when one comes twice."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise InvalidRequest(f"the address has the parameter {name[:100]!r} twice; send it once")
    return dict(request.query)


class Receiver:
    """Reads one upload to `upload`. Raises InvalidRequest, and TooLarge as soon as a limit is passed."""

    def __init__(self, upload: BinaryIO, workers: Workers, max_upload_mb: int, arrival: Arrival) -> None:
        self._upload = upload
        self._workers = workers
        self._max_upload_mb = max_upload_mb
        self._arrival = arrival
        self._num_bytes = 0

    async def receive_body(self, request: web.Request, fields: Mapping[str, str]) -> ReceivedForm:
        """The recording is the body."""
        with body_errors():
            async for chunk in request.content.iter_chunked(CHUNK_BYTES):
                self._arrival.count(len(chunk))
                await self._store(chunk)
        return await self._stored(fields, "")

    async def receive_form(
        self, request: web.Request, fields: dict[str, str], before_audio: BeforeAudio
    ) -> ReceivedForm:
        """The whole form, its fields over `fields`. `before_audio` sees those that came before the audio."""
        given: dict[str, str] = {}
        audio: ReceivedForm | None = None
        with _form_errors():
            parts = await request.multipart()
        while (part := await _next_part(parts)) is not None:
            name = part.name or ""
            if name in given or (audio is not None and name == AUDIO_FIELD):
                raise InvalidRequest(f"the form has the field {name[:100]!r} twice; send it once")
            if name == AUDIO_FIELD:
                await before_audio({**fields, **given})
                audio = await self._receive_audio(part)
            elif part.filename is not None:
                raise InvalidRequest(f"the recording's field is called {AUDIO_FIELD}, not {name[:100]!r}")
            elif len(given) >= MAX_FIELDS:
                raise InvalidRequest(f"the form has more than {MAX_FIELDS} fields")
            else:
                given[name] = await self._text(part, name)
        if audio is None:
            raise InvalidRequest(f"the form has no field {AUDIO_FIELD}: curl -F {AUDIO_FIELD}=@speech.wav")
        return replace(audio, fields={**fields, **given})

    async def _receive_audio(self, part: BodyPartReader) -> ReceivedForm:
        while chunk := await self._chunk(part):
            await self._store(chunk)
        return await self._stored({}, part.filename or "")

    async def _store(self, chunk: bytes) -> None:
        self._num_bytes += len(chunk)
        if self._num_bytes > self._max_upload_mb * MEBIBYTE:
            raise _too_large(self._max_upload_mb)
        await self._workers.run(self._upload.write, chunk)

    async def _stored(self, fields: Mapping[str, str], file_name: str) -> ReceivedForm:
        if self._num_bytes == 0:
            raise UndecodableAudio(f"{AUDIO_FIELD} is empty; send a recording")
        await self._workers.run(self._upload.seek, 0)
        return ReceivedForm(fields, file_name)

    async def _text(self, part: BodyPartReader, name: str) -> str:
        text = b""
        while chunk := await self._chunk(part):
            text += chunk
            if len(text) > MAX_FIELD_BYTES:
                raise InvalidRequest(f"the field {name[:100]!r} is longer than {MAX_FIELD_BYTES} bytes")
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the field {name[:100]!r} is not UTF-8 text") from error

    async def _chunk(self, part: BodyPartReader) -> bytes:
        """The next piece of the part, decoded; empty at its end."""
        with _form_errors():
            while raw := await part.read_chunk(CHUNK_BYTES):
                self._arrival.count(len(raw))
                if chunk := bytes(part.decode(raw)):
                    return chunk
        return b""


async def _next_part(parts: MultipartReader) -> BodyPartReader | None:
    with _form_errors():
        part = await parts.next()
    if isinstance(part, MultipartReader):
        raise InvalidRequest("a part of the form is a form of its own; send plain fields")
    if part is not None and not part.name:
        raise InvalidRequest("a part of the form has no name; send fields with names")
    return part


def _too_large(max_upload_mb: int) -> TooLarge:
    return TooLarge(f"{AUDIO_FIELD} is larger than the limit of {max_upload_mb} MiB; send it in parts, or as FLAC")


@contextmanager
def _form_errors() -> Iterator[None]:
    """What aiohttp's reader raises, in our own words."""
    try:
        with body_errors():
            yield
    except (ValueError, RuntimeError, LookupError, HttpProcessingError) as error:
        text = error.message if isinstance(error, HttpProcessingError) else str(error)
        reason = " ".join(text.split())[:200] or type(error).__name__
        raise InvalidRequest(f"the form is cut off or is no multipart/form-data ({reason})") from error


@contextmanager
def body_errors() -> Iterator[None]:
    """What aiohttp raises while it reads a body, as InvalidRequest."""
    try:
        yield
    except (web.RequestPayloadError, ContentEncodingError) as error:
        raise InvalidRequest(
            "the body is cut off, or is not encoded as its Content-Encoding or Transfer-Encoding says; send it again"
        ) from error
