"""One thread is tried where the machine is busy, and the user hears of it."""

from collections.abc import Callable
from itertools import count

import pytest
import torch
from collabplan.graph import trace
from collabplan.profilers import profile as profiling
from collabplan.profilers import profile_model
from collabplan.profilers.thread_choice import TRIAL_S, ThreadChoice, choose_threads, said_of_threads, threads_named
from collabplan.records import TargetIdentity
from torch import nn


def machine(several: Callable[[int], float], one: float) -> tuple[Callable[[int], float], list[int]]:
    """Milliseconds of runs (those with several threads by their number), and with how many threads each was run."""
    asked: list[int] = []

    def elapsed_ms(threads: int) -> float:
        asked.append(threads)
        return one if threads == 1 else several(asked.count(threads))

    return elapsed_ms, asked


def test_a_calm_machine_keeps_its_threads_and_tries_nothing_else() -> None:
    elapsed_ms, asked = machine(lambda _: 4.0, one=1.0)
    assert choose_threads(elapsed_ms, 2, busy=False) == ThreadChoice(2)
    assert 1 not in asked


@pytest.mark.parametrize("several", [lambda _: 380.0, lambda run: 4.0 if run % 2 else 400.0])
def test_a_busy_machine_keeps_the_faster_and_says_so_in_one_line(several: Callable[[int], float]) -> None:
    elapsed_ms, asked = machine(several, one=4.0)
    chosen = choose_threads(elapsed_ms, 2, busy=several(1) == several(2))  # the other one is seen by its scatter
    assert chosen.threads == 1
    assert chosen.said is not None
    assert "\n" not in chosen.said
    assert "with 2 threads, 4 ms with one" in chosen.said
    assert asked.count(2) > 2


def test_several_threads_are_kept_where_they_are_no_slower() -> None:
    for one in (8.0, 4.0, 3.8):
        elapsed_ms, asked = machine(lambda _: 4.0, one)
        assert choose_threads(elapsed_ms, 2, busy=True) == ThreadChoice(2)
        assert 1 in asked


def test_one_thread_is_never_compared_with_itself() -> None:
    elapsed_ms, asked = machine(lambda _: 4.0, one=1.0)
    assert choose_threads(elapsed_ms, 1, busy=True) == ThreadChoice(1)
    assert asked == []


def test_slow_runs_do_not_prolong_the_trial() -> None:
    ticks = count(0.0, TRIAL_S)
    elapsed_ms, asked = machine(lambda _: 5000.0, one=100.0)
    assert choose_threads(elapsed_ms, 2, busy=True, clock=lambda: next(ticks)).threads == 1
    assert len(asked) == 4


def test_a_number_that_the_user_names_is_named() -> None:
    assert threads_named(2, {})
    assert threads_named(None, {"OMP_NUM_THREADS": "2"})
    assert not threads_named(None, {"OMP_NUM_THREADS": ""})


@pytest.mark.parametrize(("threads", "named", "used"), [(None, "", 1), (None, "2", 2), (2, "", 2)])
def test_a_profile_never_changes_a_named_number_and_says_which_it_chose(
    target: TargetIdentity,
    monkeypatch: pytest.MonkeyPatch,
    threads: int | None,
    named: str,
    used: int,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", named)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(profiling, "load_average", lambda: 100.0)
    monkeypatch.setattr(profiling, "timed", lambda *_: (400.0 if torch.get_num_threads() > 1 else 4.0, None))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        traced = trace(nn.Linear(3, 2), torch.ones(1, 3))  # so small that one thread runs it, whatever is asked for
        made = profile_model(traced, target=target, threads=threads, seconds=0.05)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert made.device.threads == used
    assert (said_of_threads(made) is not None) == (used == 1)
