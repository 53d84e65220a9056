"""What a worker must know to join a study, and the search that it then runs."""

from __future__ import annotations

from ..records import Budgets, StudySetup
from .budgets import AUDITED_ONLY, without
from .problem import Problem, SearchOptions


def setup_of(problem: Problem, options: SearchOptions) -> StudySetup:
    """What a worker must know to join."""
    return StudySetup(
        target=problem.target,
        edge_profile=problem.edge_profile,
        cloud_profile=problem.cloud_profile,
        link=problem.link,
        edge_slowdown=problem.edge_slowdown,
        edge_power=problem.power,
        budgets=steering_budgets(problem, options),
        trials=options.trials,
        sampler=options.sampler,
        seed=options.seed,
        draws=options.draws,
        defenses=options.searched,
        leakage_samples=options.leakage_samples,
        batch=options.batch,
        tuning=options.tuning,
        objectives=options.objectives,
    )


def options_of(setup: StudySetup, storage: str, artifacts: str | None = None) -> SearchOptions:
    """The options that a worker of that study searches with, which reaches database and artifacts in its own way."""
    return SearchOptions(
        trials=setup.trials,
        sampler=setup.sampler,
        seed=setup.seed,
        draws=setup.draws,
        defenses=setup.defenses,
        leakage_samples=setup.leakage_samples,
        batch=setup.batch,
        tuning=setup.tuning,
        objectives=setup.objectives,
        storage=storage,
        artifacts=artifacts,
    )


def steering_budgets(problem: Problem, options: SearchOptions) -> Budgets:
    """The budgets that can be held against a candidate before it is attacked."""
    return problem.budgets if options.audit is None else without(problem.budgets, AUDITED_ONLY)
