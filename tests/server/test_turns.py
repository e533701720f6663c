"""Whose turn it is: short conversions before long ones, peers fairly. Time is told by the test."""

import asyncio

import pytest

from anivoice.server.turns import LONG_S, MAX_ASIDE_PER_TURN, Turn, Turns


class Hall:
    """Turns with conversions that begin and end when the test says so."""

    def __init__(self, max_running: int) -> None:
        self.now_s = 0.0
        self.turns = Turns(max_running, lambda: self.now_s)
        self.begun: list[Turn] = []

    async def come(self, peer: str = "p") -> Turn:
        turn = Turn(peer)
        self._task = asyncio.create_task(self._take(turn))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return turn

    async def _take(self, turn: Turn) -> None:
        await self.turns.take(turn)
        self.begun.append(turn)

    async def step(self, turn: Turn) -> asyncio.Task[None]:
        task = asyncio.create_task(self.turns.step_aside(turn))
        for _ in range(3):
            await asyncio.sleep(0)
        return task

    async def end(self, turn: Turn) -> None:
        self.turns.give_back(turn)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_as_they_come_while_all_are_short() -> None:
    hall = Hall(2)
    came = [await hall.come() for _ in range(4)]
    assert hall.begun == came[:2]
    await hall.end(came[1])
    await hall.end(came[0])
    assert hall.begun == came


async def test_a_long_one_steps_aside_for_a_short_one_and_comes_back() -> None:
    hall = Hall(1)
    long = await hall.come()
    hall.now_s += LONG_S
    assert (await hall.step(long)).done(), "nobody waits"
    short = await hall.come()
    stepping = await hall.step(long)
    assert not stepping.done()
    assert hall.begun == [long, short]
    await hall.end(short)
    assert stepping.done()


async def test_one_that_has_hardly_begun_does_not_step_aside() -> None:
    hall = Hall(1)
    first = await hall.come()
    hall.now_s += LONG_S - 0.1
    await hall.come()
    assert (await hall.step(first)).done()


async def test_long_ones_do_not_step_aside_for_each_other() -> None:
    hall = Hall(1)
    first = await hall.come()
    hall.now_s += LONG_S
    second = await hall.come()
    stepping = await hall.step(first)
    hall.now_s += LONG_S
    assert (await hall.step(second)).done(), "the first waits, but is long itself"
    await hall.end(second)
    assert stepping.done()


async def test_only_so_many_stand_aside() -> None:
    hall = Hall(1)
    for _ in range(MAX_ASIDE_PER_TURN + 1):
        current = await hall.come()
        hall.now_s += LONG_S
        await hall.come("waits")
        stepping = await hall.step(current)
        if not stepping.done():
            current = hall.begun[-1]
            hall.now_s += LONG_S
    assert sum(turn.has_begun for turn in hall.turns._waiting) <= MAX_ASIDE_PER_TURN
    assert hall.turns.max_begun == 1 + MAX_ASIDE_PER_TURN


async def test_a_peer_with_fewer_turns_goes_first() -> None:
    hall = Hall(2)
    first, second = await hall.come("crowd"), await hall.come("crowd")
    third, honest = await hall.come("crowd"), await hall.come("honest")
    await hall.end(first)
    assert hall.begun == [first, second, honest]
    await hall.end(second)
    assert hall.begun[-1] is third


async def test_cancelled_while_waiting_it_leaves_the_line() -> None:
    hall = Hall(1)
    first = await hall.come()
    waiting = asyncio.create_task(hall.turns.take(Turn("p")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await hall.end(first)
    later = await hall.come()
    assert hall.begun == [first, later]


async def test_cancelled_at_the_moment_of_its_turn_it_passes_it_on() -> None:
    hall = Hall(1)
    first = await hall.come()
    waiting = asyncio.create_task(hall.turns.take(Turn("p")))
    await asyncio.sleep(0)
    third = await hall.come()
    hall.turns.give_back(first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert hall.begun == [first, third]


async def test_one_that_is_to_end_need_not_wait() -> None:
    hall = Hall(1)
    long = await hall.come()
    hall.now_s += LONG_S
    await hall.come()
    stepping = await hall.step(long)
    assert not stepping.done()
    hall.turns.release(long)
    await stepping
    await hall.turns.step_aside(long)
