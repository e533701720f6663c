"""`weights/NAME.json`, checked. Imported for voices that have one: it alone needs pydantic."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from anivoice.errors import InvalidModelFile, InvalidParameter
from anivoice.models.voice_config import UnvoicedF0
from anivoice.parameters import ConversionParameters, describe_validation_error
from anivoice.voices.library import VoiceSettings


class SettingsFile(BaseModel):
    """The file's keys; all may be left out."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    unvoiced_f0: UnvoicedF0 | None = None
    embedder_model: str | None = None
    sample_rate_hz: int | None = None
    defaults: dict[str, Any] = {}

    @field_validator("defaults")
    @classmethod
    def _are_parameters(cls, values: dict[str, Any]) -> dict[str, Any]:
        try:
            ConversionParameters.parse(values)
        except InvalidParameter as error:
            raise ValueError(f"defaults: {error}") from error
        return values


def read_settings_file(path: Path) -> VoiceSettings:
    """Raises InvalidModelFile that names what is wrong."""
    try:
        return VoiceSettings(**SettingsFile.model_validate(json.loads(path.read_text("utf-8"))).model_dump())
    except ValidationError as error:
        reason = describe_validation_error(error, SettingsFile)
    except (OSError, ValueError, RecursionError) as error:
        reason = f"it is not JSON ({error})"
    raise InvalidModelFile(f"{path.name} cannot be used: {reason}")
