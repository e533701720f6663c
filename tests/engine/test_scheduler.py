"""Who is served next: live by deadline, files by fair share."""

from concurrent.futures import Future

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anivoice.engine.batch import Batch, HostWork, Job, PitchRequest, Work
from anivoice.engine.scheduler import Scheduler

REQUEST = PitchRequest(np.zeros(0, np.float32), "pm", 0.5)


def work(job: Job, deadline_s: float | None = None) -> Work:
    return Work(REQUEST, job, Future(), deadline_s)


def works_of(batch: Batch | None) -> list[Work]:
    assert batch is not None
    return batch.works


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
    while (batch := scheduler.next()) is not None:
        order += batch.works
        scheduler.remove(batch)
    assert order == [early, late, file]


def test_a_deadline_of_zero_is_the_earliest() -> None:
    scheduler = Scheduler()
    zero, one = work(Job(), 0.0), work(Job(), 1.0)
    scheduler.add(one)
    scheduler.add(zero)
    assert works_of(scheduler.next()) == [zero]


def test_two_files_share_the_device_step_by_step() -> None:
    scheduler = Scheduler()
    first, second = work(Job()), work(Job())
    scheduler.add(first)
    scheduler.add(second)
    served = []
    for _ in range(6):
        batch = scheduler.next()
        served += works_of(batch)
        scheduler.account(batch, 1.0)
    assert served.count(first) == served.count(second) == 3


def test_a_late_job_neither_waits_nor_catches_up() -> None:
    scheduler = Scheduler()
    old = work(Job())
    scheduler.add(old)
    for _ in range(100):
        batch = scheduler.next()
        assert batch is not None
        scheduler.account(batch, 1.0)
    new = work(Job())
    scheduler.add(new)
    served = []
    for _ in range(10):
        batch = scheduler.next()
        served += works_of(batch)
        scheduler.account(batch, 1.0)
    assert 4 <= served.count(new) <= 6


def test_requests_of_one_job_keep_their_order() -> None:
    scheduler = Scheduler()
    job = Job()
    items = [work(job) for _ in range(3)]
    for item in items:
        scheduler.add(item)
    for item in items:
        batch = scheduler.next()
        assert works_of(batch) == [item]
        scheduler.remove(batch)


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=5))
def test_shares_are_equal_whatever_a_step_costs(costs: list[float]) -> None:
    scheduler = Scheduler()
    items = [work(Job()) for _ in costs]
    for item in items:
        scheduler.add(item)
    for _ in range(400):
        batch = scheduler.next()
        scheduler.account(batch, costs[items.index(works_of(batch)[0])])
    served = [item.job.served_s for item in items]
    assert max(served) - min(served) <= max(costs) + 1e-6


def test_drain_empties_the_queue() -> None:
    scheduler = Scheduler()
    items = [work(Job()), work(Job(), 1.0)]
    for item in items:
        scheduler.add(item)
    assert set(scheduler.drain()) == set(items)
    assert scheduler.next() is None


class KeyedWork(Work):
    """Live work with a batch key of the test's choice."""

    key = "a"

    @property
    def batch_key(self) -> str | None:
        return None if self.alone else self.key


def live(deadline_s: float, key: str = "a") -> KeyedWork:
    item = KeyedWork(REQUEST, Job(), Future(), deadline_s)
    item.key = key
    return item


class OnDevice:
    """Something the device is busy with."""

    def __init__(self) -> None:
        self.done = False

    def is_done(self) -> bool:
        return self.done


def add_all(scheduler: Scheduler, *items: Work) -> None:
    for item in items:
        scheduler.add(item)


def test_what_can_go_together_goes_together_the_earliest_first() -> None:
    scheduler = Scheduler(max_batch=3)
    a5, a2, b3, a4, a1 = live(5), live(2), live(3, "b"), live(4), live(1)
    add_all(scheduler, a5, a2, b3, a4, a1)
    order = []
    while (batch := scheduler.next()) is not None:
        order.append(batch.works)
        scheduler.remove(batch)
    assert order == [[a1, a2, a4], [b3], [a5]]


def test_work_without_a_key_goes_by_itself() -> None:
    scheduler = Scheduler(max_batch=8)
    one, two = work(Job(), 1.0), work(Job(), 2.0)
    add_all(scheduler, one, two)
    assert works_of(scheduler.next()) == [one]


def test_a_begun_batch_goes_on_unless_something_is_due_earlier() -> None:
    scheduler = Scheduler(max_batch=2)
    item = live(2.0)
    scheduler.add(item)
    begun = scheduler.next()
    scheduler.add(live(2.0))
    assert scheduler.next() is begun
    urgent = live(1.0, "b")
    scheduler.add(urgent)
    assert works_of(scheduler.next()) == [urgent]


