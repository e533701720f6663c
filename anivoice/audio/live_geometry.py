"""The windows of a live stream: how long everything is, in one place.

Counted in frames of 10 ms; blocks are multiples of 20 ms, so that content frames stay on one grid. Step `k` is due when
the input up to `end(k) = (k + 1) * block` is there:

    |<-------------- context -------------->|<-- crossfade -->|<- search ->|<---- block ---->|<- look-ahead ->|
    window_start                            decode_start                                     decode_end        end(k)

`crossfade + search + block` is decoded. The block given out begins at the best offset within the search range, `search
/ 2` where nothing speaks against it, and is mixed over `crossfade` with the tail that the step before left. So what
leaves at step `k` began `delay` before `end(k)`.
"""

import math
from typing import Literal, NamedTuple

from anivoice.errors import InvalidParameter
from anivoice.frames import FRAME_MS, WindowLayout

SEARCH_FRAMES = 1
MIN_BLOCK_MS, MAX_BLOCK_MS = 20, 2000
MAX_CONTEXT_MS = 10_000
MAX_CROSSFADE_MS = 200
MAX_LOOKAHEAD_MS = 500

Preset = Literal["ultra", "low", "balanced", "quality"]


def live_layout(block_frames: int, context_frames: int, crossfade_frames: int, lookahead_frames: int) -> WindowLayout:
    """A live window of these lengths in frames of 10 ms."""
    return WindowLayout(block_frames, context_frames, crossfade_frames, lookahead_frames, SEARCH_FRAMES)


def delay_frames(layout: WindowLayout) -> float:
    """From a sample's arrival, as the last of its block, to the block's leaving; without the block itself."""
    return layout.lookahead_frames + layout.crossfade_frames + layout.search_frames / 2


def latency_ms(layout: WindowLayout, resampling_ms: float, computing_ms: float) -> dict[str, float]:
    """The delay contract, each term by name, and the sum as `total`."""
    terms = {
        "block": float(FRAME_MS * layout.block_frames),
        "lookahead": float(FRAME_MS * layout.lookahead_frames),
        "crossfade": float(FRAME_MS * layout.crossfade_frames),
        "search": FRAME_MS * layout.search_frames / 2,
        "resampling": resampling_ms,
        "computing": computing_ms,
    }
    return {**terms, "total": sum(terms.values())}


PRESET_GEOMETRY: dict[Preset, WindowLayout] = {
    "ultra": live_layout(block_frames=4, context_frames=100, crossfade_frames=2, lookahead_frames=2),
    "low": live_layout(block_frames=8, context_frames=150, crossfade_frames=2, lookahead_frames=4),
    "balanced": live_layout(block_frames=16, context_frames=250, crossfade_frames=2, lookahead_frames=6),
    "quality": live_layout(block_frames=32, context_frames=250, crossfade_frames=4, lookahead_frames=10),
}
"""Delay is spent on look-ahead rather than on crossfade: windows that know what comes next agree where they meet, and a
shorter crossfade is less to decode.
"""

LONGER_GEOMETRY: dict[str, WindowLayout] = {
    "long": live_layout(block_frames=64, context_frames=100, crossfade_frames=4, lookahead_frames=10),
    "longest": live_layout(block_frames=96, context_frames=100, crossfade_frames=4, lookahead_frames=10),
}
"""For machines that no preset suits, with as little context as is of use. Only `auto` takes them; their lengths can be
asked for by number.
"""


class NamedGeometry(NamedTuple):
    """What a stream runs with. `name`: a preset, or one of LONGER_GEOMETRY."""

    name: str
    geometry: WindowLayout


def live_geometry(
    preset: Preset = "balanced",
    block_ms: float | None = None,
    context_ms: float | None = None,
    crossfade_ms: float | None = None,
    lookahead_ms: float | None = None,
) -> WindowLayout:
    """A preset with the given lengths in place of its own, rounded up to the grid. Raises InvalidParameter."""
    return _with_lengths(PRESET_GEOMETRY[preset], block_ms, context_ms, crossfade_ms, lookahead_ms)


def auto_geometries(
    block_ms: float | None = None,
    context_ms: float | None = None,
    crossfade_ms: float | None = None,
    lookahead_ms: float | None = None,
) -> list[NamedGeometry]:
    """What `auto` chooses from, the shortest first; the given lengths hold for all. Raises InvalidParameter."""
    named = {
        _with_lengths(base, block_ms, context_ms, crossfade_ms, lookahead_ms): name
        for name, base in reversed([*PRESET_GEOMETRY.items(), *LONGER_GEOMETRY.items()])
    }
    return [NamedGeometry(name, geometry) for geometry, name in reversed(named.items())]


def _with_lengths(
    base: WindowLayout,
    block_ms: float | None,
    context_ms: float | None,
    crossfade_ms: float | None,
    lookahead_ms: float | None,
) -> WindowLayout:
    return live_layout(
        _frames("block_ms", block_ms, base.block_frames, MIN_BLOCK_MS, MAX_BLOCK_MS, grid=2),
        _frames("context_ms", context_ms, base.context_frames, 0, MAX_CONTEXT_MS, grid=2),
        _frames("crossfade_ms", crossfade_ms, base.crossfade_frames, FRAME_MS, MAX_CROSSFADE_MS, grid=1),
        _frames("lookahead_ms", lookahead_ms, base.lookahead_frames, 0, MAX_LOOKAHEAD_MS, grid=1),
    )


def _frames(name: str, given_ms: float | None, default: int, low_ms: int, high_ms: int, grid: int) -> int:
    if given_ms is None:
        return default
    if not low_ms <= given_ms <= high_ms:
        raise InvalidParameter(f"{name}: {given_ms:g} is not between {low_ms} and {high_ms} ms")
    return math.ceil(given_ms / FRAME_MS / grid) * grid
