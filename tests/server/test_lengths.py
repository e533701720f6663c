"""A machine that becomes slow in the middle of a stream, and fast again: longer blocks, and shorter ones later."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMsgType
from slow_stream import LOUD, Stream, made_voice
from virtual_time import run

from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import Source
from anivoice.server.live.lengths import MAX_QUIET_SECONDS, MIN_QUIET_SECONDS, LengthPolicy
from anivoice.server.live.voices import VoiceLease, typical_window

FAST_S, SLOW_S = 0.05, 0.21
"""Of a block, whatever its length: the slow one is too much for 160 ms, and not for 320 ms."""


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def moves(policy: LengthPolicy, clock: Clock, late: dict[int, int], seconds: int) -> dict[int, int]:
    """What the policy wants at which second, when so many blocks were late in the seconds `late`."""
    num_late, found = 0, {}
    for _ in range(seconds):
        clock.now_s += 1
        num_late += late.get(int(clock.now_s), 0)
        move = policy.next_move(num_late, is_slow=True)
        if move:
            found[int(clock.now_s)] = move
            policy.moved(move)
    return found


def test_a_single_late_block_changes_nothing() -> None:
    clock = Clock()
    assert moves(LengthPolicy(clock), clock, {3: 1}, 6) == {}


def test_two_late_blocks_soon_after_each_other_want_longer_ones() -> None:
    clock = Clock()
    assert moves(LengthPolicy(clock), clock, {3: 1, 5: 1}, 8) == {5: 1}
    clock = Clock()
    assert moves(LengthPolicy(clock), clock, {1: 1, 5: 1}, 8) == {}


def test_a_burst_of_audio_is_no_reason() -> None:
    assert LengthPolicy(Clock()).next_move(50, is_slow=False) == 0


def test_shorter_ones_that_are_late_are_tried_less_and_less_often() -> None:
    clock = Clock()
    policy = LengthPolicy(clock)
    waits_s = []
    for _ in range(10):
        began_s = clock.now_s
        while policy.next_move(0, is_slow=False) != -1:
            clock.now_s += 1
        waits_s.append(clock.now_s - began_s)
        policy.stayed(-1)
    assert waits_s[:3] == [MIN_QUIET_SECONDS, 2 * MIN_QUIET_SECONDS, 4 * MIN_QUIET_SECONDS]
    assert waits_s[-1] == MAX_QUIET_SECONDS


class AdaptingStream(Stream):
    """Of a client that chose no preset; its lengths may be any."""

    def __init__(self) -> None:
        super().__init__("live")
        parameters = StreamParameters.model_validate({"sample_rate": 16000, "mode": "live", "events": True})
        self._source = Source(made_voice(), parameters, "pm")
        self.connection.session.parameters = parameters
        self.engine.cost_s = FAST_S

    async def _acquire(self, parameters: StreamParameters, chosen: Any, measures: bool = False) -> VoiceLease:
        source = replace(self._source, parameters=parameters, chosen=chosen or parameters.geometries[0])
        key = typical_window(source).load_key
        if measures or self.engine.admission.cost_s(key) is None:
            self.engine.admission.forget(key)
            self.engine.admission.observe(key, self.engine.cost_s)
        return VoiceLease(self._runtime, source, 1, key)

    def _ends(self, result: Any, failed: bool) -> None:
        self._finish(result, failed)

    @property
    def changes(self) -> list[tuple[str, float]]:
        events = [json.loads(text) for text in self.socket.texts]
        return [(e["preset"], e["latency_ms"]["block"]) for e in events if e.get("event") == "changed"]


async def slowed() -> tuple[AdaptingStream, list[tuple[str, float]]]:
    stream = AdaptingStream()
    running = asyncio.create_task(stream.connection.run())
    await stream.speak(3)
    stream.engine.cost_s = SLOW_S
    await stream.speak(8)
    meanwhile = list(stream.changes)
    missed_before = stream.live.counts.num_missed
    await stream.speak(4)
    assert stream.live.counts.num_missed == missed_before, "longer blocks are in time"
    stream.engine.cost_s = FAST_S
    await stream.speak(14)
    stream.socket.put(WSMsgType.TEXT, '{"flush": true}')
    stream.socket.put(WSMsgType.CLOSE, 1000)
    await running
    return stream, meanwhile


def test_a_slow_machine_gets_longer_blocks_and_a_quiet_one_shorter_ones_again() -> None:
    stream, meanwhile = run(slowed())
    assert meanwhile[0] == ("quality", 320)
    assert stream.changes[-1] == ("balanced", 160)
    assert stream.live.block_s == 0.16
    audio = np.frombuffer(stream.socket.audio, "<i2") / 32768
    num_left_out = stream.live.counts.num_dropped * 0.16 * 16000
    assert len(audio) == pytest.approx(29 * 16000 - num_left_out, abs=0.5 * 16000)
    assert np.abs(audio[-3 * 16000 : -16000]).max() == pytest.approx(LOUD, rel=0.1)
