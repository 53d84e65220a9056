"""Runs requests: a bounded queue, and a few threads that take from it.

A request that does not fit into the queue is refused at once. One that has waited longer than its patience is not run.
With `micro_batch`, requests of several clients run as one batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..wire.framing import BodyKind, Status


@dataclass(eq=False)
class Job:
    """One request on its way through the engine. When `done` is set, `status` and `result` are final.

    Attributes:
        kind: what the body holds.
        batch: samples in the request.
        body: the request's body, unread.
        expires: `time.perf_counter()` after which it is not run any more.
        queued: `time.perf_counter()` at which it came.
        queue_us, compute_us: microseconds that it waited and ran.
        begun: it waits in the queue already.
    """

    kind: BodyKind
    batch: int
    body: bytes | memoryview
    expires: float
    queued: float = field(default_factory=time.perf_counter)
    status: Status = Status.failed
    result: bytes = b""
    queue_us: int = 0
    compute_us: int = 0
    begun: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def finish(self, status: Status, result: bytes) -> None:
        """Set the answer and wake up whoever waits for it. Only the first answer counts."""
        with self._lock:
            if self.done.is_set():
                return
            self.status, self.result = status, result
            self.done.set()


Run = Callable[[Sequence[Job]], list[tuple[Status, bytes]]]
"""Runs jobs of one kind together and returns the status and body of each answer. Must not raise."""


class Engine:
    """Runs jobs on `concurrency` threads. `start` it before the first job.

    Args:
        run: runs some jobs.
        concurrency: how many runs are made at once.
        queue: how many more jobs may wait.
        micro_batch: the most samples that run together; 1 runs every job alone.
        wait_s: the seconds that a micro-batch waits for each further job.
        inline: run a job that need not wait in the thread that asks, which saves two changes of threads. Leave it off
            if a run uses several threads: each asking thread would get a pool of its own.
    """

    def __init__(
        self,
        run: Run,
        *,
        concurrency: int,
        queue: int,
        micro_batch: int = 1,
        wait_s: float = 0.0,
        inline: bool = False,
    ) -> None:
        self._run, self._most, self._micro_batch, self._wait_s = run, queue, micro_batch, wait_s
        self._inline = inline and micro_batch == 1
        self._jobs: deque[Job] = deque()
        self._running: set[Job] = set()
        self._changed = threading.Condition()
        self._idle = concurrency
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"collabplan-run-{index}", daemon=True)
            for index in range(concurrency)
        ]

    @property
    def waiting(self) -> int:
        """How many jobs wait in the queue."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        """How many runs are being made."""
        return len(self._threads) - self._idle

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def begin(self, job: Job) -> None:
        """Queue a job ahead of its turn if there is room. `do` decides what becomes of it otherwise."""
        with self._changed:
            if not self._stopping and len(self._jobs) < self._most + self._idle:
                self._add(job)

    def do(self, job: Job) -> None:
        """Run or refuse a job, unless it is begun or finished already. Returns when its answer is there."""
        inline = False
        with self._changed:
            if job.begun or job.done.is_set():
                pass
            elif self._stopping:
                job.finish(Status.stopping, b"the server stops")
            elif inline := self._inline and self._idle > 0 and not self._jobs:
                self._idle -= 1
                self._running.add(job)
            elif len(self._jobs) >= self._most + self._idle:
                job.finish(Status.overloaded, b"the server's queue is full; try again later")
            else:
                self._add(job)
        if inline:
            self._finish_and_free([job])
        job.done.wait()

    def stop(self, within_s: float | None = None) -> bool:
        """Finish the jobs that wait or run, and end the threads.

        Args:
            within_s: the seconds after which the jobs left are answered `stopping`; None waits for all. A run cannot be
                interrupted: its thread goes on, and what it returns is dropped.

        Returns:
            True if everything ran to its end.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            idle = self._changed.wait_for(lambda: self._idle == len(self._threads) and not self._jobs, within_s)
            left = [*self._jobs, *self._running]
            self._jobs.clear()
        for job in left:
            job.finish(Status.stopping, b"the server stopped before the request was done")
        if idle:
            for thread in self._threads:
                thread.join()
        return idle

    def _add(self, job: Job) -> None:
        """Append to the queue. The caller holds the lock."""
        job.begun = True
        self._jobs.append(job)
        self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._idle > 0 if self._jobs else self._stopping)
                if not self._jobs:
                    return
                self._idle -= 1
                taken = self._take()
                self._running.update(taken)
            self._finish_and_free(taken)

    def _finish_and_free(self, taken: list[Job]) -> None:
        try:
            self._finish(taken)
        finally:
            with self._changed:
                self._running.difference_update(taken)
                self._idle += 1
                self._changed.notify_all()

    def _take(self) -> list[Job]:
        """The next jobs that run together; a micro-batch waits here for more. The caller holds the lock."""
        taken = [self._jobs.popleft()]
        samples, until = taken[0].batch, time.perf_counter() + self._wait_s
        while samples < self._micro_batch:
            if not self._jobs:
                left = until - time.perf_counter()
                if left <= 0 or self._stopping:
                    break
                self._changed.wait(left)
                continue
            following = self._jobs[0]
            if following.kind != taken[0].kind or samples + following.batch > self._micro_batch:
                break
            taken.append(self._jobs.popleft())
            samples += following.batch
            until = time.perf_counter() + self._wait_s
        return taken

    def _finish(self, taken: list[Job]) -> None:
        started = time.perf_counter()
        ready = [job for job in taken if job.expires >= started]
        for job in taken:
            job.queue_us = int((started - job.queued) * 1e6)
            if job.expires < started:
                job.finish(Status.late, b"the request waited longer than its patience and was not run")
        if not ready:
            return
        answers: list[tuple[Status, Any]]
        try:
            answers = self._run(ready)
        except BaseException as error:  # a thread that died would never be idle again
            answers = [(Status.failed, type(error).__name__.encode())] * len(ready)
        compute_us = int((time.perf_counter() - started) * 1e6)
        for job, (status, result) in zip(ready, answers, strict=True):
            job.compute_us = compute_us
            job.finish(status, result)
