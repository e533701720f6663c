"""Who is served next: live by deadline, files by fair share."""

from concurrent.futures import Future

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anivoice.engine.batch import Job, PitchRequest, Work
from anivoice.engine.scheduler import Scheduler

REQUEST = PitchRequest(np.zeros(0, np.float32), "pm", 0.5)


def work(job: Job, deadline_s: float | None = None) -> Work:
    return Work(REQUEST, job, Future(), deadline_s)


def test_nothing_to_do() -> None:
    scheduler = Scheduler()
    assert scheduler.next() is None
    assert len(scheduler) == 0


def test_live_work_goes_first_by_earliest_deadline() -> None:
    scheduler = Scheduler()
    file, late, early = work(Job()), work(Job(), 2.0), work(Job(), 1.0)
    for item in (file, late, early):
        scheduler.add(item)
    order = []
    while (item := scheduler.next()) is not None:
        order.append(item)
        scheduler.remove(item)
    assert order == [early, late, file]


def test_a_deadline_of_zero_is_the_earliest() -> None:
    scheduler = Scheduler()
    zero, one = work(Job(), 0.0), work(Job(), 1.0)
    scheduler.add(one)
    scheduler.add(zero)
    assert scheduler.next() is zero


def test_two_files_share_the_device_step_by_step() -> None:
    scheduler = Scheduler()
    first, second = work(Job()), work(Job())
    scheduler.add(first)
    scheduler.add(second)
    served = []
    for _ in range(6):
        item = scheduler.next()
        assert item is not None
        served.append(item)
        scheduler.account(item, 1.0)
    assert served.count(first) == served.count(second) == 3


def test_a_late_job_neither_waits_nor_catches_up() -> None:
    scheduler = Scheduler()
    old = work(Job())
    scheduler.add(old)
    for _ in range(100):
        item = scheduler.next()
        assert item is not None
        scheduler.account(item, 1.0)
    new = work(Job())
    scheduler.add(new)
    served = []
    for _ in range(10):
        item = scheduler.next()
        assert item is not None
        served.append(item)
        scheduler.account(item, 1.0)
    assert 4 <= served.count(new) <= 6


def test_requests_of_one_job_keep_their_order() -> None:
    scheduler = Scheduler()
    job = Job()
    items = [work(job) for _ in range(3)]
    for item in items:
        scheduler.add(item)
    for item in items:
        assert scheduler.next() is item
        scheduler.remove(item)


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=5))
def test_shares_are_equal_whatever_a_step_costs(costs: list[float]) -> None:
    scheduler = Scheduler()
    items = [work(Job()) for _ in costs]
    for item in items:
        scheduler.add(item)
    for _ in range(400):
        item = scheduler.next()
        assert item is not None
        scheduler.account(item, costs[items.index(item)])
    served = [item.job.served_s for item in items]
    assert max(served) - min(served) <= max(costs) + 1e-6


def test_drain_empties_the_queue() -> None:
    scheduler = Scheduler()
    items = [work(Job()), work(Job(), 1.0)]
    for item in items:
        scheduler.add(item)
    assert set(scheduler.drain()) == set(items)
    assert scheduler.next() is None
