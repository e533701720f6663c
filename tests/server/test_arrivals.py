"""Uploads under way, in virtual time: what stands still or trickles ends, and gives way to who comes."""

import asyncio

import pytest
from virtual_time import run

from anivoice.errors import AnivoiceError, RequestTimeout, Unavailable
from anivoice.server.arrivals import MAX_SILENCE_S, MIN_BYTES_PER_S, START_S, Arrivals


async def upload(arrivals: Arrivals, pieces: int, piece_bytes: int, every_s: float, peer: str = "p") -> float:
    """How long it took, or until it was ended; the error is raised."""
    began_s = asyncio.get_running_loop().time()
    async with arrivals.admit(peer) as arrival:
        for _ in range(pieces):
            await asyncio.sleep(every_s)
            arrival.count(piece_bytes)
    return asyncio.get_running_loop().time() - began_s


def ended_s(*arguments: float) -> tuple[float, type[Exception]]:
    """When an upload that cannot go on is ended, and how."""

    async def go() -> tuple[float, type[Exception]]:
        arrivals = Arrivals(10, 10)
        try:
            await upload(arrivals, *arguments)  # type: ignore[arg-type]
        except AnivoiceError as error:
            assert len(arrivals) == 0
            return asyncio.get_running_loop().time(), type(error)
        raise AssertionError("it was not ended")

    return run(go())


def test_one_that_stands_still_ends() -> None:
    assert ended_s(1, 1, 1000.0) == (MAX_SILENCE_S, RequestTimeout)


def test_one_that_trickles_ends() -> None:
    seconds, kind = ended_s(10**6, 1, 0.5)
    assert seconds == pytest.approx(START_S, abs=0.6)
    assert kind is RequestTimeout


def test_one_that_keeps_the_pace_may_take_its_time() -> None:
    seconds = run(upload(Arrivals(10, 10), 200, 2 * MIN_BYTES_PER_S, 1.0))
    assert seconds == pytest.approx(200.0)


def test_one_that_becomes_slow_ends_when_its_pace_is_too_low() -> None:
    async def go() -> float:
        async with Arrivals(10, 10).admit("p") as arrival:
            arrival.count(10 * MIN_BYTES_PER_S)
            for _ in range(1000):
                await asyncio.sleep(1.0)
                arrival.count(1)
        raise AssertionError

    async def when() -> float:
        with pytest.raises(RequestTimeout):
            await go()
        return asyncio.get_running_loop().time()

    assert run(when()) == pytest.approx(START_S + 10, abs=1.0)


@pytest.mark.parametrize(("max_arrivals", "max_per_peer", "peer"), [(3, 10, "other"), (100, 3, "p")])
def test_the_slowest_gives_way(max_arrivals: int, max_per_peer: int, peer: str) -> None:
    async def go() -> list[object]:
        arrivals = Arrivals(max_arrivals, max_per_peer)
        uploads = [asyncio.create_task(upload(arrivals, 100, piece, 1.0)) for piece in (10**5, 5000, 10**6)]
        await asyncio.sleep(5.5)
        assert await upload(arrivals, 1, 1000, 0.1, peer) == pytest.approx(0.1)
        return await asyncio.gather(*uploads, return_exceptions=True)

    first, slowest, last = run(go())
    assert (first, last) == (pytest.approx(100.0), pytest.approx(100.0))
    assert isinstance(slowest, Unavailable)
    assert slowest.retry_after_s


def test_a_crowd_of_silent_ones_keeps_nobody_out() -> None:
    async def go() -> float:
        arrivals = Arrivals(36, 16)
        crowd = [asyncio.create_task(upload(arrivals, 1, 1, 1000.0, f"peer {i % 5}")) for i in range(100)]
        await asyncio.sleep(1.0)
        assert len(arrivals) == 36
        seconds = await upload(arrivals, 10, 10000, 0.1, "honest")
        await asyncio.gather(*crowd, return_exceptions=True)
        return seconds

    assert run(go()) == pytest.approx(1.0)


def test_an_own_error_stays_what_it_is() -> None:
    async def go() -> None:
        arrivals = Arrivals(1, 1)
        with pytest.raises(ZeroDivisionError):
            async with arrivals.admit("p"):
                raise ZeroDivisionError
        assert len(arrivals) == 0

    run(go())
