"""The text frames of a live stream, as models: from them come the events themselves and their schemas in the OpenAPI
document; docs/protocol.md is checked against them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from anivoice.live.parameters import Mode, StreamParameters, WireFormat


class Message(BaseModel):
    """A text frame. Frozen; unknown fields are refused, so that what is sent is what is described."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def content(self) -> dict[str, Any]:
        """As it goes out; what is not set is left out."""
        return self.model_dump(exclude_none=True)


class LatencyMs(Message):
    """The promised delay from a sample's arrival at the server to its leaving, in ms."""

    block: float = Field(description="A block gathers: its first sample waits for its last, ms.")
    lookahead: float = Field(description="What is heard beyond the block before it is decoded, ms.")
    crossfade: float = Field(description="What the next block is mixed with, ms.")
    search: float = Field(description="Half of the range in which the best joint is searched, ms.")
    resampling: float = Field(description="Delay of the resamplers' filters, ms.")
    computing: float = Field(description="What nearly every block takes to compute, as measured, ms.")
    encoding: float | None = Field(None, description="Look-ahead of the opus encoder, ms; only with opus.")
    total: float = Field(description="The sum, ms. Network and the client's own buffers come on top.")


class ComputeMs(Message):
    """Percentiles over the last 512 blocks, in ms; absent without any."""

    p50: float | None = Field(None, description="Half of the blocks take less, ms.")
    p95: float | None = Field(None, description="95 % take less, ms.")
    p99: float | None = Field(None, description="99 % take less, ms.")


class ReadyEvent(Message):
    """The stream can begin. Sent again when the first audio's header says otherwise, and after a reconnection."""

    event: Literal["ready"] = "ready"
    session_id: str = Field(description="The secret id of the session: it is the key of its address.")
    voice: str = Field(description="The voice that was loaded.")
    pitch_method: str = Field(description="The pitch method; `none` for voices without pitch.")
    index: Literal["used", "off", "none"] = Field(
        description="`off`: `index_rate` is 0; `none`: it is above 0, and the voice has no index."
    )
    seed: int = Field(description="Seed of the noise; the same seed and audio give the same bytes.")
    mode: Mode = Field(description="`live` drops what is late, `reliable` nothing.")
    sample_rate: int = Field(description="Of the audio that is sent, Hz.")
    format: WireFormat = Field(description="Of the audio that is sent.")
    output_sample_rate: int = Field(description="Of the audio that comes, Hz.")
    output_format: WireFormat = Field(description="Of the audio that comes.")
    preset: str = Field(description="Whose lengths were taken; with `auto` the one that was found.")
    block_ms: float = Field(description="Length of a block: so much comes at once, ms.")
    context_ms: float = Field(description="Past that every block is computed with, ms.")
    crossfade_ms: float = Field(description="Crossfade between blocks, ms.")
    lookahead_ms: float = Field(description="Look-ahead, ms.")
    latency_ms: LatencyMs = Field(description="The promised delay, term by term, ms.")
    synthetic: Literal[True] = Field(True, description="A computer makes the voice; say so to those who hear it.")


class StatsEvent(Message):
    """About once a second. Counts since the session began."""

    event: Literal["stats"] = "stats"
    compute_ms: ComputeMs = Field(description="How long blocks take to compute, ms.")
    blocks: int = Field(description="Blocks that were begun, with those for which nothing was to be computed.")
    dropped_blocks: int = Field(description="Blocks that were left out: the audio is shorter by them.")
    late: int = Field(description="Blocks that were not computed in time and came as silence.")
    failed: int = Field(description="Blocks whose computation failed and came as silence.")
    queued: int = Field(description="Blocks that wait now.")