def test_what_comes_too_late_does_not_join_a_begun_batch() -> None:
    scheduler = Scheduler(max_batch=4)
    first, second = live(2.0), live(3.0)
    scheduler.add(first)
    begun = scheduler.next()
    scheduler.add(second)
    assert works_of(begun) == [first]
    assert begun is not None
    scheduler.remove(begun)
    assert works_of(scheduler.next()) == [second]


def test_while_the_device_is_busy_others_are_begun_and_files_fill_the_gap() -> None:
    scheduler = Scheduler(max_batch=2)
    first, second, file = live(1.0), live(2.0, "b"), work(Job())
    add_all(scheduler, first, second, file)
    busy = scheduler.next()
    assert busy is not None
    busy.waiting = device = OnDevice()
    also_busy = scheduler.next()
    assert works_of(also_busy) == [second]
    assert also_busy is not None
    also_busy.waiting = OnDevice()
    assert works_of(scheduler.next()) == [file]
    assert scheduler.is_waiting
    device.done = True
    assert scheduler.next() is busy


def test_windows_side_by_side_are_as_many_as_their_threads_and_a_file_waits_for_all() -> None:
    scheduler = Scheduler()
    add_all(scheduler, *(live(float(i), str(i)) for i in range(3)), work(Job()))
    at_work = []
    for _ in range(2):
        batch = scheduler.next()
        assert batch is not None
        batch.waiting = HostWork(Future(), num_threads=2)
        at_work.append(batch)
    assert scheduler.next() is None
    assert not scheduler.is_waiting
    at_work[1].waiting.future.set_result(None)
    assert scheduler.next() is at_work[1]
    scheduler.remove(at_work[1])
    third = scheduler.next()
    assert third is not None
    assert third.deadline_s == 2.0
    scheduler.remove(third)
    assert scheduler.next() is None
    at_work[0].waiting.future.set_result(None)
    scheduler.remove(at_work[0])
    assert scheduler.next() is not None


def test_where_live_windows_leave_no_gap_a_file_has_a_share_beside_them() -> None:
    scheduler = Scheduler()
    file = work(Job())
    add_all(scheduler, live(1.0, "a"), live(2.0, "b"), file)
    first = scheduler.next()
    assert first is not None
    first.waiting = HostWork(Future(), num_threads=2)
    second = scheduler.next()
    assert second is not None
    scheduler.account(second, 0.2)
    second.waiting = HostWork(Future(), num_threads=2)
    assert scheduler.next() is None
    scheduler.remove(second)
    step = scheduler.next()
    assert works_of(step) == [file]
    assert step is not None
    scheduler.account(step, 0.06)
    assert scheduler.next() is None
    scheduler.account(first, 100.0)
    assert scheduler.next() is step
    scheduler.account(step, 0.11)
    assert scheduler.next() is None


def test_a_file_that_waits_for_the_device_lets_others_pass() -> None:
    scheduler = Scheduler()
    one, two = work(Job()), work(Job())
    add_all(scheduler, one, two)
    busy = scheduler.next()
    assert busy is not None
    busy.waiting = OnDevice()
    assert works_of(scheduler.next()) == [two]


def test_the_works_of_a_failed_batch_are_computed_one_by_one() -> None:
    scheduler = Scheduler(max_batch=4)
    items = [live(1.0), live(2.0), live(3.0)]
    add_all(scheduler, *items)
    failed = scheduler.next()
    assert failed is not None
    scheduler.separate(failed)
    assert len(scheduler) == 3
    for item in items:
        batch = scheduler.next()
        assert works_of(batch) == [item]
        assert batch is not None
        scheduler.remove(batch)
    assert len(scheduler) == 0


def test_the_time_of_a_batch_is_shared() -> None:
    scheduler = Scheduler(max_batch=2)
    items = [live(1.0), live(2.0)]
    add_all(scheduler, *items)
    batch = scheduler.next()
    assert batch is not None
    scheduler.account(batch, 1.0)
    assert [item.job.served_s for item in items] == [0.5, 0.5]
    assert batch.compute_s == 1.0


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc")), max_size=20), st.integers(1, 5))
def test_every_work_is_served_once_and_no_batch_mixes_keys(items: list[tuple[int, str]], max_batch: int) -> None:
    scheduler = Scheduler(max_batch)
    works = [live(deadline_s, key) for deadline_s, key in items]
    add_all(scheduler, *works)
    served: list[Work] = []
    while (batch := scheduler.next()) is not None:
        assert len(batch.works) <= max_batch
        assert len({item.batch_key for item in batch.works}) == 1
        waiting = [item for item in works if item not in served and item not in batch.works]
        assert all(batch.deadline_s <= item.deadline_s for item in waiting)
        served += batch.works
        scheduler.remove(batch)
    assert sorted(map(id, served)) == sorted(map(id, works))
