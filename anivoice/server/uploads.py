"""The form of `POST /convert`: text fields and one audio file in any order, the file straight to disk, all bounded."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import Field

from anivoice.audio.files import MAX_RATE_HZ, MIN_RATE_HZ, OutputFormat, check_output
from anivoice.config import MEBIBYTE, Settings
from anivoice.errors import InvalidRequest, TooLarge
from anivoice.parameters import Blank, ConversionParameters
from anivoice.server.workers import Workers

AUDIO_FIELD = "audio_file"
CHUNK_BYTES = 2**18
MAX_FIELDS = 64
MAX_FIELD_BYTES = 4096
MAX_FORM_OVERHEAD_BYTES = 2**20
"""What a request may hold beside the audio: boundaries, part headers, parameters."""

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
    """What was sent; the audio's `num_bytes` are in the file that was given to `receive_form`."""

    fields: Mapping[str, str]
    file_name: str
    num_bytes: int


def parse_fields(fields: Mapping[str, str], defaults: ConversionParameters) -> FileParameters:
    """Raises InvalidParameter that names each wrong field."""
    parameters = FileParameters.parse(fields, defaults)
    assert isinstance(parameters, FileParameters)
    if parameters.output_sample_rate is not None:
        check_output(parameters.output_format, parameters.output_sample_rate)
    return parameters


def check_upload_headers(request: web.Request, settings: Settings) -> None:
    """Raises InvalidRequest or TooLarge for what can be seen without reading the body."""
    if request.content_type != "multipart/form-data":
        raise InvalidRequest(
            f"send multipart/form-data with the field {AUDIO_FIELD}, not {request.content_type}: "
            f"curl -F {AUDIO_FIELD}=@speech.wav"
        )
    max_bytes = settings.max_upload_mb * MEBIBYTE
    if request.content_length is not None and request.content_length > max_bytes + MAX_FORM_OVERHEAD_BYTES:
        raise _too_large(settings.max_upload_mb)


async def receive_form(
    request: web.Request, upload: BinaryIO, workers: Workers, settings: Settings, before_audio: BeforeAudio
) -> ReceivedForm:
    """Reads the whole form; the audio goes to `upload`. `before_audio` sees the fields that came before it.

    Raises InvalidRequest, TooLarge as soon as a limit is passed, and what `before_audio` raises.
    """
    fields: dict[str, str] = {}
    audio: ReceivedForm | None = None
    with _form_errors(settings):
        parts = await request.multipart()
    while (part := await _next_part(parts, settings)) is not None:
        name = part.name or ""
        if name in fields or (audio is not None and name == AUDIO_FIELD):
            raise InvalidRequest(f"the form has the field {name[:100]!r} twice; send it once")
        if name == AUDIO_FIELD:
            await before_audio(fields)
            num_bytes = await _store(part, upload, workers, settings)
            audio = ReceivedForm(fields, part.filename or "", num_bytes)
        elif len(fields) >= MAX_FIELDS:
            raise InvalidRequest(f"the form has more than {MAX_FIELDS} fields")
        else:
            fields[name] = await _text(part, name, settings)
    if audio is None:
        raise InvalidRequest(f"the form has no field {AUDIO_FIELD}: curl -F {AUDIO_FIELD}=@speech.wav")
    return audio


async def _next_part(parts: MultipartReader, settings: Settings) -> BodyPartReader | None:
    with _form_errors(settings):
        async with asyncio.timeout(settings.max_stall_seconds):
            part = await parts.next()
    if isinstance(part, MultipartReader):
        raise InvalidRequest("a part of the form is a form of its own; send plain fields")
    if part is not None and not part.name:
        raise InvalidRequest("a part of the form has no name; send fields with names")
    return part


async def _chunk(part: BodyPartReader, settings: Settings) -> bytes:
    """The next piece of the part, decoded; empty at its end."""
    with _form_errors(settings):
        async with asyncio.timeout(settings.max_stall_seconds):
            while raw := await part.read_chunk(CHUNK_BYTES):
                if chunk := bytes(part.decode(raw)):
                    return chunk
    return b""


async def _store(part: BodyPartReader, upload: BinaryIO, workers: Workers, settings: Settings) -> int:
    num_bytes = 0
    while chunk := await _chunk(part, settings):
        num_bytes += len(chunk)
        if num_bytes > settings.max_upload_mb * MEBIBYTE:
            raise _too_large(settings.max_upload_mb)
        await workers.run(upload.write, chunk)
    await workers.run(upload.seek, 0)
    return num_bytes


async def _text(part: BodyPartReader, name: str, settings: Settings) -> str:
    text = b""
    while chunk := await _chunk(part, settings):
        text += chunk
        if len(text) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"the field {name[:100]!r} is longer than {MAX_FIELD_BYTES} bytes")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the field {name[:100]!r} is not UTF-8 text") from error


def _too_large(max_upload_mb: int) -> TooLarge:
    return TooLarge(f"{AUDIO_FIELD} is larger than the limit of {max_upload_mb} MiB; send it in parts, or as FLAC")


@contextmanager
def _form_errors(settings: Settings) -> Iterator[None]:
    """What aiohttp's reader raises, in our own words."""
    try:
        yield
    except TimeoutError as error:
        raise InvalidRequest(f"the upload stood still for {settings.max_stall_seconds:g} s; send it again") from error
    except (ValueError, RuntimeError, LookupError, HttpProcessingError, web.RequestPayloadError) as error:
        text = error.message if isinstance(error, HttpProcessingError) else str(error)
        reason = " ".join(text.split())[:200] or type(error).__name__
        raise InvalidRequest(f"the form is cut off or is no multipart/form-data ({reason})") from error
