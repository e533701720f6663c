"""Decides what the device does next. Pure bookkeeping: no torch, no threads, no clock of its own.

Live work goes by earliest deadline, and what can be computed together goes together. In its gaps, file jobs go by the
least time served so far. Live windows that threads of their own compute side by side are begun as these get free, and
until they are done there is no gap: a file would take the cores from them. Where many streams never leave one, files
have a small share beside them (`FILE_SHARE`), while not all of those threads are at work. Work is done in steps and the
choice is made anew before each, so one long window delays nobody by more than a step. A job that joins late starts
level with the least served one that waits, otherwise it would hold the device until it had caught up.
"""

from collections import deque

from anivoice.engine.batch import Batch, HostWork, Job, Work

FILE_SHARE = 0.25
"""What files may take beside live windows, by what these take of the device: a fifth of the whole."""

MAX_FILE_CREDIT_S = 0.1
"""No more is saved up for them than a few steps."""


class Scheduler:
    """The queue of one device. At most `max_batch` live requests are computed together."""

    def __init__(self, max_batch: int = 1) -> None:
        self.max_batch = max_batch
        self._live: list[Work] = []
        self._begun: list[Batch] = []
        self._jobs: dict[Job, deque[Batch]] = {}
        self._level_s = 0.0
        self._file_credit_s = 0.0

    def __len__(self) -> int:
        return len(self._live) + sum(len(batch.works) for batch in self._batches())

    @property
    def is_waiting(self) -> bool:
        """Whether the device is at some batch's work, and must be asked for its end."""
        return any(batch.waiting and not isinstance(batch.waiting, HostWork) for batch in self._batches())

    def add(self, work: Work) -> None:
        """Queue `work`."""
        if work.deadline_s is not None:
            self._live.append(work)
            return
        if work.job not in self._jobs:
            self._jobs[work.job] = deque()
            work.job.served_s = max(work.job.served_s, self._level_s)
        self._jobs[work.job].append(Batch([work]))

    def next(self) -> Batch | None:
        """What the next step belongs to; it stays queued until `remove`. None when there is nothing to do now."""
        begun = [batch for batch in self._begun if batch.is_ready]
        earliest = min(begun, key=lambda batch: batch.deadline_s or 0.0, default=None)
        at_work = [work for batch in self._begun if (work := batch.at_work)]
        are_free = all(len(at_work) < work.num_threads for work in at_work)
        queued = min(self._live, key=_deadline, default=None) if are_free else None
        if queued is not None and (earliest is None or _deadline(queued) < (earliest.deadline_s or 0.0)):
            return self._gather(queued)
        has_gap = not at_work or (are_free and self._file_credit_s > 0)
        return earliest or (self._next_of_files() if has_gap else None)

    def account(self, batch: Batch, seconds: float) -> None:
        """A step of `batch` took `seconds` of the device."""
        batch.compute_s += seconds
        credit_s = self._file_credit_s + (-seconds if batch.deadline_s is None else FILE_SHARE * seconds)
        self._file_credit_s = min(max(credit_s, 0.0), MAX_FILE_CREDIT_S)
        for work in batch.works:
            work.job.served_s += seconds / len(batch.works)

    def remove(self, batch: Batch) -> None:
        """`batch` is done, failed or cancelled."""
        if batch.deadline_s is not None:
            self._begun.remove(batch)
            return
        job = batch.works[0].job
        queue = self._jobs[job]
        queue.remove(batch)
        if not queue:
            del self._jobs[job]

    def separate(self, batch: Batch) -> None:
        """A live batch has failed: its works are queued again, each to be computed by itself."""
        self._begun.remove(batch)
        for work in batch.works:
            work.alone = True
        self._live += batch.works

    def drain(self) -> list[Work]:
        """Everything that is queued, which then is not any more."""
        everything = [*self._live, *(work for batch in self._batches() for work in batch.works)]
        self._live.clear()
        self._begun.clear()
        self._jobs.clear()
        return everything

    def _batches(self) -> list[Batch]:
        return [*self._begun, *(batch for queue in self._jobs.values() for batch in queue)]

    def _gather(self, first: Work) -> Batch:
        """A batch of `first` and those that can go with it, the earliest first."""
        works = [first]
        key = first.batch_key
        if key is not None:
            others = [work for work in self._live if work is not first and work.batch_key == key]
            works += sorted(others, key=_deadline)[: self.max_batch - 1]
        taken = set(works)
        self._live = [work for work in self._live if work not in taken]
        batch = Batch(works)
        self._begun.append(batch)
        return batch

    def _next_of_files(self) -> Batch | None:
        ready = [job for job, queue in self._jobs.items() if queue[0].is_ready]
        if not ready:
            return None
        job = min(ready, key=lambda job: (job.served_s, job.number))
        self._level_s = max(self._level_s, job.served_s)
        return self._jobs[job][0]


def _deadline(work: Work) -> float:
    return work.deadline_s or 0.0
