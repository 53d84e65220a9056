"""A target that is loaded and traced: what every workflow on a model starts from."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

from ..defenses import register
from ..graph import TracedGraph
from ..records import Plan
from ..targets.input_options import InputOptions
from ..targets.target import Target, load_target
from .reporter import Reporter


@dataclass(frozen=True, eq=False)
class Session:
    """A loaded target and the graph of its model."""

    target: Target
    traced: TracedGraph


def open_session(
    spec: str | Target,
    inputs: InputOptions,
    reporter: Reporter,
    *,
    needs_data: bool = False,
    findings: int | None = None,
) -> Session:
    """Load a target and trace its model. **This runs the user's code.**

    Args:
        spec: `path.py`, `path.py:NAME` or `package.module:NAME`; or a target that is loaded already.
        inputs: what the command line says of the inputs, in place of what the file says.
        reporter: hears what was found in the target, and the trace's notes.
        needs_data: refuse a target without validation data, before tracing it.
        findings: how many findings are reported; None: all of them.

    Raises:
        TargetError: the target cannot be loaded, or has no data where it needs some.
        TraceError: the model cannot be traced.
    """
    return trace_session(load_session_target(spec, inputs, reporter, findings), reporter, needs_data=needs_data)


def load_session_target(
    spec: str | Target, inputs: InputOptions, reporter: Reporter, findings: int | None = None
) -> Target:
    """The first half of `open_session`: the target, not yet traced."""
    if isinstance(spec, Target):
        target = spec
    else:
        with reporter.progress(f"loading {spec}"):
            target = load_target(spec, inputs)
    register(*target.defense_stages)
    if findings != 0:
        reporter.note(f"Target {target.identity.spec}", target.findings[:findings])
    for warning in target.warnings:
        reporter.warning(warning)
    return target


def trace_session(target: Target, reporter: Reporter, *, needs_data: bool = False) -> Session:
    """The second half of `open_session`: trace a loaded target and report the trace's notes."""
    if needs_data:
        target.require_validation_data()
    with reporter.progress("tracing the model"):
        traced = target.trace()
    _collect_garbage_again()
    for note in traced.notes:
        reporter.note(f"note: {note}")
    return Session(target, traced)


def plan_target_spec(plan: Plan, path: Path, model: str | None) -> str:
    """The target that a plan names: as it was typed, or beside the plan file where it is not found here.

    Args:
        plan: names its target.
        path: the plan's file.
        model: takes the place of the plan's target where given.
    """
    spec = model or plan.target.spec
    head = spec.rpartition(":")[0] if not spec.endswith(".py") else spec
    if model is None and head.endswith(".py") and not Path(head).exists() and (path.parent / head).exists():
        return str(path.parent / spec)
    return spec


def _collect_garbage_again() -> None:
    """The command line starts without garbage collection (see `cli.main`); what was made until here stays."""
    if not gc.isenabled():
        gc.freeze()
        gc.set_threshold(100_000, 20, 50)
        gc.enable()
