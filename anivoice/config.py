"""Settings, built once at start and frozen: from the command line, then the environment, then `.env`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from anivoice.errors import InvalidParameter
from anivoice.parameters import ConversionParameters, describe_validation_error
from anivoice.voices.box import WEIGHTS_DIR, user_weights_dir

DEFAULT_PARAMETER_NAMES = ("MODEL_NAME", "PITCH_CHANGE", "VOLUME_ENVELOPE", "INDEX_RATE", "PITCH_EXTRACTION_ALGO")
MEBIBYTE = 2**20


class Settings(BaseSettings):
    """Server settings: `ANIVOICE_<NAME>` in the environment, `--<name>` on the command line."""

    model_config = SettingsConfigDict(
        env_prefix="ANIVOICE_", env_file=".env", env_file_encoding="utf-8", frozen=True, extra="ignore"
    )

    host: str = Field(
        "127.0.0.1", description="Address to listen on; another than 127.0.0.1 opens the server to others."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on, 0 for any free one.")
    https: bool = Field(
        False,
        description="Serve over HTTPS, with this machine's own certificate unless tls_cert is given; other "
        "machines' browsers give their microphone to such pages only.",
    )
    tls_cert: Path | None = Field(None, description="Certificate (PEM, with its chain) for HTTPS.")
    tls_key: Path | None = Field(None, description="Key of the certificate, where it is not in the same file.")
    api_key: str | None = Field(
        None,
        min_length=8,
        description="When set, every request must carry it as a bearer token. On the command line every user of the "
        "machine sees it: better ANIVOICE_API_KEY in the environment or .env, or a key file.",
    )
    api_key_file: Path | None = Field(
        None,
        description="TOML file of several keys: [name], key (or its sha256), max_sessions, max_conversions. Read again "
        "when it changes.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Web origins (https://host:port, null, file://) whose pages may call the server, separated by "
        "commas; * for all.",
    )
    weights_dir: Path = Field(
        WEIGHTS_DIR,
        description="Folder of the voices and the shared networks; where it is not there, one of the user's own.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where the networks run.")
    gpu_index: int | None = Field(
        None,
        ge=0,
        validation_alias="GPU_INDEX",
        description="Which GPU, when there are several (environment: GPU_INDEX).",
    )
    precision: Literal["auto", "fp16", "fp32"] = Field("auto", description="auto: fp16 on CUDA, fp32 elsewhere.")
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="CPU threads of the networks; default: one per core this process may use, at most 8.",
    )
    max_live_batch: int | None = Field(
        None, ge=1, le=256, description="Streams computed together at most; default: 32 on CUDA, else 1."
    )
    cuda_graphs: bool = Field(True, description="Record the networks' work on CUDA devices and replay it.")
    keep_warm: Literal["off", "light", "full"] | None = Field(
        None,
        description="What a device does while live streams are open but silent, so that its clocks stay up: nothing, "
        "small operations, or whole blocks that nobody hears; default: light on CUDA, else off.",
    )
    max_upload_mb: int = Field(512, ge=1, description="Largest upload in MiB.")
    max_audio_seconds: float = Field(4 * 3600, gt=0, description="Longest recording that is converted.")
    max_concurrent_conversions: int = Field(4, ge=1, le=64, description="File conversions at once; more wait in line.")
    max_waiting_conversions: int = Field(32, ge=0, description="File conversions that may wait; more are answered 503.")
    max_conversions_per_peer: int = Field(
        16, ge=1, description="File conversions of one address that run or wait; keys have limits of their own."
    )
    max_uploads_per_peer: int = Field(
        16, ge=1, description="Uploads of one address at once; for one more the slowest of them ends."
    )
    max_connections_per_peer: int = Field(
        512, ge=1, description="Connections of one address; for one more the longest silent of them is closed."
    )
    max_sessions: int = Field(256, ge=1, description="Streaming sessions at once.")
    session_ttl_seconds: float = Field(60, gt=0, description="A session that nobody connects to ends after this time.")
    presets_file: Path | None = Field(
        None, description="File of the named set-ups; default: presets.anivoice.json in the folder of the voices."
    )
    voicemod_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on 127.0.0.1 that speaks Voicemod's Control API, for Stream Deck and Companion; theirs is "
        "59129. Default: none.",
    )
    session_grace_seconds: float = Field(
        15, ge=0, description="A streaming session whose connection was lost can be taken up again for so long."
    )
    max_message_kb: int = Field(16384, ge=1, le=65536, description="Largest message of a WebSocket in KiB.")
    voice_changes: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether voices may be uploaded, renamed and removed over REST; auto: where a key is set or the "
        "server listens on this machine alone.",
    )
    voice_cache_mb: int = Field(2048, ge=1, description="Memory for loaded voices; the least recently used go first.")
    max_stall_seconds: float = Field(
        60,
        gt=0,
        description="A download without any progress for this long is given up; an upload after 10 s at the latest.",
    )
    workers: int = Field(
        4,
        ge=1,
        le=64,
        description="Threads that store uploads, read results and load files; conversions have their own.",
    )
    mark_synthetic: bool = Field(
        True,
        description="Say in the tags of converted files, and in a header of answers with audio, that it is synthetic.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")

    @field_validator("gpu_index", mode="before")
    @classmethod
    def _blank_gpu_index(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            scheme, separator, rest = value.partition("://")
            is_plain = bool(scheme and separator and rest) and not set(rest) & set("/?# ")
            if value.lower() not in ("*", "null", "file://") and not is_plain:
                raise ValueError(f"{value!r} is no origin; write it as https://{value.strip('/') or 'host'}")
        return values


def load_settings(overrides: Mapping[str, Any] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """The settings, `overrides` (the command line) first. Raises InvalidParameter that names each wrong value."""
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    if "gpu_index" in given:
        given["GPU_INDEX"] = given.pop("gpu_index")
    try:
        settings = Settings(_env_file=env_file, **given)
    except ValidationError as error:
        raise InvalidParameter("settings: " + describe_validation_error(error, Settings, _setting_names)) from error
    if "weights_dir" in settings.model_fields_set or settings.weights_dir.is_dir():
        return settings
    return settings.model_copy(update={"weights_dir": user_weights_dir()})


def _setting_names(field: str) -> str:
    """What the user may have typed: `ANIVOICE_PORT / --port`."""
    if field in ("GPU_INDEX", "gpu_index"):
        return "GPU_INDEX / --gpu-index"
    return f"ANIVOICE_{field.upper()} / --{field.replace('_', '-')}"


def load_default_parameters(env_file: Path | None = Path(".env")) -> ConversionParameters:
    """Conversion defaults from MODEL_NAME, PITCH_CHANGE, ... in the environment or `.env`."""
    values: dict[str, str | None] = {}
    if env_file is not None and env_file.is_file():
        from dotenv import dotenv_values

        values.update(dotenv_values(env_file))
    values.update(os.environ)
    given = {name.lower(): value for name in DEFAULT_PARAMETER_NAMES if (value := values.get(name))}
    try:
        return ConversionParameters.parse(given)
    except InvalidParameter as error:
        raise InvalidParameter(f"environment: {error}") from error
