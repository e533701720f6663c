"""Which windows `auto` takes: the shortest that fit, with as little measuring as possible."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from anivoice.audio.live_geometry import auto_geometries
from anivoice.engine.admission import Admission
from anivoice.engine.batch import LoadKey
from anivoice.engine.window_choice import MAX_AGE_S, MIN_OBSERVED, MIN_SLOW_AGE_S, WindowChoice
from anivoice.frames import WindowLayout

FIRST_GUESS = 2


def key_of(layout: WindowLayout) -> LoadKey:
    return LoadKey(layout, 48000, "v2", "rmvpe")


NAMES = [name for name, _ in auto_geometries()]
KEYS = [key_of(geometry) for _, geometry in auto_geometries()]
Speed = Callable[[WindowLayout], float]


def gpu(layout: WindowLayout) -> float:
    return 0.004 + 0.00001 * layout.window_frames


def cpu(layout: WindowLayout) -> float:
    """Two slow cores and a full-size voice."""
    return 0.0012 * layout.window_frames + 0.004 * (layout.decode_frames + 20)


class Machine:
    """Measures at once what is to be measured."""

    def __init__(self, speed: Speed, first_guess: int = FIRST_GUESS) -> None:
        self.speed = speed
        self.now_s = 0.0
        self.admission = Admission(max_load=0.85)
        self.choice = WindowChoice(lambda: self.admission, lambda: self.now_s)
        self.first_guess = first_guess
        self.measured: list[str] = []

    def measure(self, key: LoadKey, num_blocks: int = MIN_OBSERVED) -> None:
        for _ in range(num_blocks):
            self.admission.observe(key, self.speed(key.layout))

    def choose(self, is_live: bool = True) -> str:
        """The name of the windows that the next stream gets."""
        self.measured.clear()
        while True:
            place = self.choice.best(KEYS, is_live, self.first_guess)
            if not self.choice.needs_measuring(KEYS[place]):
                return NAMES[place]
            assert NAMES[place] not in self.measured
            self.measured.append(NAMES[place])
            self.choice.begin_measuring(KEYS[place])
            self.measure(KEYS[place])

    def first_that_fits(self) -> str:
        return next(n for n, k in zip(NAMES, KEYS, strict=True) if self.speed(k.layout) <= 0.85 * k.layout.block_s)


def test_the_candidates_go_from_short_to_long() -> None:
    assert NAMES == ["ultra", "low", "balanced", "quality", "long", "longest"]
    assert [key.layout.block_s for key in KEYS] == sorted(key.layout.block_s for key in KEYS)


def test_given_lengths_hold_for_all_and_leave_no_two_alike() -> None:
    assert {g.context_frames for _, g in auto_geometries(context_ms=700)} == {70}
    only = auto_geometries(block_ms=100, context_ms=700, crossfade_ms=40, lookahead_ms=0)
    assert [(name, g.block_frames) for name, g in only] == [("ultra", 10)]


@pytest.mark.parametrize("factor", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_the_shortest_that_fits_is_taken(factor: float) -> None:
    machine = Machine(lambda shape: factor * cpu(shape))
    assert machine.choose() == machine.first_that_fits()
    assert len(machine.measured) <= 4


def test_a_fast_device_needs_one_measurement() -> None:
    machine = Machine(gpu, first_guess=0)
    assert machine.choose() == "ultra"
    assert machine.measured == ["ultra"]
    machine = Machine(gpu)
    assert machine.choose() == "ultra"
    assert machine.measured == ["balanced", "ultra"]


def test_what_is_known_is_not_measured_again() -> None:
    machine = Machine(cpu)
    name = machine.choose()
    assert machine.measured
    assert machine.choose() == name
    assert machine.measured == []


def test_another_kind_that_is_known_shows_where_to_begin() -> None:
    machine = Machine(cpu)
    machine.measure(KEYS[NAMES.index("quality")], num_blocks=1)
    assert machine.choose() == machine.first_that_fits() == "longest"
    assert machine.measured == ["long", "longest"]


def test_the_load_that_is_there_makes_the_blocks_longer() -> None:
    machine = Machine(gpu)
    assert machine.choose() == "ultra"
    for _ in range(6):
        assert machine.admission.admit(0.04, KEYS[0]) is None
    assert machine.choose() == "low"
    assert machine.choose(is_live=False) == "ultra"


def test_a_rare_slow_block_counts() -> None:
    machine = Machine(gpu, first_guess=0)
    machine.admission.observe(KEYS[0], 0.005, 0.05)
    assert machine.choose() == "low"


def test_where_nothing_fits_it_is_the_longest() -> None:
    machine = Machine(lambda shape: 20 * cpu(shape))
    assert machine.choose() == "longest"
    assert machine.admission.admit(KEYS[-1].layout.block_s, KEYS[-1]) is not None


def test_a_machine_that_was_busy_gets_another_chance() -> None:
    machine = Machine(cpu)
    busy = machine.choose()
    machine.speed = gpu
    machine.now_s += 0.9 * MIN_SLOW_AGE_S
    assert machine.choose() == busy
    machine.now_s += 0.2 * MIN_SLOW_AGE_S
    assert machine.choose() == "ultra"


def test_one_that_is_slow_is_measured_again_less_and_less_often() -> None:
    machine = Machine(cpu)
    taken = machine.choose()
    slow = next(name for name in machine.measured if name != taken)
    times_s = []
    while machine.now_s < 3 * MAX_AGE_S:
        machine.now_s += MIN_SLOW_AGE_S
        machine.choose()
        if slow in machine.measured:
            times_s.append(machine.now_s)
    gaps_s = [later - sooner for sooner, later in pairwise(times_s)]
    assert gaps_s == sorted(gaps_s)
    assert gaps_s[0] <= 4 * MIN_SLOW_AGE_S
    assert MAX_AGE_S <= gaps_s[-1] <= MAX_AGE_S + MIN_SLOW_AGE_S


def test_what_runs_is_always_new() -> None:
    machine = Machine(gpu, first_guess=0)
    machine.choose()
    machine.admission.admit(0.04, KEYS[0])
    machine.now_s += 10 * MAX_AGE_S
    assert machine.choose() == "ultra"
    assert machine.measured == []
