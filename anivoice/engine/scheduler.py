"""Decides what the device does next. Pure bookkeeping: no torch, no threads, no clock of its own.

Live work goes by earliest deadline. In its gaps, file jobs go by the least time served so far. Work is done in steps
and the choice is made anew before each, so one long window delays nobody by more than a step. A job that joins late
starts level with the least served one that waits, otherwise it would hold the device until it had caught up.
"""

from collections import deque

from anivoice.engine.batch import Job, Work


class Scheduler:
    """The queue of one device."""

    def __init__(self) -> None:
        self._live: list[Work] = []
        self._jobs: dict[Job, deque[Work]] = {}
        self._level_s = 0.0

    def __len__(self) -> int:
        return len(self._live) + sum(map(len, self._jobs.values()))

    def add(self, work: Work) -> None:
        """Queue `work`."""
        if work.deadline_s is not None:
            self._live.append(work)
            return
        if work.job not in self._jobs:
            self._jobs[work.job] = deque()
            work.job.served_s = max(work.job.served_s, self._level_s)
        self._jobs[work.job].append(work)

    def next(self) -> Work | None:
        """What the next step belongs to; it stays queued until `remove`. None when there is nothing."""
        if self._live:
            return min(self._live, key=lambda work: work.deadline_s or 0.0)
        if not self._jobs:
            return None
        job = min(self._jobs, key=lambda job: (job.served_s, job.number))
        self._level_s = max(self._level_s, job.served_s)
        return self._jobs[job][0]

    def account(self, work: Work, seconds: float) -> None:
        """A step of `work` took `seconds`."""
        work.job.served_s += seconds

    def remove(self, work: Work) -> None:
        """`work` is done, failed or cancelled."""
        if work.deadline_s is not None:
            self._live.remove(work)
            return
        queue = self._jobs[work.job]
        queue.remove(work)
        if not queue:
            del self._jobs[work.job]

    def drain(self) -> list[Work]:
        """Everything that is queued, which then is not any more."""
        everything = [*self._live, *(work for queue in self._jobs.values() for work in queue)]
        self._live.clear()
        self._jobs.clear()
        return everything
