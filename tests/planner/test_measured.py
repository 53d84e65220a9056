"""What was measured and what was tried on the confirm split is known to the next run of the same search."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from collabplan.planner import Problem, SearchOptions, SearchResult, optimize
from collabplan.planner.choose import CONFIRM_TRIES
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.measured import Measured, question
from collabplan.planner.space import point_of
from collabplan.planner.study import StoredStudy, open_store
from collabplan.records import Budgets, DeviceIdentity, Link
from defense_records import grid, point_at
from planner_fakes import FINGERPRINT, candidate, evaluate, space

OPTIONS = SearchOptions(defenses=grid(rates=(0.3,)), draws=1, leakage_samples=60)


def unheard(_: object) -> None:
    pass


def asked(budgets: Budgets, load: float = 0.0, link: Link | None = None) -> Any:
    """As much of a problem as its question is made of."""
    profile = SimpleNamespace(device=DeviceIdentity(device="cpu", name="board", threads=1, load_average=load))
    return SimpleNamespace(
        budgets=budgets, link=link or Link.assumed(), edge_slowdown=1.0, power=None, edge_profile=profile,
        cloud_profile=profile,
    )  # fmt: skip


class FakeEvaluator:
    """Counts what is measured; a kill while the point `kills` is measured."""

    def __init__(self, budgets: Budgets, kills: str = "") -> None:
        self.problem, self.kills, self.measured = asked(budgets), kills, list[tuple[str, str]]()

    def evaluate(self, point: Any, split: str = "search") -> Any:
        if point.cut_id == self.kills:
            raise SystemExit
        self.measured.append((point.cut_id, split))
        return candidate(point, leakage=0.3)

    def reprice(self, known: Any) -> Any:
        return known


def run(folder: Path, budgets: Budgets, cuts: list[str], kills: str = "") -> tuple[list[tuple[str, str]], set[str]]:
    """Try cuts on the confirm split; what was measured now, and what was tried by then."""
    evaluator: Any = FakeEvaluator(budgets, kills)
    with open_store(folder, FINGERPRINT, space(), resume=True) as store:
        measured = Measured(evaluator, store)
        try:
            for cut in cuts:
                measured.confirm(candidate(point_at(cut)))
        except SystemExit:
            pass
        return evaluator.measured, {point.cut_id for point in measured.tried}


def test_a_try_counts_in_later_runs_and_is_not_measured_again(tmp_path: Path) -> None:
    budgets = Budgets(max_leakage=0.5)
    assert run(tmp_path, budgets, ["cut00", "cut01"]) == (
        [("cut00", "confirm"), ("cut01", "confirm")],
        {"cut00", "cut01"},
    )
    assert run(tmp_path, budgets, ["cut01", "cut02"]) == ([("cut02", "confirm")], {"cut00", "cut01", "cut02"})


def test_a_try_that_was_killed_counts_too(tmp_path: Path) -> None:
    budgets = Budgets(max_leakage=0.5)
    assert run(tmp_path, budgets, ["cut00"], kills="cut00") == ([], {"cut00"})
    assert run(tmp_path, budgets, []) == ([], {"cut00"})


def test_another_question_has_tries_of_its_own_and_measures_nothing_twice(tmp_path: Path) -> None:
    run(tmp_path, Budgets(max_leakage=0.5), ["cut00"])
    assert run(tmp_path, Budgets(max_leakage=0.4), ["cut00", "cut01"]) == (
        [("cut01", "confirm")],
        {"cut00", "cut01"},
    )


def test_the_question_does_not_depend_on_how_busy_the_machine_was() -> None:
    budgets = Budgets(max_leakage=0.5)
    same = question(asked(budgets, load=3.0))
    assert question(asked(budgets)) == same
    assert question(asked(budgets, link=Link(bandwidth_bps=1e6, rtt_ms=80.0))) != same
    assert question(asked(Budgets(max_leakage=0.6))) != same


def test_what_a_trial_measured_is_known_at_once(tmp_path: Path) -> None:
    point = point_at("cut03")
    evaluator: Any = FakeEvaluator(Budgets())
    with open_store(tmp_path, FINGERPRINT, space(), resume=True) as store:
        store.add(evaluate(point), Budgets(), datetime.now())
        measured = Measured(evaluator, store)
        assert measured.once(point) == evaluate(point)
        assert (evaluator.measured, measured.known(point, "confirm")) == ([], None)


@pytest.fixture(scope="module")
def searched(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    """A search that has ended, and its folder."""
    folder = tmp_path_factory.mktemp("searched")
    return folder, optimize(problem, OPTIONS, folder, on_plan=unheard)


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: pytest.fail("measured again"))


@pytest.mark.usefixtures("nothing_measured")
def test_a_search_that_goes_on_measures_nothing_twice(problem: Problem, searched: tuple[Path, SearchResult]) -> None:
    folder, once = searched
    again = optimize(problem, OPTIONS, folder, on_plan=unheard)
    assert once.plan is not None
    assert again.plan is not None
    assert (again.plan.chosen, again.confirm_tries) == (once.plan.chosen, once.confirm_tries)
    assert again.baselines == once.baselines


@pytest.mark.usefixtures("nothing_measured")
def test_where_earlier_runs_have_used_all_tries_nothing_more_is_tried(
    problem: Problem, searched: tuple[Path, SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {point_at(f"cut{number:02}") for number in range(CONFIRM_TRIES)}
    monkeypatch.setattr(StoredStudy, "tried", lambda *_: set(used))
    found = optimize(problem, OPTIONS, searched[0], on_plan=unheard)
    assert found.confirm_tries == CONFIRM_TRIES
    assert found.plan is None or point_of(found.plan.chosen) in {point_of(each.candidate) for each in found.baselines}
    refused = [each for each in found.candidates if "a try on the confirm split" in " ".join(each.violations)]
    assert refused
