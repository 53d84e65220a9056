"""The engine runs, queues, joins and refuses jobs as its options say, and always answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from collabplan.runtime.server.engine import Engine, Job
from collabplan.runtime.wire.framing import BodyKind, Status
from serving import until


def job(batch: int = 1, *, kind: BodyKind = BodyKind.defended, patience_s: float = 60.0) -> Job:
    return Job(kind, batch, b"", time.perf_counter() + patience_s)


class Recorder:
    """Runs jobs, notes which ran together, and can be held."""

    def __init__(self) -> None:
        self.runs: list[list[Job]] = []
        self.threads: list[str] = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, jobs: Sequence[Job]) -> list[tuple[Status, bytes]]:
        self.runs.append(list(jobs))
        self.threads.append(threading.current_thread().name)
        self.entered.set()
        assert self.go_on.wait(10)
        return [(Status.ok, b"answer")] * len(jobs)


@contextmanager
def started(run: Callable[[Sequence[Job]], list[tuple[Status, bytes]]], **options: object) -> Iterator[Engine]:
    engine = Engine(run, **({"concurrency": 1, "queue": 1} | options))  # type: ignore[arg-type]
    engine.start()
    yield engine
    engine.stop()


def doing(engine: Engine, *jobs: Job) -> list[threading.Thread]:
    threads = [threading.Thread(target=engine.do, args=(each,)) for each in jobs]
    for thread in threads:
        thread.start()
    return threads


def test_a_job_is_answered_with_its_times() -> None:
    run, asked = Recorder(), job()
    with started(run) as engine:
        engine.do(asked)
    assert (asked.status, asked.result) == (Status.ok, b"answer")
    assert asked.queue_us >= 0
    assert run.threads == ["collabplan-run-0"]


def test_an_inline_engine_runs_a_job_in_the_asking_thread() -> None:
    run = Recorder()
    with started(run, inline=True) as engine:
        engine.do(job())
    assert run.threads == [threading.current_thread().name]


def test_a_job_beyond_the_queue_is_refused_at_once() -> None:
    run, running, waiting, refused = Recorder(), job(), job(), job()
    run.go_on.clear()
    with started(run) as engine:
        threads = doing(engine, running)
        assert run.entered.wait(10)
        threads += doing(engine, waiting)
        until(lambda: engine.waiting == 1)
        assert engine.running == 1
        engine.do(refused)
        assert refused.status is Status.overloaded
        run.go_on.set()
        for thread in threads:
            thread.join(10)
    assert (running.status, waiting.status) == (Status.ok, Status.ok)


def test_a_job_that_waited_longer_than_its_patience_is_not_run() -> None:
    run, late = Recorder(), job(patience_s=-1.0)
    with started(run) as engine:
        engine.do(late)
    assert late.status is Status.late
    assert run.runs == []


def test_jobs_of_one_kind_run_together_up_to_the_micro_batch() -> None:
    run, jobs = Recorder(), [job(2), job(1), job(1), job(1, kind=BodyKind.undefended)]
    with started(run, queue=9, micro_batch=4, wait_s=0.05) as engine:
        for each in jobs:
            engine.begin(each)
        for each in jobs:
            engine.do(each)
    assert [[each.batch for each in together] for together in run.runs] == [[2, 1, 1], [1]]


def test_a_run_that_raises_fails_its_jobs_and_no_others() -> None:
    def broken(_: Sequence[Job]) -> list[tuple[Status, bytes]]:
        raise ValueError("secret numbers")

    with started(broken) as engine:
        for asked in (job(), job()):
            engine.do(asked)
            assert (asked.status, asked.result) == (Status.failed, b"ValueError")


def test_a_stopped_engine_refuses_new_jobs() -> None:
    engine, asked = Engine(Recorder(), concurrency=1, queue=1), job()
    engine.start()
    engine.stop()
    engine.do(asked)
    assert asked.status is Status.stopping


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_jobs_run_at_once_as_there_are_threads(concurrency: int) -> None:
    run = Recorder()
    run.go_on.clear()
    with started(run, concurrency=concurrency, queue=5) as engine:
        threads = doing(engine, *[job() for _ in range(concurrency)])
        until(lambda: engine.running == concurrency)
        assert engine.waiting == 0
        run.go_on.set()
        for thread in threads:
            thread.join(10)


def test_a_stop_waits_no_longer_than_it_may_and_answers_what_is_left() -> None:
    run = Recorder()
    run.go_on.clear()
    engine = Engine(run, concurrency=1, queue=1)
    engine.start()
    running, waiting = job(), job()
    threads = doing(engine, running)
    assert run.entered.wait(10)
    threads += doing(engine, waiting)
    until(lambda: engine.waiting == 1)
    began = time.monotonic()
    assert not engine.stop(0.1)
    assert time.monotonic() - began < 2
    for thread in threads:
        thread.join(5)
    assert (running.status, waiting.status) == (Status.stopping, Status.stopping)
    run.go_on.set()
    until(lambda: engine.running == 0)
    assert running.status is Status.stopping, "what the run returned afterwards is dropped"
    assert run.runs == [[running]], "what waited is not run"


def test_a_stop_with_time_enough_finishes_everything() -> None:
    run = Recorder()
    with started(run) as engine:
        threads = doing(engine, *(asked := [job(), job()]))
        for thread in threads:
            thread.join(5)
        assert engine.stop(10.0)
    assert {each.status for each in asked} == {Status.ok}
