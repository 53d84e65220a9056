"""`collabplan worker`: joins a search that `optimize --storage` began, from this machine or another."""

from __future__ import annotations

from typing import Annotated

import typer

from ..targets.input_options import InputOptions
from .options import Artifacts, Debug, Json, OtherTarget, Storage, examples

EXAMPLES = examples(
    (
        "on the first machine",
        "collabplan optimize model.py --budget-ms 50 --storage postgresql+psycopg://me@db/plans",
    ),
    (
        "on any other, with the same model.py and data",
        "collabplan worker search-1 --storage postgresql+psycopg://me@db/plans",
    ),
    ("the password need not stand on the command line", "COLLABPLAN_STORAGE=... collabplan worker search-1"),
)


def worker(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="As `optimize --storage` names it: search-1.")],
    storage: Storage = None,
    artifacts: Artifacts = None,
    model: OtherTarget = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Measure candidates of a study until it is complete, beside whoever else does.

    Model, weights and data must be those of the study; what differs is named. A worker may be killed at any time:
    its candidate is measured by another. The study names the target, and loading that runs its Python code: join
    studies of a database that you trust, or give --model.
    """
    from ..planner import join_search, read_setup
    from ..planner.planning import options_of
    from ..records import CollabplanError, StudySetup
    from ..targets.target import load_target
    from .costs import Profiles
    from .output import Output
    from .problem import state
    from .profile import trace_target
    from .workspace import Workspace

    output = Output(as_json=as_json)
    if storage is None:
        raise CollabplanError("no database: give --storage URL, or set COLLABPLAN_STORAGE")
    setup = StudySetup.model_validate_json(read_setup(storage, study))
    spec = model or setup.target.spec
    with output.step(f"loading {spec}"):
        loaded = load_target(spec, InputOptions.kept_in(setup.target.options))
    loaded.require_validation_data()
    traced = trace_target(loaded, output)
    profiles = Profiles(setup.edge_profile, setup.cloud_profile, f"profiles of study {study}")
    problem = state(loaded, traced, profiles, setup.link, setup.edge_slowdown, setup.budgets, output, setup.edge_power)
    with output.bar("searching") as advance:
        found = join_search(
            problem,
            options_of(setup, storage, artifacts),
            study,
            Workspace.here().prepare(),
            lambda what, done: advance(done, 1.0, what),
        )
    own = len(found.candidates) - found.reused
    output.say(f"{study} is complete: {len(found.candidates)} candidates, {own} of them measured here")
    output.document({"study": study, "candidates": len(found.candidates), "measured_here": own})
