"""What the control plane says of the live sessions: models, from which the OpenAPI document has its schemas."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter

from anivoice.live.parameters import FIXED_AFTER_START, StreamParameters
from anivoice.server.live.events import Message

NOT_FROM_OUTSIDE = (*FIXED_AFTER_START, "events")
"""Parameters that shape what is on the session's own connection: only its client may say them."""

LIVE_PARAMETERS = tuple(name for name in StreamParameters.model_fields if name not in NOT_FROM_OUTSIDE)

State = Literal["new", "live", "away"]


class Levels(Message):
    """Peaks since they were last told, dB of full scale; -120 is silence."""

    input: float = Field(description="Of what the speaker says, dB.")
    output: float = Field(description="Of what goes out, dB.")


class SessionInfo(Message):
    """A live session, for others than its client: without its secret id."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    id: str = Field(description="By which it is changed and ended. It does not open the stream.")
    state: State = Field(description="`new`: nobody has connected yet; `live`; `away`: the connection was lost.")
    age_s: float = Field(description="Since it was made, s.")
    voice: str | None = Field(description="The voice; null for the default one before the stream begins.")
    pitch_method: str | None = Field(None, description="The pitch method; absent before the stream begins.")
    parameters: dict[str, JsonValue] = Field(description="All that were set, or differ from the defaults.")
    delay_ms: float | None = Field(None, description="The promised delay in the server, ms; absent before it begins.")
    block_ms: float | None = Field(None, description="Length of a block, ms; absent before it begins.")
    blocks: int = Field(0, description="Blocks that were begun.")
    dropped_blocks: int = Field(0, description="Of them left out.")
    late: int = Field(0, description="Of them silent because they were not computed in time.")
    failed: int = Field(0, description="Of them silent because they could not be computed.")
    queued: int = Field(0, description="Blocks that wait now.")
    levels_db: Levels | None = Field(None, description="Only on the control WebSocket, dB of full scale.")


class SessionList(Message):
    """All live sessions, the oldest first."""

    sessions: list[SessionInfo]


class ApplyBody(Message):
    """To which sessions a set-up is applied."""

    sessions: list[str] | None = Field(None, description="Their ids. Default: all.")


class ChangeResult(Message):
    """What a change of several sessions did."""

    sessions: list[SessionInfo] = Field(description="Those that were changed.")
    errors: dict[str, str] = Field(description="Of those that were not: id -> what was wrong.")


class Presets(Message):
    """Named set-ups: parameters that are applied by one call."""

    presets: dict[str, dict[str, JsonValue]]


class SessionsEvent(Message):
    """All sessions: at once, whenever something was changed, and every `interval_ms`."""

    event: Literal["sessions"] = "sessions"
    sessions: list[SessionInfo]


class PresetsEvent(Message):
    """All named set-ups: at once, and whenever they change."""

    event: Literal["presets"] = "presets"
    presets: dict[str, dict[str, JsonValue]]


class MonitorEvent(Message):
    """Somebody wants to hear the changed voice, or no more: a wish to the clients, which play it."""

    event: Literal["monitor"] = "monitor"
    on: bool


class DoneEvent(Message):
    """A command was carried out."""

    event: Literal["done"] = "done"
    request: JsonValue = Field(None, description="That of the command.")
    errors: dict[str, str] = Field(description="Sessions that could not be changed: id -> what was wrong.")


class RefusedEvent(Message):
    """A command could not be carried out, and nothing was changed."""

    event: Literal["refused"] = "refused"
    request: JsonValue = Field(None, description="That of the command.")
    error: str = Field(description="One sentence: what was wrong, and what would be right.")


ControlEvent = Annotated[
    SessionsEvent | PresetsEvent | MonitorEvent | DoneEvent | RefusedEvent,
    Field(discriminator="event", description="Every text frame that the server sends on the control WebSocket."),
]
CONTROL_EVENT: TypeAdapter[Message] = TypeAdapter(ControlEvent)


class ControlCommand(Message):
    """A text frame of the control WebSocket's client: one of the things to do, and `request`, which comes back."""

    request: JsonValue = Field(None, description="Anything: comes back with the answer.")
    change: dict[str, Any] | None = Field(None, description="Parameters to change.")
    apply: str | None = Field(None, description="A named set-up to apply.")
    end: bool = Field(False, description="End the sessions.")
    monitor: bool | None = Field(None, description="Tell all clients to play the changed voice to the speaker, or not.")
    session: str | None = Field(None, description="The session to change, apply to or end. Default: all.")
    interval_ms: int | None = Field(None, ge=50, le=60000, description="How often `sessions` comes, ms. At first 1000.")
