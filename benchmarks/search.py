"""Bars 4.1 and 4.2: the audited front at a fraction of the exhaustive grid's price.

    .venv/bin/python benchmarks/search.py cifar10_resnet20
    .venv/bin/python benchmarks/search.py mnist_lenet
    .venv/bin/python benchmarks/search.py digits

The reference audits every proper cut x 6 rates of element dropout by the attacks that steer `optimize`, on images of
the search split, at quick effort with as many steps of training as `--steps` says, the same for all. Fronts are
compared by hypervolume (accuracy, p95 latency, audited index; scaled by ideal and nadir of the reference's front,
reference point 1.1), always with the audited figures, whatever a contestant believed. Each pays the measured seconds of
everything that it asked for. Takes hours; what is finished is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from collabplan.graph import candidate_cuts
from collabplan.planner import Point, SearchOptions, hypervolume, pareto_front
from collabplan.planner.audits import Audits
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.front import Values, objectives
from collabplan.planner.space import point_of
from collabplan.records import Budgets, Candidate, Link, hash_json, write_text
from collabplan.targets.input_options import InputOptions
from collabplan.workflows.conditions import Conditions
from collabplan.workflows.problem import prepare, state_problem
from collabplan.workflows.reporter import Silent
from collabplan.workflows.search_options import audit_options
from collabplan.workflows.workspace import Workspace
from pydantic import BaseModel
from report import bar, machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LINK = Link(bandwidth_bps=20e6, rtt_ms=15.0)
RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
SLOWDOWN = 5.0
SEEDS = range(10)
SHARE, ENOUGH = 0.25, 0.98


class Measured(BaseModel):
    """One point of the grid, and what it cost."""

    candidate: Candidate
    evaluate_s: float
    audit_s: float


def open_objectives(name: str, folder: Path, steps: int, without: str | None) -> Evaluator:
    """The example's problem with proper cuts of one crossing, profiled in `folder`."""
    os.chdir(folder)
    target = str(EXAMPLES / name / "model.py")
    prepared = prepare(target, InputOptions(), None, Workspace.here(), Silent())
    traced = prepared.session.traced
    problem = state_problem(prepared, Conditions(LINK, SLOWDOWN), Budgets(), Silent())
    cuts = tuple(
        cut
        for cut in candidate_cuts(traced, 1)
        if cut.kind == "proper" and cut.searchable and not (without and without in cut.name)
    )
    quick = audit_options("quick", 1, None)
    audit = dataclasses.replace(quick, search_effort=dataclasses.replace(quick.search_effort, train_steps=steps))
    options = SearchOptions(
        defenses=("none", f"dropout:element:{','.join(map(str, RATES))}"),
        draws=1,
        leakage_samples=500,
        audit=audit,
        fastest=False,
    )
    return Evaluator(dataclasses.replace(problem, cuts=cuts), options)


def place(folder: Path, point: Point) -> Path:
    """Where a finished point is kept."""
    return folder / "points" / f"{hash_json(point.key)[:24]}.json"


def fill(found: Evaluator, folder: Path, first: int, step: int) -> None:
    """Measure every `step`-th cut from the `first` on."""
    audit = found.options.audit
    assert audit is not None
    audits = Audits(found, audit, folder / "audits")
    for cut_id in found.space.cut_ids[first::step]:
        for point in found.space.points_of(cut_id):
            if place(folder, point).is_file():
                continue
            started = time.perf_counter()
            candidate = found.evaluate(point)
            evaluated = time.perf_counter()
            attacked = audits.searched(candidate)
            done = Measured(candidate=attacked, evaluate_s=evaluated - started, audit_s=time.perf_counter() - evaluated)
            write_text(place(folder, point), done.model_dump_json())


class Grid:
    """The reference, and what asking for a part of it costs."""

    def __init__(self, points: dict[Point, Measured]) -> None:
        self.points = points
        true = [objectives(point.candidate) for point in points.values()]
        front = [objectives(candidate) for candidate in pareto_front([p.candidate for p in points.values()])]
        self.low = [min(column) for column in zip(*true, strict=True)]
        nadir = [max(column) for column in zip(*front, strict=True)]
        self.width = [max(high - low, 1e-9) for low, high in zip(self.low, nadir, strict=True)]
        self.best = self.volume(points)

    def volume(self, points: Any) -> float:
        """Hypervolume of points by their audited figures."""
        return hypervolume([self.scaled(objectives(self.points[point].candidate)) for point in points], (1.1,) * 3)

    def scaled(self, point: Values) -> Values:
        """With the ideal at 0 and the front's nadir at 1."""
        return tuple((x - low) / width for x, low, width in zip(point, self.low, self.width, strict=True))

    def blind(self, point: Point) -> Candidate:
        """What is known of a point before it is attacked."""
        return self.points[point].candidate.model_copy(update={"audited": None, "predicted": None})

    def price(self, evaluated: Sequence[Point], audited: Sequence[Point]) -> float:
        """Seconds."""
        return sum(self.points[p].evaluate_s for p in evaluated) + sum(self.points[p].audit_s for p in audited)


