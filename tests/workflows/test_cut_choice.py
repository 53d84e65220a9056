"""How many tensors may cross a cut where nothing is said, and how to see the cuts that more of them cross."""

from __future__ import annotations

import pytest
import torch
from bundle_plans import SkipNet, images, rows
from collabplan.graph import TracedGraph, candidate_cuts, trace
from collabplan.planner.default_defenses import DROPOUT_RATES
from collabplan.workflows.cut_choice import crossing_limit, further_cuts
from collabplan.workflows.options import (
    AttackOptions,
    LeakageOptions,
    ProfileOptions,
    SearchSettings,
)
from collabplan.workflows.reporter import Silent
from torch import Tensor, nn


class Heard(Silent):
    """What was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str, findings: object = ()) -> None:  # noqa: ARG002
        self.said.append(text)


class TwoBranches(nn.Module):
    """Both branches cross every cut between the input and the answer, or the input does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.first(x)) + torch.relu(self.second(x))


@pytest.fixture(scope="module")
def skip() -> TracedGraph:
    return trace(SkipNet().eval(), images(1))


@pytest.fixture(scope="module")
def branches() -> TracedGraph:
    return trace(TwoBranches().eval(), rows(1))


def test_one_tensor_crosses_where_that_leaves_a_cut(skip: TracedGraph) -> None:
    heard = Heard()
    assert crossing_limit(skip, None, heard) == 1
    assert heard.said == []
    more = len(candidate_cuts(skip, 4)) - len(candidate_cuts(skip, 1))
    assert more > 0
    assert further_cuts(skip, 1) == f"{more} further cuts let up to 4 tensors cross; to see them: --max-crossing 4"
    assert further_cuts(skip, 4) == ""


def test_the_fewest_that_leave_a_cut_are_taken_and_said(branches: TracedGraph) -> None:
    heard = Heard()
    assert crossing_limit(branches, None, heard) == 2
    assert heard.said == [
        "no cut that can be searched and keeps the raw input back is crossed by 1 tensor alone, so up to 2 may cross "
        "(--max-crossing 2)"
    ]


def test_a_number_that_is_given_stands(skip: TracedGraph, branches: TracedGraph) -> None:
    assert [crossing_limit(graph, 3, Heard()) for graph in (skip, branches)] == [3, 3]


def test_every_command_has_the_same_defaults() -> None:
    assert [each().max_crossing for each in (ProfileOptions, LeakageOptions, AttackOptions)] == [None] * 3
    families = [family for each in (LeakageOptions, AttackOptions, SearchSettings) for family in each().defense]
    assert {family.split(":")[2] for family in families if family.startswith("dropout")} == {DROPOUT_RATES}
