"""Writes a finished search into MLflow or TensorBoard, through their own packages.

One run for each candidate, with its cut, defense and figures, and the plan as it may leave this machine. Everything is
written when the search ends, so that both tools show the figures as the last audits left them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ..planner import SearchResult
from ..records import Candidate, Plan, record_text, write_text
from ..records.extras import require_modules
from ..report.wording import short_defense
from .options import OptimizeOptions
from .reporter import Reporter
from .workspace import Workspace

Tracker = Literal["mlflow", "tensorboard"]

_PRIVATE = ("storage", "artifacts", "log")
"""Options that are not logged: an address may hold a password."""


@dataclass(frozen=True, eq=False)
class LoggedSearch:
    """What is logged of a search.

    Attributes:
        name: of the study.
        options: of the search, as text by name.
        candidates: all that were measured.
        plan: without folders and addresses; None where nothing met the budgets.
    """

    name: str
    options: Mapping[str, str]
    candidates: Sequence[Candidate]
    plan: Plan | None


def require_tracker(tracker: Tracker | None) -> None:
    """Refuse a tracker whose package is not installed, before the search. Raises CollabplanError."""
    if tracker is not None:
        require_modules(tracker)


def log_search(
    tracker: Tracker, found: SearchResult, options: OptimizeOptions, workspace: Workspace, reporter: Reporter
) -> None:
    """Write a search into a tracker. What the tracker refuses is a warning: the search itself is kept.

    Args:
        tracker: which one. MLflow finds its server and experiment by its own environment variables; TensorBoard's files
            go into the workspace, `tensorboard/STUDY-1`.
        found: what the search found.
        options: how it searched.
        workspace: keeps TensorBoard's files.
        reporter: hears where the search was logged.
    """
    plan = None if found.plan is None else found.plan.portable()
    logged = LoggedSearch(found.study, _texts(options), found.candidates, plan)
    try:
        reporter.note(f"logged to {_TRACKERS[tracker](logged, workspace)}")
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")
        reporter.warning(
            f"the search could not be logged to {tracker} ({type(error).__name__}: {said}); its results are kept, and "
            "the same command logs them again"
        )


def _texts(options: OptimizeOptions) -> dict[str, str]:
    """The options that are set, as text by name."""
    groups = [getattr(options, group.name) for group in dataclasses.fields(options)]
    values = {field.name: getattr(group, field.name) for group in groups for field in dataclasses.fields(group)}
    return {name: _text(value) for name, value in values.items() if value is not None and name not in _PRIVATE}


def _text(value: Any) -> str:
    """An option's value; files are named without their folders, which may be private."""
    if isinstance(value, Path):
        return value.name
    return "; ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def labels_of(candidate: Candidate) -> dict[str, str]:
    """What tells a candidate from others, and what its leakage rests on."""
    labels = {"cut": candidate.cut_name, "defense": short_defense(candidate), "leakage": candidate.index_is}
    return labels if candidate.audited is None else {**labels, "attacks": f"{candidate.audited.effort} effort"}


def figures_of(candidate: Candidate) -> dict[str, float]:
    """The figures of a candidate by name. Budgets are held against the worse ends of intervals, given as well."""
    figures = {
        "latency_p50_ms": candidate.latency.p50_ms.value,
        "latency_p95_ms": candidate.latency.p95_ms,
        "accuracy": candidate.accuracy.accuracy.value,
        "accuracy_drop_high": candidate.accuracy.drop.high,
        "leakage_index": candidate.index.value,
        "leakage_index_high": candidate.index.high,
        "payload_bytes": candidate.payload_bytes,
        "edge_energy_mj": candidate.edge_energy_mj,
        "meets_budgets": candidate.meets_budgets,
    }
    return {name: float(value) for name, value in figures.items() if value is not None}


def _to_mlflow(logged: LoggedSearch, _: Workspace) -> str:
    mlflow: Any = import_module("mlflow")
    with mlflow.start_run(run_name=f"collabplan {logged.name}", nested=mlflow.active_run() is not None) as run:
        mlflow.log_params(logged.options)
        for candidate in logged.candidates:
            labels = labels_of(candidate)
            with mlflow.start_run(run_name=f"{labels['cut']}, {labels['defense']}", nested=True):
                mlflow.log_params(labels)
                mlflow.log_metrics(figures_of(candidate))
        if logged.plan is not None:
            mlflow.set_tag("collabplan.level", logged.plan.level)
            mlflow.log_metrics(figures_of(logged.plan.chosen))
            mlflow.log_text(record_text(logged.plan), "plan.json")
        return f"MLflow, run {run.info.run_id}"


def _to_tensorboard(logged: LoggedSearch, workspace: Workspace) -> str:
    folder = _new_folder(workspace.prepare() / "tensorboard", logged.name)
    with import_module("torch.utils.tensorboard").SummaryWriter(log_dir=str(folder)) as writer:
        rows = "".join(f"| {name} | {text} |\n" for name, text in logged.options.items())
        writer.add_text("options", f"| option | value |\n|---|---|\n{rows}")
        for number, candidate in enumerate(logged.candidates, start=1):
            writer.add_hparams(labels_of(candidate), figures_of(candidate), run_name=f"candidate-{number}")
        if logged.plan is not None:
            writer.add_text("plan", logged.plan.headline)
            write_text(folder / "plan.json", record_text(logged.plan))
    return f"TensorBoard: tensorboard --logdir {folder.parent}"


def _new_folder(parent: Path, name: str) -> Path:
    """`parent/name-1`, or with the first number that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


_TRACKERS: Mapping[Tracker, Callable[[LoggedSearch, Workspace], str]] = {
    "mlflow": _to_mlflow,
    "tensorboard": _to_tensorboard,
}
"""Each writes a search and says where it lies."""
