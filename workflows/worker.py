"""Joins a search that another machine began."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..planner import join_search, read_setup
from ..planner.study_setup import options_of
from ..profilers.timers import resolve_device
from ..records import CollabplanError, StudySetup, parse
from ..records.memory import memory_bytes
from ..targets.input_options import InputOptions
from .conditions import Conditions
from .problem import Prepared, state_problem
from .profiles import Profiles
from .reporter import Reporter
from .session import open_session
from .workspace import Workspace


@dataclass(frozen=True, slots=True)
class Joined:
    """A study that is complete.

    Attributes:
        study: its name.
        candidates: all that were measured.
        measured_here: those measured by this worker.
    """

    study: str
    candidates: int
    measured_here: int


def join_study(
    study: str,
    storage: str | None,
    artifacts: str | None,
    model: str | None,
    workspace: Workspace,
    reporter: Reporter,
    device: str = "cpu",
) -> Joined:
    """Measure candidates of a study until it is complete, beside all other workers.

    Args:
        study: its name, `search-1` for example.
        storage: address of the database that holds it.
        artifacts: where machines share finished attacks and fine-tuned weights.
        model: the target, where it is not where the study names it. **Loading it runs its code.**
        workspace: holds what this machine keeps for itself.
        reporter: hears what is found and how far the search is.
        device: where this machine runs halves; of the same kind on all machines of a search.

    Raises:
        MismatchError: model, weights or data are not those of the study.
        CollabplanError: no database is given, or it cannot be used.
    """
    if storage is None:
        raise CollabplanError("no database: give --storage URL, or set COLLABPLAN_STORAGE")
    resolve_device(device)
    setup = parse(StudySetup, read_setup(storage, study).encode(), study)
    inputs = InputOptions.kept_in(setup.target.options)
    session = open_session(model or setup.target.spec, inputs, reporter, needs_data=True, findings=0)
    profiles = Profiles(setup.edge_profile, setup.cloud_profile, f"profiles of study {study}")
    conditions = Conditions(setup.link, setup.edge_slowdown, setup.edge_power)
    problem = state_problem(Prepared(session, profiles), conditions, setup.budgets, reporter, device)
    options = replace(options_of(setup, storage, artifacts), memory=workspace.memory(memory_bytes(None)))
    with reporter.progress("searching", counted=True) as advance:
        found = join_search(problem, options, study, workspace.prepare(), lambda what, done: advance(done, 1.0, what))
    return Joined(study, len(found.candidates), len(found.candidates) - found.reused)
