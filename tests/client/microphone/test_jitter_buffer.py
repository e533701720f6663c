"""The buffer of the microphone client keeps the rules of the page's: the same tests."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from anivoice.client.microphone.jitter_buffer import JitterBuffer

RATE_HZ = 48000
GRAIN = 480
BLOCK_S = 0.16
BLOCK = 7680

Samples = NDArray[np.float32]
Look = Callable[[JitterBuffer, float], None]


def voice(num_samples: int) -> Samples:
    """A gliding f0 with overtones; its largest second difference is known from itself."""
    f0_hz = 140 + 40 * np.sin(2 * np.pi * np.arange(num_samples) / RATE_HZ)
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE_HZ
    return sum(0.2 / k * np.sin(k * phase) for k in range(1, 9)).astype(np.float32)


def largest_second_difference(samples: Samples) -> float:
    return float(np.abs(np.diff(samples, 2)).max())


def play(sound: Samples, delays_s: list[float], look: Look = lambda *_: None) -> tuple[JitterBuffer, Samples]:
    """Plays blocks that come `delays_s[k]` late, in order, as TCP brings them."""
    buffer, played, due_s, block = JitterBuffer(RATE_HZ, BLOCK_S, GRAIN / RATE_HZ), [], delays_s[0], 0
    while block < len(delays_s):
        now_s = round(GRAIN * len(played) / RATE_HZ, 6)
        while block < len(delays_s) and now_s >= due_s:
            buffer.write(sound[block * BLOCK : (block + 1) * BLOCK])
            block += 1
            if block < len(delays_s):
                due_s = round(max(due_s, block * BLOCK_S + delays_s[block]), 6)
        played.append(buffer.read(GRAIN))
        look(buffer, now_s)
    return buffer, np.concatenate(played)


def test_what_comes_evenly_is_played_sample_by_sample_after_a_few_milliseconds() -> None:
    sound = voice(80 * BLOCK)
    buffer, played = play(sound, [0.0] * 80)
    position = int(buffer.position)
    assert buffer.position == position
    np.testing.assert_array_equal(played[-20 * BLOCK :], sound[position - 20 * BLOCK : position])
    assert (buffer.num_gaps, buffer.num_cuts, buffer.num_lost) == (0, 0, 0)
    assert buffer.delay < 0.03 * RATE_HZ


def test_a_network_that_scatters_and_stalls_makes_no_click_and_no_gap_longer_than_its_stall() -> None:
    random = np.random.default_rng(7)
    delays_s = list(0.15 * random.random(400) + np.where(random.random(400) < 0.02, 0.3, 0))
    sound, gaps, concealed = voice(400 * BLOCK), [0], [0]

    def look(buffer: JitterBuffer, now_s: float) -> None:
        is_gap = now_s > 2 and buffer.num_concealed > concealed[0]
        gaps.append(gaps[-1] + buffer.num_concealed - concealed[0] if is_gap else 0)
        concealed[0] = buffer.num_concealed

    buffer, played = play(sound, delays_s, look)
    assert max(gaps) < 0.3 * RATE_HZ
    assert largest_second_difference(played[2 * RATE_HZ :]) < 1.3 * largest_second_difference(sound)
    assert buffer.num_gaps < 20
    assert buffer.num_lost == 0


def test_after_a_stall_of_a_second_the_delay_is_back_within_three_blocks_and_no_block_is_lost_whole() -> None:
    delays_s = list(0.01 * np.random.default_rng(3).random(100))
    stalled = 60
    delays_s[stalled] = 1.0
    end_s, before, back_s, cuts = stalled * BLOCK_S + 1, [0.0], [], [0]

    def look(buffer: JitterBuffer, now_s: float) -> None:
        if now_s < end_s - 1:
            before[0] = buffer.delay
        if now_s > end_s and abs(buffer.delay - before[0]) < 0.01 * RATE_HZ:
            back_s.append(now_s - end_s)
        cuts.append(buffer.num_cut_samples)

    sound = voice(100 * BLOCK)
    buffer, played = play(sound, delays_s, look)
    assert back_s
    assert back_s[0] < 3 * BLOCK_S
    assert np.diff(cuts).max() < BLOCK
    assert buffer.num_gaps == 1
    assert largest_second_difference(played[RATE_HZ:]) < 1.3 * largest_second_difference(sound)


def test_a_way_that_becomes_longer_for_good_is_learned_after_three_gaps_at_most() -> None:
    buffer, _ = play(voice(100 * BLOCK), [0.0] * 50 + [0.2] * 50)
    assert 1 <= buffer.num_gaps <= 3
    assert buffer.level > 0


def test_what_the_server_left_out_is_no_delay() -> None:
    buffer = JitterBuffer(RATE_HZ, BLOCK_S)
    buffer.write(np.zeros(BLOCK, np.float32))
    buffer.read(GRAIN)
    before = buffer.delay
    buffer.skip(BLOCK)
    assert buffer.delay == before - BLOCK


def test_an_output_that_stood_still_for_a_second_is_back_within_three_blocks() -> None:
    sound, pauses, levels = voice(60 * BLOCK), [True], []

    def look(buffer: JitterBuffer, now_s: float) -> None:
        if now_s > 5 and pauses:
            pauses.clear()
            buffer.pause(RATE_HZ)
            buffer.write(sound[:RATE_HZ])
        levels.append(buffer.delay)

    buffer, _ = play(sound, [0.0] * 60, look)
    stood = round(5 * RATE_HZ / GRAIN)
    assert max(levels) > 0.9 * RATE_HZ
    assert max(levels[stood + 3 * BLOCK // GRAIN :]) < levels[stood - 10] + 0.06 * RATE_HZ
    assert buffer.num_cuts > 3


@pytest.mark.parametrize("drift", [-0.001, 0.001])
def test_clocks_that_differ_by_a_thousandth_make_no_gap_and_no_cut(drift: float) -> None:
    buffer, played = play(voice(300 * BLOCK), [drift * block * BLOCK_S for block in range(300)])
    assert (buffer.num_gaps, buffer.num_cuts) == (0, 0)
    assert abs(buffer.delay - buffer.target) < 0.02 * RATE_HZ
    assert largest_second_difference(played[RATE_HZ:]) < 1.3 * largest_second_difference(voice(300 * BLOCK))


def test_a_new_stream_begins_without_a_click() -> None:
    sound, buffer = voice(4 * BLOCK), JitterBuffer(RATE_HZ, BLOCK_S)
    buffer.write(sound)
    played = [buffer.read(GRAIN) for _ in range(20)]
    buffer.reset()
    played += [buffer.read(GRAIN) for _ in range(5)]
    buffer.write(sound)
    played += [buffer.read(GRAIN) for _ in range(20)]
    assert (buffer.received, buffer.num_gaps) == (4 * BLOCK, 0)
    quiet = played[18:]
    assert largest_second_difference(np.concatenate(quiet)) < 1.3 * largest_second_difference(sound)
    np.testing.assert_array_equal(played[26], 0)


def test_more_than_ten_seconds_are_not_kept() -> None:
    buffer = JitterBuffer(RATE_HZ, BLOCK_S)
    for _ in range(11):
        buffer.write(np.zeros(RATE_HZ, np.float32))
    assert buffer.level == 10 * RATE_HZ
    assert buffer.num_lost == RATE_HZ
