"""Outputs that stand still, and outputs that only ask in bursts."""

import pytest

from anivoice.client.microphone.output_clock import OutputClock

RATE_HZ = 48000


def pauses(times_s: list[float]) -> list[int]:
    """What is found when 10 ms are asked for at each of these times."""
    clock = iter(times_s)
    output = OutputClock(RATE_HZ, lambda: next(clock))
    return [output.pause_before(480) for _ in times_s]


def test_bursts_are_no_pause() -> None:
    assert not any(pauses([0.08 * (number // 8) for number in range(800)]))


@pytest.mark.parametrize("drift", [-0.001, 0.001])
def test_clocks_that_differ_are_no_pause(drift: float) -> None:
    assert not any(pauses([0.01 * number * (1 + drift) for number in range(60000)]))


def test_a_pause_is_found_once_with_its_length() -> None:
    times_s = [0.01 * number + (0.7 if number >= 500 else 0) for number in range(1000)]
    found = pauses(times_s)
    assert found[500] == pytest.approx(0.7 * RATE_HZ, abs=48)
    assert sum(found) == found[500]
