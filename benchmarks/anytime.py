"""Bar 24.1: when `optimize --time-limit` has a plan, how well it is supported over time, and when it ends.

    python benchmarks/anytime.py [--target digits lenet resnet20 cnn6] [--limit 15m] [--seed 0]

Each target is profiled first; that is not counted. Then `optimize` runs in a process of its own, and its plan file is
read twice a second: every new plan is a point of the curve (seconds, level, upper end of the index).
`kill.py` kills the same command.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from collabplan.records import Plan, load, parse_time_limit_s
from collabplan.records.sign_off import LEVELS
from report import bar, machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PROGRAM = [sys.executable, "-c", "from collabplan.cli.main import main; main()"]
GRACE_S = 30.0
FIRST_PLAN_S = 60.0
EVERY_S = 0.5


@dataclass(frozen=True)
class Case:
    """A target with its budgets, which the whole model on the device does not keep, and the bar of a quick attack."""

    folder: str
    budgets: tuple[str, ...]
    quick_s: float


CASES = {
    "digits": Case("digits", ("--budget-ms", "50", "--max-edge-params", "60000"), 180.0),
    "lenet": Case("mnist_lenet", ("--budget-ms", "50", "--max-edge-params", "40000"), 300.0),
    "resnet20": Case("cifar10_resnet20", ("--budget-ms", "50", "--max-edge-params", "200000"), 600.0),
    "cnn6": Case("cifar10_cnn6", ("--budget-ms", "50", "--max-edge-params", "200000"), 600.0),
}


@dataclass(frozen=True)
class Point:
    """A plan that lay on disk from `seconds` on."""

    seconds: float
    level: str
    index_high: float
    cut: str


def command(case: Case, limit: str, seed: int) -> list[str]:
    """The search; the same command goes on where it stopped."""
    target = str(EXAMPLES / case.folder / "model.py")
    return [*PROGRAM, "optimize", target, *case.budgets, "--time-limit", limit, "--seed", str(seed)]


def watched(case: Case, folder: Path, limit: str, seed: int) -> tuple[list[Point], float, int]:
    """Run the search and read its plan file; the curve, the seconds until it ended, and its exit code."""
    curve: list[Point] = []
    started, file, seen = time.perf_counter(), folder / "plan.json", b""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command(case, limit, seed), cwd=folder, stdout=log, stderr=log)
        while True:
            ended = process.poll() is not None
            content = file.read_bytes() if file.exists() else b""
            if content and content != seen:
                plan, seen = load(Plan, file), content
                now = time.perf_counter() - started
                curve.append(Point(round(now, 1), plan.level, plan.chosen.index.high, plan.cut_name))
            if ended:
                return curve, time.perf_counter() - started, process.returncode
            time.sleep(EVERY_S)


def since(curve: list[Point], level: str) -> float | None:
    """Seconds until the first plan of a level or a better one; None if there was none."""
    enough = [point for point in curve if LEVELS.index(point.level) >= LEVELS.index(level)]
    return enough[0].seconds if enough else None


def measure(name: str, base: Path, limit: str, seed: int) -> None:
    """The bars of one target."""
    case, limit_s = CASES[name], parse_time_limit_s(limit)
    curve, ended, code = watched(case, base, limit, seed)
    first, quick = since(curve, "estimated"), since(curve, "quick")
    final = curve[-1].index_high if curve else None
    bar("24.1", f"{name}: time to the first plan", first, "s", target=FIRST_PLAN_S,
        holds=first is not None and first <= FIRST_PLAN_S)  # fmt: skip
    bar("24.1", f"{name}: time to a plan attacked at quick effort", quick, "s", target=case.quick_s,
        holds=quick is not None and quick <= case.quick_s)  # fmt: skip
    if limit_s is not None:
        bar("24.1", f"{name}: end after the limit", round(ended - limit_s, 1), "s", target=GRACE_S,
            holds=ended - limit_s <= GRACE_S, limit_s=limit_s, exit_code=code)  # fmt: skip
    bar("24.1", f"{name}: upper end of the index over time, against the last", final, "",
        curve=[[each.seconds, each.level, round(each.index_high, 3), each.cut] for each in curve])  # fmt: skip


def main() -> None:
    """Measure every target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--limit", default="15m")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.target:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            profile = [*PROGRAM, "profile", str(EXAMPLES / CASES[name].folder / "model.py"), "--seconds", "10"]
            subprocess.run(profile, cwd=folder, check=True, capture_output=True)
            measure(name, folder, options.limit, options.seed)
    machine(("torch", "optuna"))


if __name__ == "__main__":
    main()
