"""Bar 24.6: kill -9 and Ctrl-C at chosen moments of `optimize --time-limit` and `certify`, then the same command again.

    python benchmarks/kill.py [--command optimize certify] [--kills 30] [--interrupts 10] [--seed 0] [--base FOLDER]

A small network with embedded digits and attacks of a second (`kill_child.py`) run through every phase: loading,
profiling, estimates, the audits of the search, the winner at quick effort, at standard effort with its race, writing
the plan and the certificate. A command is killed when its log shows a phase, and started again in the same folder until
it ends; then a new folder begins. After each kill everything on disk is read. Whoever is killed while importing is a
new Python, others are forks of one that has imported everything. `--base` keeps the uninterrupted runs for further
calls.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from collabplan.planner.choose import CONFIRM_TRIES
from collabplan.records import Plan, load
from kill_child import LOG, TARGET, shrink
from kill_kept import Kept, answer, changed, repeated
from kill_process import Moment, server, start, struck
from report import bar, machine

COMMANDS = {
    "optimize": (
        *("optimize", "model.py", "--budget-ms", "5000", "--max-accuracy-drop", "1", "--max-edge-params", "200"),
        *("--trials", "6", "--draws", "1", "--audits", "1", "--audit-seeds", "1", "--time-limit", "30m"),
    ),
    "certify": ("certify", "plan.json", "--time-limit", "30m"),
}
FIRST_PLAN_S = 60.0


MOMENTS = {
    "optimize": (
        Moment("importing", "start", fresh=True),
        Moment("loading", "load"),
        Moment("profiling", "begin profile"),
        Moment("writing the profile", "write Net-"),
        Moment("estimates", "begin measure search", 2),
        Moment("confirming", "begin measure confirm"),
        Moment("writing the plan", r"write plan\.json"),
        Moment("audits of the search", "begin fit"),
        Moment("the winner at quick effort", "begin fit .* quick", 3),
        Moment("keeping an attack", r"write \w{24}\.safetensors", 2),
        Moment("the race at standard effort", "begin fit .* standard", 3),
        Moment("keeping a standing of the race", r"write \w{24}\.json", 2),
        Moment("writing a better supported plan", r"write plan\.json"),
    ),
    "certify": (
        Moment("importing", "start", fresh=True),
        Moment("loading", "load"),
        Moment("an attack of a seed", "begin fit .* standard", 3),
        Moment("keeping a standing of the race", r"write \w{24}\.json", 3),
        Moment("keeping an attack", r"write \w{24}\.safetensors", 2),
        Moment("an attack of a seed", "begin fit .* standard", 8),
        Moment("writing the plan of a seed", r"write plan\.json"),
        Moment("an attack of a seed", "begin fit .* standard", 5),
        Moment("writing the plan of a seed", r"write plan\.json"),
        Moment("keeping an attack", r"write \w{24}\.safetensors", 3),
        Moment("writing the certificate", r"write plan\.json"),
    ),
}


@dataclass
class Tally:
    """What was seen over all kills."""

    kills: Counter[str] = field(default_factory=Counter)
    torn: list[str] = field(default_factory=list)
    lost: int = 0
    repeats: int = 0
    fits: int = 0
    fits_again: int = 0
    measured_again: int = 0
    left: list[str] = field(default_factory=list)
    cleared: int = 0
    differs: int = 0
    ended: int = 0
    tries: int = 0
    codes: Counter[int] = field(default_factory=Counter)


def fresh(folder: Path, source: Path | None) -> Path:
    """A folder to work in: empty but for the target, or a copy."""
    if source is not None:
        shutil.copytree(source, folder)
        (folder / LOG).unlink(missing_ok=True)
    else:
        folder.mkdir(parents=True)
    (folder / "model.py").write_text(TARGET)
    return folder


def looked_at(folder: Path, before: Kept, tally: Tally, where: str) -> Kept:
    """Read what lies there now, and hold it against what lay there before."""
    now = Kept.of(folder)
    tally.torn += [f"{where}: {each}" for each in now.broken]
    if before.plan is not None and now.plan is None and not now.broken:
        tally.torn.append(f"{where}: the plan is gone")
    repeats = changed(before, now)
    if repeats:
        tally.torn.append(f"{where}: {repeats} finished results are gone or were written again")
    tally.repeats += repeats
    return now


def life(
    command: str, forks: subprocess.Popen[str], folder: Path, draw: random.Random, most: int, tally: Tally
) -> Kept:
    """Kill a command at the moments of its phases, start it again until it ends, and look at everything."""
    known = Kept.of(folder)
    for moment in MOMENTS[command][:most]:
        child = start(folder, COMMANDS[command], None if moment.fresh else forks)
        hit = struck(child, moment, draw.uniform(0.0, 0.03), signal.SIGKILL)
        code = child.wait()
        before = known
        known = looked_at(folder, known, tally, moment.phase)
        went_on = any(line.startswith(("begin measure", "begin fit")) for line in child.lines())
        tally.left += [f"{moment.phase}: {name}" for name in before.temporary & known.temporary if went_on]
        tally.cleared += len(before.temporary - known.temporary)
        if not hit:
            tally.codes[code] += 1
            break
        tally.kills[moment.phase] += 1
    child = start(folder, COMMANDS[command], forks)
    tally.codes[child.wait()] += 1
    known = looked_at(folder, known, tally, "the end")
    tally.left += [f"the end: {name}" for name in known.temporary]
    tally.ended += 1
    counts = repeated(folder)
    tally.fits, tally.fits_again = tally.fits + counts[0], tally.fits_again + counts[1]
    tally.measured_again += counts[2]
    tally.tries = max(tally.tries, sum(".tried." in name for name in known.beside))
    return known


def through(command: str, forks: subprocess.Popen[str], base: Path) -> tuple[Path, float | None]:
    """The folder of an uninterrupted run, made where there is none; and its seconds until the first plan."""
    folder = base / command
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        source = through("optimize", forks, base)[0] if command == "certify" else None
        fresh(folder, source)
        (folder / "whole").unlink(missing_ok=True)
        code = start(folder, COMMANDS[command], forks).wait()
        if code not in (0, 1):
            raise SystemExit((folder / "err").read_text())
        (folder / "whole").touch()
    lines = [line.split(" ", 2) for line in (folder / LOG).read_text().splitlines()]
    first = next((float(line[0]) for line in lines if line[1:] == ["write", "plan.json"]), None)
    return folder, None if first is None else first - float(lines[0][0])


def kill(command: str, forks: subprocess.Popen[str], base: Path, kills: int, seed: int) -> None:
    """The bars of one command."""
    reference, first = through(command, forks, base)
    draw, tally, lives = random.Random(f"{command} {seed}"), Tally(), 0
    expected = answer(load(Plan, reference / "plan.json"))
    while (dealt := tally.kills.total()) < kills:
        source = base / "optimize" if command == "certify" else None
        with tempfile.TemporaryDirectory() as temporary:
            folder = fresh(Path(temporary) / "work", source)
            (folder / "whole").unlink(missing_ok=True)
            found = life(command, forks, folder, draw, kills - dealt, tally)
            tally.differs += answer(found.plan) != expected
        lives += 1
        if tally.kills.total() == dealt:
            raise SystemExit(f"{command} ended before any of its moments")
    if command == "optimize":
        bar("24.6", "optimize: time to the first plan, profiling included", first and round(first, 1), "s",
            target=FIRST_PLAN_S, holds=first is not None and first <= FIRST_PLAN_S)  # fmt: skip
        bar("24.6", "optimize: tries on the confirm split over all runs of one search", tally.tries, "candidates",
            target=CONFIRM_TRIES, holds=0 < tally.tries <= CONFIRM_TRIES)  # fmt: skip
    bar("24.6", f"{command}: plans, certificates, results torn, missing or replaced by a kill", len(tally.torn), "",
        target=0, holds=not tally.torn, kills=dict(tally.kills), lives=lives, found=tally.torn[:8])  # fmt: skip
    bar("24.6", f"{command}: finished results computed twice", tally.repeats + tally.measured_again, "", target=0,
        holds=tally.repeats + tally.measured_again == 0)  # fmt: skip
    bar("24.6", f"{command}: fits begun again, not judged before the kill or needed by another attack",
        tally.fits_again, "fits", of=tally.fits, kills=tally.kills.total())  # fmt: skip
    bar("24.6", f"{command}: temporary files that the next run leaves", len(tally.left), "files", target=0,
        holds=not tally.left, cleared=tally.cleared, found=tally.left[:8])  # fmt: skip
    bar("24.6", f"{command}: plans at the end that differ from the uninterrupted run's", tally.differs, "plans",
        target=0, holds=tally.differs == 0, ended=tally.ended, exit_codes=dict(tally.codes))  # fmt: skip


def interrupt(command: str, forks: subprocess.Popen[str], base: Path, count: int, seed: int) -> None:
    """Ctrl-C instead of a kill: the plan stays, the exit code is 130, and one line says how it stands."""
    through("optimize", forks, base)
    draw, wrong, slowest, pressed = random.Random(f"interrupt {command} {seed}"), list[str](), 0.0, 0
    moments = [each for each in MOMENTS[command] if not each.fresh]
    while pressed < count:
        with tempfile.TemporaryDirectory() as temporary:
            folder = fresh(Path(temporary) / "work", base / "optimize" if command == "certify" else None)
            known = Kept.of(folder)
            for moment in moments:
                child = start(folder, COMMANDS[command], forks)
                hit = pressed < count and struck(child, moment, draw.uniform(0.0, 0.03), signal.SIGINT)
                began = time.perf_counter()
                if not hit:
                    if child.runs:
                        os.kill(child.pid, signal.SIGKILL)
                    child.wait()
                    break
                code = child.wait()
                slowest, pressed = max(slowest, time.perf_counter() - began), pressed + 1
                known = still(folder, known, moment, code, wrong)
    bar("24.6", f"{command}: Ctrl-C that lost something, or did not say how it stands", len(wrong), "", target=0,
        holds=not wrong, pressed=pressed, slowest_end_s=round(slowest, 1), found=wrong[:8])  # fmt: skip


def still(folder: Path, known: Kept, moment: Moment, code: int, wrong: list[str]) -> Kept:
    """Look at what Ctrl-C left."""
    tally = Tally()
    now = looked_at(folder, known, tally, moment.phase)
    said = (folder / "err").read_text().strip().splitlines()[-1:]
    wrong += tally.torn + [f"{moment.phase}: {name}" for name in now.temporary]
    last = said[0] if said else ""
    holds = "plan.json" if now.plan is not None else "no plan yet"
    if code != 130 or not last.startswith("collabplan: interrupted; ") or holds not in last:
        wrong.append(f"{moment.phase}: exit {code}, {last[:200]}")
    return now


def main() -> None:
    """Kill and interrupt each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--kills", type=int, default=30, help="of each command")
    parser.add_argument("--interrupts", type=int, default=10, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, help="keeps the uninterrupted runs")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shrink()
    with tempfile.TemporaryDirectory() as temporary, server(Path(temporary)) as forks:
        base = (options.base or Path(temporary) / "base").absolute()
        for command in options.command:
            if options.kills:
                kill(command, forks, base, options.kills, options.seed)
            if options.interrupts:
                interrupt(command, forks, base, options.interrupts, options.seed)
    machine(("torch", "optuna"))


if __name__ == "__main__":
    main()
