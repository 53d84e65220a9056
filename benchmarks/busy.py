"""Bar 24.8: does a profile made beside two busy programs lead to the plan of the quiet machine?

    python benchmarks/busy.py [--runs 10] [--loads 2] [--seconds 15] [--trials 6] [--seed 0]

examples/digits is profiled with one thread and, where the system allows it, at high priority; `optimize` chooses a cut.
Then, run after run, busy loops start at the same priority as the profile beside them, `profile` runs as a user would
call it (no threads named), and `optimize` chooses again from its figures, among the same evaluated candidates.
`--runs 3` is the short form.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from collabplan.profilers.thread_choice import NAMING
from collabplan.records import Plan, Profile, load
from report import bar, machine

TARGET = str(Path(__file__).resolve().parent.parent / "examples" / "digits" / "model.py")
PROGRAM = [sys.executable, "-c", "from collabplan.cli.main import main; main()"]
BUDGETS = ("--budget-ms", "60", "--max-edge-params", "60000", "--edge-slowdown", "5")
HOLDS, RUNS = 9, 10
"""The bar: at least 9 of 10 runs choose the quiet machine's cut."""


def usual_environment() -> dict[str, str]:
    """The environment of a user who has named no number of threads."""
    return {name: value for name, value in os.environ.items() if name not in NAMING}


def one_thread() -> dict[str, str]:
    """The environment with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(folder: Path, *arguments: str, environment: dict[str, str], raised: bool) -> tuple[str, bool]:
    """Run collabplan in a session of its own; what it printed, and whether its priority was raised."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments], cwd=folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    done = raised and raise_priority(process.pid)
    printed, _ = process.communicate()
    if process.returncode not in (0, 1):  # 1: a plan that misses a budget
        raise SystemExit(printed)
    return printed, done


def raise_priority(process: int) -> bool:
    """Give a session more of the processor. Linux shares it among sessions first, where autogroups are on."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process, -15)
        Path(f"/proc/{process}/autogroup").write_text("-15")
        return True
    return False


LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Ends with the process that started it, also if that is killed."""


@contextmanager
def load_of(count: int) -> Iterator[None]:
    """Busy loops, each in a session of its own, for as long as the context is open."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP], start_new_session=True) for _ in range(count)]
    try:
        time.sleep(1.0)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def profiled(folder: Path, name: str, seconds: float, *, quiet: bool) -> tuple[Profile, bool]:
    """A profile, and whether it was made at high priority."""
    environment = one_thread() if quiet else usual_environment()
    file = folder / f"{name}.json"
    arguments = ("profile", TARGET, "--seconds", str(seconds), "--max-crossing", "1", "--output", str(file))
    _, raised = run(folder, *arguments, environment=environment, raised=quiet)
    return load(Profile, file), raised


def chosen(folder: Path, name: str, trials: int, seed: int) -> Plan:
    """The plan that `optimize` makes of a profile. Candidates that were evaluated before are not evaluated again."""
    plan = folder / f"{name}-plan.json"
    again = ("--reuse", "search-1") if (folder / ".collabplan" / "study.db").exists() else ()
    run(
        folder, "optimize", TARGET, *BUDGETS, "--no-audit", "--trials", str(trials), "--seed", str(seed),
        "--profile", str(folder / f"{name}.json"), "--output", str(plan), *again,
        environment=one_thread(), raised=True,
    )  # fmt: skip
    return load(Plan, plan)


def off(found: Profile, reference: Profile) -> float:
    """The median over the cuts of how far prefix and suffix together lie from the reference, in percent."""
    differences = []
    for cut in found.cuts:
        other = reference.cut(cut.id)
        if cut.edge and cut.cloud and other.edge and other.cloud:
            expected = other.edge.p50_ms + other.cloud.p50_ms
            differences.append(100 * abs(cut.edge.p50_ms + cut.cloud.p50_ms - expected) / expected)
    return statistics.median(differences)


def main() -> None:
    """Choose once on the quiet machine, then run after run on the busy one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--loads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        reference, raised = profiled(folder, "quiet", options.seconds, quiet=True)
        expected = chosen(folder, "quiet", options.trials, options.seed)
        same, distances = 0, []
        for number in range(1, options.runs + 1):
            name = f"busy-{number}"
            with load_of(options.loads):
                found, _ = profiled(folder, name, options.seconds, quiet=False)
            plan = chosen(folder, name, options.trials, options.seed)
            same += plan.cut_id == expected.cut_id
            distances.append(off(found, reference))
            bar("24.8", f"run {number}: whole model beside {options.loads} busy programs",
                round(found.whole.p50_ms, 3), "ms", reference={"quiet": round(reference.whole.p50_ms, 3)},
                whole_p95_ms=[round(found.whole.p95_ms, 3), round(reference.whole.p95_ms, 3)],
                interpolated=sum(cut.interpolated for cut in found.cuts), cuts=len(found.cuts),
                threads=found.device.threads, cut=plan.cut_name, quiet_cut=expected.cut_name,
                latency_p95_ms=[round(each.chosen.latency.p95_ms, 2) for each in (plan, expected)])  # fmt: skip
        needed = -(-HOLDS * options.runs // RUNS)
        bar("24.8", "runs whose cut is the quiet machine's", same, "runs", target=needed, holds=same >= needed,
            reference={"runs": options.runs}, raised_priority=raised)  # fmt: skip
        bar("24.8", "prefix + suffix against the quiet machine's, median over cuts, mean over runs",
            round(statistics.mean(distances), 2), "%", worst=round(max(distances), 2))  # fmt: skip
    machine(("torch",))


if __name__ == "__main__":
    main()
