"""Bar 4.3: what an audited plan recovers beside the cuts that people choose, at five points of accuracy.

    .venv/bin/python benchmarks/plans.py digits
    .venv/bin/python benchmarks/plans.py cifar10_resnet20 --finetune 4 \
        --defense 'quantizer:bits=8,3' --defense 'projection:rank=12,24 quantizer:bits=8,3'

`optimize` with --max-accuracy-drop 0.05, where the cloud half keeps at least 30 % of the FLOPs; adaptive attackers, up
to ten releases of each input. Beside the plan stand (a) the latency-optimal proper cut, (b) the middle cut, both
undefended (the 8-bit wire stays), and (c) the undefended cut that leaks least under the same budgets: what the defense
itself adds. All four are attacked by the same suite at the same effort on the confirm split. Takes up to hours;
finished attacks are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from collabplan.planner import Point, Problem, SearchOptions, optimize
from collabplan.planner.audits import Audits
from collabplan.planner.baselines import baseline_cuts
from collabplan.planner.default_defenses import DEFAULT_DEFENSES
from collabplan.planner.evaluator import Evaluator
from collabplan.records import Budgets, Candidate, Interval, Link
from collabplan.targets.input_options import InputOptions
from collabplan.workflows.conditions import Conditions
from collabplan.workflows.options import TuningSettings
from collabplan.workflows.problem import prepare, state_problem
from collabplan.workflows.reporter import Silent
from collabplan.workflows.search_options import audit_options, tuning_options
from collabplan.workflows.workspace import Workspace
from report import bar, machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LINK = Link(bandwidth_bps=20e6, rtt_ms=15.0)
SLOWDOWN, DROP, CLOUD_SHARE, RATIO = 5.0, 0.05, 0.3, 0.4


def stated(name: str, folder: Path) -> Problem:
    """The example's problem with those cuts that leave the cloud its share of the FLOPs."""
    os.chdir(folder)
    target = str(EXAMPLES / name / "model.py")
    prepared = prepare(target, InputOptions(), None, Workspace.here(), Silent())
    problem = state_problem(prepared, Conditions(LINK, SLOWDOWN), Budgets(max_accuracy_drop=DROP), Silent())
    known = {cut.id: cut for cut in prepared.profiles.edge.cuts}
    whole = max(cut.edge_flops_counted for cut in known.values())
    cuts = tuple(
        cut
        for cut in problem.cuts
        if cut.kind == "proper"
        and len(cut.crossing) == 1
        and known[cut.id].edge_flops_counted <= (1 - CLOUD_SHARE) * whole
    )
    return dataclasses.replace(problem, cuts=cuts)


def figures(candidate: Candidate) -> dict[str, Any]:
    """What is printed of an audited candidate."""
    audited = candidate.audited
    assert audited is not None
    found = audited.figures
    shown: dict[str, Interval | None] = {
        "index": found.index,
        "reconstruction": found.reconstruction_rate,
        "reidentified": found.reidentification,
        "linkage": found.linkage,
    }
    return {
        "cut": candidate.cut_name,
        "defense": candidate.defense.text,
        "payload_bytes": candidate.payload_bytes,
        "tuned": candidate.tuned,
        "accuracy": round(candidate.accuracy.accuracy.value, 4),
        "p95_ms": round(candidate.latency.p95_ms, 2),
        "worst": found.index_attack,
        **{
            name: None if value is None else [round(value.value, 3), round(value.low, 3), round(value.high, 3)]
            for name, value in shown.items()
        },
    }


def main() -> None:
    """Plan, attack the plan and the baselines, print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", choices=("digits", "mnist_lenet", "cifar10_cnn6", "cifar10_resnet20"))
    parser.add_argument("--finetune", type=int, default=0, help="epochs")
    parser.add_argument("--samples", type=int, default=12_000, help="to fine-tune on")
    parser.add_argument("--penalty", type=float, default=0.0, help="on linear reconstruction, while fine-tuning")
    parser.add_argument("--defense", action="append", help="family to search; default: that of `collabplan optimize`")
    parser.add_argument("--deepest", type=int, help="search only this many of these cuts; default: all")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--effort", choices=("quick", "standard", "thorough"), default="quick")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(".collabplan/benchmark-plans"))
    given = parser.parse_args()
    folder = (given.work / given.example).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    problem = stated(given.example, folder)
    audit = audit_options(given.effort, given.seeds, None)
    tuning = tuning_options(
        TuningSettings(finetune=given.finetune, finetune_samples=given.samples, finetune_penalty=given.penalty)
    )
    options = SearchOptions(
        trials=given.trials,
        draws=2,
        audit=audit,
        tuning=tuning,
        fastest=False,
        defenses=given.defense or DEFAULT_DEFENSES,
    )
    kept = folder / ".collabplan"
    started = time.perf_counter()
    searched = problem if given.deepest is None else dataclasses.replace(problem, cuts=problem.cuts[-given.deepest :])
    outcome = optimize(searched, options, kept)
    took = time.perf_counter() - started
    found = Evaluator(problem, dataclasses.replace(options, tuning=None), kept)
    audits = Audits(found, audit, kept / "audits")
    roles = baseline_cuts(problem.cuts, lambda cut: found.costs(Point(cut.id)).latency)
    undefended = [found.evaluate(Point(cut.id)) for cut in problem.cuts]
    fitting = [candidate for candidate in undefended if candidate.accuracy.drop.high <= DROP]
    indices = [(candidate.leakage.index.high, candidate.leakage.index.value) for candidate in fitting]
    best = fitting[indices.index(min(indices))] if fitting else None
    baselines = {
        "latency-optimal": Point(roles["latency-optimal"].id),
        "middle": Point(roles["middle"].id),
        **({"best undefended": Point(best.cut_id)} if best else {}),
    }
    attacked = {name: audits.hardest(found.confirm(found.evaluate(point))) for name, point in baselines.items()}
    plan = None if outcome.plan is None else outcome.plan.chosen
    for name, baseline in attacked.items():
        ratio, mine, theirs = None, None, None
        if plan is not None and plan.audited is not None and baseline.audited is not None:
            mine, theirs = plan.audited.figures.reconstruction_rate, baseline.audited.figures.reconstruction_rate
        if mine is not None and theirs is not None and theirs.low > 0:
            ratio = mine.high / theirs.low
        barred = name != "best undefended"
        bar(
            "4.3",
            f"{given.example}: reconstruction rate of the plan (upper end) over that of the {name} cut (lower end)",
            None if ratio is None else round(ratio, 3),
            "ratio",
            target=RATIO if barred else None,
            holds=(ratio is not None and ratio <= RATIO) if barred else None,
            reference=figures(baseline),
            plan=None if plan is None else figures(plan),
            nearest_miss=outcome.nearest_miss,
            effort=given.effort,
            seeds=given.seeds,
            finetune={"epochs": given.finetune, "samples": given.samples, "penalty": given.penalty},
            defenses=[defense.text for defense in options.searched],
            cuts=len(searched.cuts),
            audits=outcome.audits,
            trials=outcome.trials,
            search_seconds=round(took),
        )
    machine(("torch", "optuna", "scipy"))


if __name__ == "__main__":
    main()
