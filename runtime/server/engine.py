"""Runs cloud halves: a bounded queue, and a few threads that take from it.

What does not fit into the queue is refused at once, and what waited longer than its patience is not run. With
`micro_batch`, requests of several clients are run as one batch.
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
    """One request on its way through the engine; `done` tells that `status` and `result` are there."""

    wire: BodyKind
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

    def finish(self, status: Status, result: bytes) -> None:
        """Give the answer to whoever waits."""
        self.status, self.result = status, result
        self.done.set()


Run = Callable[[Sequence[Job]], list[tuple[Status, bytes]]]
"""Runs jobs together: of one wire, as many samples as fit. Must not raise."""


class Engine:
    """`concurrency` threads, each with jobs of its own.

    Args:
        run: what they do.
        concurrency: how many run at once.
        queue: how many may wait besides.
        micro_batch: most samples that run together; 1 runs every request alone.
        wait_s: how long a micro-batch waits for one more: for the first of the others, then from each to the next.
        inline: a request that need not wait is run by the thread that asks: two changes of threads less. Where the run
            itself has several threads, it would get a new set of these in every thread that asks.
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
        self._changed = threading.Condition()
        self._idle = concurrency
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"collabplan-run-{index}", daemon=True)
            for index in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        """Threads at work."""
        return len(self._threads) - self._idle

    def begin(self, job: Job) -> None:
        """Let a job wait for its turn where there is room; `do` has the last word on it."""
        with self._changed:
            if not self._stopping and len(self._jobs) < self._most + self._idle:
                self._add(job)

    def _add(self, job: Job) -> None:
        job.begun = True
        self._jobs.append(job)
        self._changed.notify()

    def do(self, job: Job) -> None:
        """Run a job, or refuse it at once, unless it was begun; returns when its answer is there."""
        here = False
        with self._changed:
            if job.begun or job.done.is_set():
                pass
            elif self._stopping:
                job.finish(Status.stopping, b"the server stops")
            elif here := self._inline and self._idle > 0 and not self._jobs:
                self._idle -= 1
            elif len(self._jobs) >= self._most + self._idle:
                job.finish(Status.overloaded, b"the server's queue is full; try again later")
            else:
                self._add(job)
        if here:
            self._finish_and_free([job])
        job.done.wait()

    def stop(self) -> None:
        """Finish what waits and runs, and end the threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._idle == len(self._threads))
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._idle > 0 if self._jobs else self._stopping)
                if not self._jobs:
                    return
                self._idle -= 1
                taken = self._take()
            self._finish_and_free(taken)

    def _finish_and_free(self, taken: list[Job]) -> None:
        try:
            self._finish(taken)
        finally:
            with self._changed:
                self._idle += 1
                self._changed.notify_all()

    def _take(self) -> list[Job]:
        """The next jobs that run together; waits for more where micro-batching says so. Holds the lock."""
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
            if following.wire != taken[0].wire or samples + following.batch > self._micro_batch:
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
        except BaseException as error:  # a thread must not die: the server would wait for it for ever
            answers = [(Status.failed, type(error).__name__.encode())] * len(ready)
        compute_us = int((time.perf_counter() - started) * 1e6)
        for job, (status, result) in zip(ready, answers, strict=True):
            job.compute_us = compute_us
            job.finish(status, result)
