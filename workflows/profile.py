"""Measures what each node and each cut of a model costs on this machine."""

from __future__ import annotations

from pathlib import Path

from ..profilers import profile_model
from ..records import Profile
from ..runtime import keep_memory
from ..targets.input_options import InputOptions
from ..targets.target import Target
from .cut_choice import crossing_limit, further_cuts
from .options import ProfileOptions
from .promises import check_promises
from .reporter import Reporter
from .session import Session, open_session
from .workspace import Workspace

_STAGES = {"finding cuts": (0.0, 0.0), "nodes": (0.0, 0.2), "cuts": (0.2, 0.8)}
"""Where each stage of a profile begins on the bar, and its share of the whole."""


def profile_target(
    spec: str | Target, inputs: InputOptions, options: ProfileOptions, workspace: Workspace, reporter: Reporter
) -> tuple[Profile, Path]:
    """Load, trace and profile a target, and keep the profile in the workspace.

    Returns:
        The profile and the file it lies in.

    Raises:
        CollabplanError: the target cannot be loaded, traced or measured.
    """
    return profile_session(open_session(spec, inputs, reporter), options, workspace, reporter)


def profile_session(
    session: Session, options: ProfileOptions, workspace: Workspace, reporter: Reporter
) -> tuple[Profile, Path]:
    """As `profile_target`, of a session that is open."""
    if options.role == "both":  # one of two machines need not have the data
        check_promises(session.target, session.traced, reporter)
    made = measure_profile(session, options, reporter)
    if options.max_crossing is None and (further := further_cuts(session.traced, made.target.max_crossing)):
        reporter.note(further)
    return made, workspace.save_profile(made)


def measure_profile(session: Session, options: ProfileOptions, reporter: Reporter) -> Profile:
    """Profile a traced target. What rebuilds its cuts is kept in the target's options."""
    keep_memory()  # as `serve`, `infer` and `verify` do: what is timed is what is run
    identity, crossing = session.target.identity, crossing_limit(session.traced, options.max_crossing, reporter)
    kept = {**identity.options, "max_crossing": str(crossing)}
    with reporter.progress("profiling", counted=True, timed=True) as advance:

        def on_progress(what: str, done: float) -> None:
            start, length = _STAGES.get(what, (1.0, 0.0))
            advance(start + length * done, 1.0, what)

        return profile_model(
            session.traced,
            target=identity.model_copy(update={"options": kept}),
            device=options.device,
            role=options.role,
            batch=options.batch,
            threads=options.threads,
            dtype=options.dtype,
            max_crossing=crossing,
            seconds=options.seconds,
            on_progress=on_progress,
        )