class Lookup(Audits):
    """The planner's own audits, read from the grid."""

    grid: Grid

    def searched(self, candidate: Candidate) -> Candidate:
        """As `Audits.searched`, without attacking again."""
        point = point_of(candidate)
        audited = self.grid.points[point].candidate.audited
        assert audited is not None
        self._made[point] = audited
        return self.known(candidate)


@dataclasses.dataclass(frozen=True)
class Run:
    """What `optimize` finds: share of the hypervolume of the front that it claims, and of what it attacked alone."""

    share: float
    attacked_share: float
    claimed: int
    audits: int
    seconds: float


def ours(grid: Grid, found: Evaluator, seed: int) -> Run:
    """One search."""
    assert found.options.audit is not None
    options = dataclasses.replace(found.options, seed=seed)
    shim: Any = SimpleNamespace(options=options, problem=SimpleNamespace(budgets=Budgets()))
    audits = Lookup(shim, found.options.audit, Path())
    audits.grid = grid
    started = time.perf_counter()
    known = audits.calibrated([grid.blind(point) for point in grid.points])
    thinking = time.perf_counter() - started
    front = [point_of(candidate) for candidate in pareto_front(known)]
    attacked = list(audits._made)
    return Run(
        grid.volume(front) / grid.best,
        grid.volume(attacked) / grid.best,
        len(front),
        audits.made,
        grid.price(list(grid.points), attacked) + thinking,
    )


def sampled(
    grid: Grid, found: Evaluator, sampler: Callable[[int], optuna.samplers.BaseSampler], seed: int, budget: int
) -> tuple[float, int, float]:
    """What an Optuna sampler finds that audits every point it visits; repeated points are free."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler(seed))
    rates, seen = [0.0, *RATES], dict[Point, None]()
    for _ in range(40 * budget):
        if len(seen) == budget:
            break
        trial = study.ask()
        cut_id = found.space.cut_ids[trial.suggest_int("cut", 0, len(found.space.cut_ids) - 1)]
        point = found.space.spelled(cut_id, "element", rates.index(trial.suggest_categorical("rate", rates)))
        seen[point] = None
        study.tell(trial, objectives(grid.points[point].candidate))
    visited = list(seen)
    return grid.volume(visited) / grid.best, len(visited), grid.price(visited, visited)


SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "NSGA-II": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=12),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


def main() -> None:
    """Measure the grid, let the contestants search it, print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", choices=("cifar10_resnet20", "mnist_lenet", "digits"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=Path(".collabplan/benchmark-search"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--without", help="leave out cuts whose name holds this, .add say; the last line says so")
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = (options.work / f"{options.example}-{options.steps}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.fill is not None:
        fill(
            open_objectives(options.example, folder, options.steps, options.without), folder, options.fill, options.jobs
        )
        return
    found = open_objectives(options.example, folder, options.steps, options.without)
    command = [sys.executable, Path(__file__).resolve(), options.example, "--work", str(folder.parent)]
    command += ["--steps", str(options.steps), *(["--without", options.without] if options.without else [])]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // options.jobs))}
    running = [
        subprocess.Popen([*command, "--jobs", str(options.jobs), "--fill", str(at)], env={**threads, **os.environ})
        for at in range(options.jobs)
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a part of the grid could not be measured")
    points = found.space.points
    grid = Grid({p: Measured.model_validate_json(place(folder, p).read_text()) for p in points})
    whole = grid.price(points, points)
    mine = [ours(grid, found, seed) for seed in SEEDS]
    budget = max(run.audits for run in mine)
    reference = {}
    for name, sampler in SAMPLERS.items():
        runs = [sampled(grid, found, sampler, seed, budget) for seed in SEEDS]
        reference[name] = {
            "volume": round(statistics.median(share for share, _, _ in runs), 4),
            "least": round(min(share for share, _, _ in runs), 4),
            "wall share": round(statistics.median(seconds for _, _, seconds in runs) / whole, 3),
        }
    shares = [run.share for run in mine]
    audits = budget / len(points)
    wall = statistics.median(run.seconds for run in mine) / whole
    bar(
        "4.1" if options.example == "cifar10_resnet20" else "4.2",
        f"{options.example}: hypervolume of optimize's front, share of the grid's, median of {len(SEEDS)} seeds",
        round(statistics.median(shares), 4),
        "share",
        target=ENOUGH,
        holds=statistics.median(shares) >= ENOUGH and audits <= SHARE and wall <= SHARE,
        reference=reference,
        least=round(min(shares), 4),
        audits_share=round(audits, 3),
        wall_share=round(wall, 3),
        attacked_alone=round(statistics.median(run.attacked_share for run in mine), 4),
        claimed=statistics.median(run.claimed for run in mine),
        true_front=len(pareto_front([point.candidate for point in grid.points.values()])),
        grid_points=len(points),
        steps=options.steps,
        cuts=len(found.space.cut_ids),
        without=options.without,
        grid_seconds=round(whole),
        grid_audit_seconds=round(sum(point.audit_s for point in grid.points.values())),
    )
    machine(("torch", "optuna", "scipy"))


if __name__ == "__main__":
    main()
