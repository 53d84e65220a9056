"""What is cut off by a deadline is never taken for finished, and what was finished is found again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from collabplan.attacks import attack_named, run_audit
from collabplan.attacks.conformance import EFFORT, toy_request
from collabplan.attacks.descent import descend
from collabplan.attacks.time_limit import Deadline, TimeUp, check_time, interruptible, until


class Ticking:
    """A clock that goes on by one second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_an_outer_deadline_holds_inside_a_later_one() -> None:
    now = [0.0]
    outer, inner = Deadline.after(5.0, lambda: now[0]), Deadline.after(9.0, lambda: now[0])
    check_time()
    with until(outer), until(inner):
        check_time()
        now[0] = 5.0
        with pytest.raises(TimeUp):
            check_time()
    check_time()


def test_a_part_of_the_time_left_and_no_limit() -> None:
    assert Deadline.after(10.0, lambda: 2.0).part(0.25).at == 4.5
    assert not Deadline.after(None).part(0.5).passed


def test_a_descent_stops_within_one_step_of_the_deadline() -> None:
    clock, steps = Ticking(), []
    start = torch.ones(3, requires_grad=True)

    def objective() -> torch.Tensor:
        steps.append(1)
        return start.square()

    with pytest.raises(TimeUp), until(Deadline(7.0, clock)):
        descend([start], objective, 100, 0.1)
    assert len(steps) == 6


def test_an_audit_that_was_cut_off_keeps_its_finished_attacks_alone(tmp_path: Path) -> None:
    suite = [attack_named(name) for name in ("prior", "ridge", "inverse")]
    now, begun = [0.0], []

    def step(what: str) -> None:
        begun.append(what)
        if what.startswith("inverse"):
            now[0] = 100.0

    with pytest.raises(TimeUp), until(Deadline(50.0, lambda: now[0])):
        run_audit(toy_request(), suite, EFFORT, seed=0, folder=tmp_path, step=step)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert begun[-1].startswith("inverse")
    assert kept
    again = run_audit(toy_request(), suite, EFFORT, seed=0, folder=tmp_path)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == kept, "nothing finished is run twice"
    through = run_audit(toy_request(), suite, EFFORT, seed=0)
    assert [each.figures for each in again.record.attacks] == [each.figures for each in through.record.attacks]


def test_a_single_pass_of_a_network_ends_between_two_operations() -> None:
    clock = Ticking()
    network = torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(50)])
    with until(Deadline(10.0, clock)), pytest.raises(TimeUp), interruptible(), torch.no_grad():
        network(torch.zeros(1, 2))
    assert clock.now < 15
    assert torch.is_grad_enabled(), "what was cut off left no state behind"