class ChangedEvent(Message):
    """Changed parameters hold from the next block on, whoever changed them: the client, others, or the server, which
    takes longer blocks when the machine gets slow and shorter ones later, where the client left it the choice.
    """

    event: Literal["changed"] = "changed"
    voice: str = Field(description="The voice.")
    pitch_method: str = Field(description="The pitch method; `none` for voices without pitch.")
    parameters: dict[str, JsonValue] = Field(description="All that differ from the defaults, or were set.")
    preset: str = Field(description="Whose lengths hold now.")
    block_ms: float = Field(description="Length of a block, ms.")
    latency_ms: LatencyMs = Field(description="The promised delay from now on, term by term, ms.")


class OverrunEvent(Message):
    """Blocks were dropped; comes before the first audio behind the gap."""

    event: Literal["overrun"] = "overrun"
    dropped_blocks: int = Field(description="All since the session began.")


class FlushedEvent(Message):
    """The answer to `flush`: all audio that was sent before has come back."""

    event: Literal["flushed"] = "flushed"
    blocks: int = Field(description="Blocks that were begun since the session began.")
    dropped_blocks: int = Field(description="Of them left out.")
    hint: str | None = Field(None, description="What to do about dropped blocks; absent without any.")


class PongEvent(Message):
    """The answer to `ping`, also to clients that asked for no events."""

    event: Literal["pong"] = "pong"
    ping: JsonValue = Field(description="What was sent, whatever it was.")


class ErrorMessage(Message):
    """Something was wrong, also told to clients that asked for no events. The stream goes on unless a close follows."""

    error: str = Field(description="One sentence: what was wrong, and what would be right.")


class LiveCommand(StreamParameters):
    """What the client may say at any time: parameters to change, and what it wants now."""

    flush: bool = Field(False, description="Bring out the tail: all that was sent comes back, then `flushed`.")
    ping: JsonValue = Field(None, description="Anything; comes back in a `pong` at once.")


EVENTS: tuple[type[Message], ...] = (
    *(ReadyEvent, StatsEvent, ChangedEvent, OverrunEvent, FlushedEvent, PongEvent, ErrorMessage),
)

LiveMessage = Annotated[
    ReadyEvent | StatsEvent | ChangedEvent | OverrunEvent | FlushedEvent | PongEvent | ErrorMessage,
    Field(description="Every text frame that the server sends on the WebSocket of a session."),
]
LIVE_MESSAGE: TypeAdapter[Message] = TypeAdapter(LiveMessage)

CLOSE_CODES = {
    1000: "The client ended the stream. The session is over.",
    1001: "The client went away. The session waits for it, see Reconnection.",
    1002: "The client's bytes were no WebSocket: the HTTP or the frames were malformed. The session is over.",
    1007: "A text frame was not UTF-8. The session is over.",
    1008: "A request was wrong and cannot be mended by going on: the error before it says why. The session is over.",
    1009: "A message was larger than the limit. The session is over.",
    1011: "A fault of the server; its log has the details. The session is over.",
    1013: "The device is too busy, the machine too slow for this voice, or the server shuts down. The session is over.",
}
"""With which a WebSocket ends. 1006, which nobody sends, is a connection that was lost: the session waits."""

SCHEMA_REFERENCE = "#/components/schemas/{model}"


def live_schemas() -> dict[str, Any]:
    """JSON schemas of all text frames by name, for the OpenAPI document."""
    message = LIVE_MESSAGE.json_schema(mode="serialization", ref_template=SCHEMA_REFERENCE)
    command = LiveCommand.model_json_schema(ref_template=SCHEMA_REFERENCE)
    return {**message.pop("$defs"), **command.pop("$defs", {}), "LiveMessage": message, "LiveCommand": command}


def live_socket() -> dict[str, Any]:
    """What goes over the WebSocket of a session; OpenAPI has no words of its own for it."""
    audio = "Audio in the stream's format, any number of bytes."
    return {
        "send": {"text": {"$ref": SCHEMA_REFERENCE.format(model="LiveCommand")}, "binary": audio},
        "receive": {"text": {"$ref": SCHEMA_REFERENCE.format(model="LiveMessage")}, "binary": audio},
        "closeCodes": {str(code): meaning for code, meaning in CLOSE_CODES.items()},
    }
