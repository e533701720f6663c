"""How a live stream is carried: formats, lengths, load. It rides in the same JSON as the parameters."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from anivoice.audio.live_geometry import NamedGeometry, auto_geometries, live_geometry
from anivoice.parameters import Blank, ConversionParameters

WireFormat = Literal["pcm_s16le", "pcm_f32le", "wav", "opus"]
Mode = Literal["live", "reliable"]
PresetChoice = Literal["auto", "ultra", "low", "balanced", "quality"]
DEFAULT_GATE_DB = -60.0


class StreamParameters(ConversionParameters):
    """All that a client may say about a stream: the conversion parameters, and how it is carried."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    sample_rate: int = Field(48000, ge=8000, le=192000, description="Sample rate of the audio that is sent, in Hz.")
    format: WireFormat = Field("pcm_s16le", description="Format of the audio that is sent.")
    channels: Literal[1, 2] = Field(1, description="Channels of the audio that is sent; two are mixed down.")
    output_sample_rate: Annotated[int | None, Blank] = Field(
        None, ge=8000, le=192000, description="Sample rate of the answer in Hz. Default: the input's."
    )
    output_format: Annotated[WireFormat | None, Blank] = Field(
        None, description="Format of the answer. Default: the input's."
    )
    preset: PresetChoice = Field(
        "balanced",
        description="Block of 40 (ultra), 80 (low), 160 (balanced) or 320 ms (quality); auto: the shortest that this "
        "machine computes in time, as measured. Who says nothing gets balanced, or a longer one where the machine does "
        "not compute that in time. The `ready` event says which it is.",
    )
    block_ms: float | None = Field(None, ge=20, le=2000, description="Block, in place of the preset's.")
    context_ms: float | None = Field(None, ge=0, le=10000, description="Context, in place of the preset's.")
    crossfade_ms: float | None = Field(None, ge=10, le=200, description="Crossfade, in place of the preset's.")
    lookahead_ms: float | None = Field(None, ge=0, le=500, description="Look-ahead, in place of the preset's.")
    mode: Mode = Field(
        "live", description="live: what comes too late is dropped, the delay never grows. reliable: nothing is dropped."
    )
    gate_db: float = Field(
        DEFAULT_GATE_DB, ge=-120, le=0, description="Quieter input than this gives silence, without computing."
    )
    passthrough: bool = Field(False, description="Send the input back unchanged, with the same delay.")
    mute: bool = Field(False, description="Send silence.")
    events: bool = Field(False, description="Also send events: ready, stats, overrun, flushed.")

    @property
    def geometries(self) -> list[NamedGeometry]:
        """The windows' lengths: one, or several to choose from: for `auto` all, for who chose neither preset nor
        block the default's and those that are longer. Raises InvalidParameter.
        """
        lengths = (self.block_ms, self.context_ms, self.crossfade_ms, self.lookahead_ms)
        if self.preset == "auto":
            return auto_geometries(*lengths)
        if "preset" not in self.model_fields_set and self.block_ms is None:
            found = auto_geometries(*lengths)
            default = live_geometry(self.preset, *lengths)
            return found[[one.geometry for one in found].index(default) :]
        return [NamedGeometry(self.preset, live_geometry(self.preset, *lengths))]

    @property
    def has_own_lengths(self) -> bool:
        """Whether any length is given by number, in place of a preset's."""
        return any(getattr(self, name) is not None for name in LENGTHS[1:])

    @property
    def wire_output(self) -> tuple[WireFormat, int]:
        """Format and rate of the answer."""
        return self.output_format or self.format, self.output_sample_rate or self.sample_rate

    def changed(self, values: dict[str, Any]) -> "StreamParameters":
        """A copy with the given values. Raises InvalidParameter that names each wrong one."""
        parameters = type(self).parse(values, self)
        assert isinstance(parameters, StreamParameters)
        return parameters


LENGTHS = ("preset", "block_ms", "context_ms", "crossfade_ms", "lookahead_ms")
FIXED_AFTER_START: tuple[str, ...] = (
    *("sample_rate", "format", "channels", "output_sample_rate", "output_format", "mode", "seed"),
)
"""What cannot change once audio has come: it shapes the stream itself."""
