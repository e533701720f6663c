"""The conversion parameters: names, defaults, ranges and meanings, in one place.

They serve the form fields of `POST /convert`, the JSON bodies, the command line, the environment and the OpenAPI text.
"""

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from anivoice.errors import InvalidParameter
from anivoice.models.voice_config import UnvoicedF0
from anivoice.stages.pitch.methods import PITCH_METHODS, parse_pitch_algo
from anivoice.voices.names import MAX_NAME_CHARS, fault_of_name, plain_name

MAX_SPEAKER_ID = 65535
_METHOD = f"({'|'.join(PITCH_METHODS)})"
PITCH_PATTERN = rf"^({_METHOD}|hybrid\[{_METHOD}\+{_METHOD}\]|)$"
"""What clients may send as a pitch method; capitals are taken, too."""
MAX_SEED = 2**63 - 1


def _blank_is_none(value: object) -> object:
    """An empty form field or environment variable means "not given"."""
    return None if isinstance(value, str) and not value.strip() else value


Blank = BeforeValidator(_blank_is_none)


def _choices(annotation: Any) -> tuple[object, ...]:
    """The values of the `Literal` in a type, () without one."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    is_union = get_origin(annotation) in (Union, UnionType)
    return tuple(value for part in get_args(annotation) if is_union for value in _choices(part))


def _choice(annotation: Any, text: str) -> object:
    """The choice that `text` writes, else `text`."""
    meant = text.strip().lower()
    return next((choice for choice in _choices(annotation) if str(choice).lower() == meant), text)


class ConversionParameters(BaseModel):
    """What the caller wants from a conversion. Immutable; `updated` makes a changed copy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model_name: Annotated[str | None, Blank] = Field(
        None,
        max_length=MAX_NAME_CHARS + len(".safetensors"),
        description="Voice: a file stem in `weights/`, with or without `.pth`. Default: the only voice.",
    )
    pitch_change: float = Field(0.0, ge=-36, le=36, description="Transposition in semitones.")
    volume_envelope: float = Field(
        1.0, ge=0, le=1, description="0 follows the input's loudness, 1 keeps the voice's own."
    )
    index_rate: float = Field(0.0, ge=0, le=1, description="Share of the features retrieved from the voice's index.")
    pitch_extraction_algo: Annotated[str | None, Blank] = Field(
        None,
        max_length=100,
        description=f"Pitch method: {', '.join(PITCH_METHODS)} or hybrid[a+b]. Default: rmvpe if installed, else fcpe.",
        json_schema_extra={"pattern": PITCH_PATTERN},
    )
    f0_method_weight: float = Field(
        0.33, ge=0, le=1, description="In hybrid[a+b]: f0 = a^(1-w) * b^w where both methods are voiced."
    )
    protect: float = Field(
        0.33,
        ge=0,
        le=0.5,
        description="Keeps breath and unvoiced consonants from the retrieved features: 0 most, 0.5 not at all.",
    )
    formant_shift: float = Field(
        0.0, ge=-12, le=12, description="Moves the formants by this many semitones and keeps the pitch."
    )
    speaker_id: int = Field(0, ge=0, le=MAX_SPEAKER_ID, description="Speaker of a multi-speaker voice.")
    seed: Annotated[int | None, Blank] = Field(
        None, ge=0, le=MAX_SEED, description="Fixes all noise: the same input gives the same output."
    )
    unvoiced_f0: Annotated[UnvoicedF0 | None, Blank] = Field(
        None,
        description="f0 of unvoiced frames, as the voice was trained: `zero` (nearly all) or `interpolate` (RVC-WebUI "
        "since 2026). Default: what the voice says, else `zero`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _choices_as_written(cls, values: Any) -> Any:
        """One rule for all choices, as numbers have it: text is taken for what it says, in capitals or not."""
        if not isinstance(values, dict):
            return values
        written = {name: values[name] for name in cls.model_fields if isinstance(values.get(name), str)}
        return {**values, **{name: _choice(cls.model_fields[name].annotation, text) for name, text in written.items()}}

    @field_validator("pitch_extraction_algo")
    @classmethod
    def _known_pitch_algo(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_pitch_algo(value)
            except InvalidParameter as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("model_name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        """A name is a name and never a path; `.pth` may be left on."""
        if value is None:
            return None
        name = plain_name(value)
        if fault_of_name(name) is not None:
            raise ValueError("a voice's name is a plain file name without folders, such as `alice` or `alice.pth`")
        return name

    @classmethod
    def parse(cls, values: Mapping[str, Any], defaults: "ConversionParameters | None" = None) -> "ConversionParameters":
        """Parameters from text or JSON values over `defaults`. Raises InvalidParameter that names each wrong one."""
        base = {} if defaults is None else defaults.model_dump(exclude_unset=True)
        blank = {name for name, value in values.items() if _blank_is_none(value) is None}
        given = {name: value for name, value in values.items() if name not in blank}
        unknown = sorted(blank - cls.model_fields.keys())
        if unknown:
            given |= dict.fromkeys(unknown, "")
        try:
            return cls.model_validate({**base, **given})
        except ValidationError as error:
            raise InvalidParameter(describe_validation_error(error, cls)) from error


def describe_validation_error(
    error: ValidationError,
    model: type[BaseModel],
    shown_name: Callable[[str], str] = str,
    show_input: bool = True,
) -> str:
    """One sentence for each wrong value: its name, what was wrong, what would be right. Secrets are not shown."""
    sentences = []
    for item in error.errors(include_url=False):
        name = shown_name(str(item["loc"][0])) if item["loc"] else "the body"
        if item["type"] == "extra_forbidden":
            sentences.append(f"{name}: no such parameter; known are {', '.join(sorted(model.model_fields))}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = repr(item["input"])
            got = f", not {shown}" if show_input and len(shown) <= 60 and item["type"] != "value_error" else ""
            told = message if message.startswith(name) else f"{name}: {message[0].lower() + message[1:]}"
            sentences.append(told + got)
    return "; ".join(sentences)
