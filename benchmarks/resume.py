"""Bar 1.8: kill -9 `collabplan optimize` at random moments, resume, and find what an uninterrupted run finds.

    python benchmarks/resume.py [--kills 50] [--trials 60] [--seed 0]

The target is the embedded example. One profile serves all runs. After every kill the study is opened: completed
trials may only grow, and none may change. Then the search is finished and its front compared, trial by trial and
figure by figure, with a run that nobody interrupted, and with one made as two halves.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from report import bar, machine

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "examples" / "digits" / "model.py"
PROGRAM = str(Path(sys.executable).with_name("collabplan"))


def command(trials: int, seed: int) -> list[str]:
    """The search, resumed where there is something to resume."""
    budgets = ["--budget-ms", "100", "--max-accuracy-drop", "0.2", "--edge-slowdown", "4"]
    return [
        PROGRAM,
        "optimize",
        str(TARGET),
        *budgets,
        "--trials",
        str(trials),
        "--seed",
        str(seed),
        "--no-audit",
        "--json",
    ]


def run(folder: Path, trials: int, seed: int) -> dict[str, Any]:
    """An uninterrupted call; its JSON."""
    done = subprocess.run(command(trials, seed), cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """Every trial of the latest study, in any state."""
    path = folder / ".collabplan" / "study.db"
    if not path.exists():
        return []
    url = f"sqlite:///{path}"
    names = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=names[-1], storage=url).get_trials(deepcopy=False) if names else []


def facts(trial: optuna.trial.FrozenTrial) -> tuple[Any, ...]:
    """What makes a completed trial what it is."""
    return (trial.number, tuple(sorted(trial.params.items())), tuple(trial.values or ()))


def seconds_to_start(folder: Path, trials: int, seed: int) -> tuple[float, float]:
    """Of a resumed process: until it holds the study's lock and searches, and until its first new trial is stored."""
    before = len(stored(folder))
    lock = folder / ".collabplan" / "lock"
    started = time.perf_counter()
    process = subprocess.Popen(command(trials, seed), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and lock.read_text() != str(process.pid):
        time.sleep(0.02)
    searching = time.perf_counter() - started
    while process.poll() is None and len(stored(folder)) == before:
        time.sleep(0.1)
    taken = time.perf_counter() - started
    process.kill()
    process.wait()
    return searching, taken


def main() -> None:
    """Kill, resume, compare, and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        folders = {name: base / name for name in ("through", "killed", "halves")}
        folders["through"].mkdir()
        profile = [PROGRAM, "profile", str(TARGET), "--max-crossing", "2"]
        subprocess.run(profile, cwd=folders["through"], check=True, capture_output=True)
        for name in ("killed", "halves"):
            shutil.copytree(folders["through"], folders[name])
        started = time.perf_counter()
        through = run(folders["through"], options.trials, options.seed)
        whole_s = time.perf_counter() - started

        lost = changed = zombies = kills = at_stake = 0
        known: list[tuple[Any, ...]] = []
        while kills < options.kills:
            process = subprocess.Popen(
                command(options.trials, options.seed),
                cwd=folders["killed"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            # Most kills fall early in the run, so that the study is not complete before all were dealt.
            time.sleep(draw.uniform(0.2, 1.0) * draw.uniform(0.2, 1.0) * min(whole_s, 14.0))
            process.kill()
            process.wait()
            kills += 1
            trials = stored(folders["killed"])
            zombies += sum(trial.state == TrialState.RUNNING for trial in trials)
            now = [facts(trial) for trial in trials if trial.state == TrialState.COMPLETE]
            at_stake = len(known)
            lost += max(0, len(known) - len(now))
            changed += sum(a != b for a, b in zip(known, now, strict=False))
            known = now
        shutil.copytree(folders["killed"], base / "timed")
        start_s, trial_s = seconds_to_start(base / "timed", max(options.trials, len(known) + 1), options.seed)
        killed = run(folders["killed"], options.trials, options.seed)
        run(folders["halves"], options.trials // 2, options.seed)
        halves = run(folders["halves"], options.trials, options.seed)
        total = len(stored(folders["killed"]))

    bar(
        "1.8",
        "completed trials lost or changed by kills",
        lost + changed,
        "trials",
        target=0,
        holds=lost + changed == 0 and at_stake > 0,
        kills=kills,
        completed_before_the_last_kill=at_stake,
    )
    bar("1.8", "trials left running by a kill", zombies, "trials", target=0,
        holds=zombies == 0 and at_stake > 0, kills=kills)  # fmt: skip
    bar(
        "1.8",
        "trials in the study after the last resume",
        total,
        "trials",
        target=options.trials,
        holds=total == options.trials,
    )
    bar("1.8", "front equals the uninterrupted run's", killed["front"] == through["front"], "", target=True,
        holds=killed["front"] == through["front"], reference={"uninterrupted run, s": round(whole_s, 1)})  # fmt: skip
    bar("1.8", "half the trials twice equal all at once", halves["front"] == through["front"], "", target=True,
        holds=halves["front"] == through["front"])  # fmt: skip
    bar("1.8", "from the start of a resumed process until it searches", round(start_s, 2), "s", target=5.0,
        holds=start_s < 5.0, reference={"until its first new trial is stored, s": round(trial_s, 2)})  # fmt: skip
    machine(("torch", "optuna"))


if __name__ == "__main__":
    main()
