"""What a killed command left: read, and held against what lay there before. `kill.py` prints the figures."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from collabplan.attacks.audit_files import kept_revisions
from collabplan.records import CollabplanError, Plan, load
from kill_child import LOG
from optuna.trial import TrialState


@dataclass
class Kept:
    """What lies in a folder: finished results with the times at which they were written, and trials."""

    files: dict[str, int] = field(default_factory=dict)
    trials: list[Any] = field(default_factory=list)
    beside: dict[str, Any] = field(default_factory=dict)
    temporary: set[str] = field(default_factory=set)
    plan: Plan | None = None
    broken: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Kept:
        """Read all of it."""
        found, work = cls(), folder / ".collabplan"
        results = [*work.glob("audits/*.json"), *work.glob("audits/*.safetensors"), *work.glob("profiles/*.json")]
        for file in results:
            if file.name.startswith("."):
                continue
            if not file.name.endswith(".gallery.safetensors"):  # an audit's summary, written whenever one is complete
                found.files[file.name] = file.stat().st_mtime_ns
            if file.parent.name == "audits" and kept_revisions(file) is None:
                found.broken.append(file.name)
        found.temporary = {str(file.relative_to(folder)) for file in folder.rglob(".*.tmp")}
        found._read_study(work / "study.db")
        if (folder / "plan.json").exists():
            try:
                found.plan = load(Plan, folder / "plan.json")
            except CollabplanError as error:
                found.broken.append(str(error))
        if found.plan is not None and not whole(found.plan):
            found.broken.append("certificate")
        return found

    def _read_study(self, path: Path) -> None:
        if not path.exists():
            return
        with contextlib.closing(sqlite3.connect(path)) as database:
            if database.execute("pragma integrity_check").fetchone() != ("ok",):
                self.broken.append("study.db")
        url = f"sqlite:///{path}"
        for name in optuna.get_all_study_names(url):
            study = optuna.load_study(study_name=name, storage=url)
            self.beside |= {key: value for key, value in study.user_attrs.items() if key.startswith("collabplan.")}
            for trial in study.get_trials(deepcopy=False):
                self.trials.append((trial.number, tuple(sorted(trial.params.items())), tuple(trial.values or ())))
                if trial.state != TrialState.COMPLETE:
                    self.broken.append(f"trial {trial.number}: {trial.state.name}")


def whole(plan: Plan) -> bool:
    """Whether a certificate says what the plan's figures say, or there is none."""
    audited, said = plan.chosen.audited, plan.certificate
    if said is None:
        return True
    return audited is not None and plan.level == "signed off" and len(said.seeds) == audited.seeds and (
        said.index_high == audited.figures.index.high
    )  # fmt: skip


def changed(before: Kept, after: Kept) -> int:
    """Finished results that are gone, or were written again."""
    files = sum(after.files.get(name) != written for name, written in before.files.items())
    trials = sum(trial not in after.trials for trial in before.trials)
    beside = sum(after.beside.get(name) != value for name, value in before.beside.items())
    return int(files + trials + beside)


def answer(plan: Plan | None) -> Any:
    """What a plan says apart from latencies, which each profile measures anew."""
    if plan is None:
        return None
    chosen = plan.chosen
    parts = (chosen.accuracy, chosen.leakage, chosen.audited, plan.certificate)
    return chosen.cut_id, chosen.defense.text, *(each and each.model_dump(mode="json") for each in parts)


def repeated(folder: Path) -> tuple[int, int, int]:
    """Fits that ended, those among them that a later process began again, and measurements that one began again.

    What ends just before a kill was not kept yet, and does not count.
    """
    lines = [line.partition(" ")[2].strip() for line in (folder / LOG).read_text().splitlines()]
    ended: dict[str, int] = {}
    process = fits = again = measured = 0
    for line, following in zip(lines, [*lines[1:], "command"], strict=True):
        what, _, said = line.partition(" ")
        process += what == "command"
        if what == "end" and following not in ("start", "command"):
            ended.setdefault(said, process)
            fits += said.startswith("fit")
        elif what == "begin" and ended.get(said, process) < process:
            again += said.startswith("fit")
            measured += said.startswith("measure")
    return fits, again, measured
