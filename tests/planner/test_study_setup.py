"""A worker searches as the search that it joins."""

from __future__ import annotations

import dataclasses

import pytest
from collabplan.attacks import EFFORTS, attack_named
from collabplan.planner import AuditOptions, SearchOptions
from collabplan.planner.budgets import AUDITED_ONLY
from collabplan.planner.study_setup import options_of, setup_of, steering_budgets
from collabplan.records import Budgets, EdgePower, StudySetup, Tuning
from defense_records import grid

OPTIONS = SearchOptions(
    trials=30, seed=7, draws=3, defenses=grid(["element"], [0.5], [{"bits": 4}]),
    leakage_samples=120, batch=16, sampler="nsga2", tuning=Tuning(epochs=2), objectives=("accuracy", "leakage"),
    storage="postgresql://here", artifacts="s3://bucket/here",
)  # fmt: skip

OWN = {"storage", "artifacts"}
"""How a worker reaches database and artifacts is its own affair."""

LEADER = {"fresh", "command", "audit", "study", "fastest"}
"""Only the search that began the study chooses, audits and writes the plan."""


def audited() -> SearchOptions:
    attacks = (attack_named("prior"), attack_named("ridge"))
    return dataclasses.replace(OPTIONS, audit=AuditOptions(EFFORTS["quick"], EFFORTS["quick"], attacks))


def test_every_option_that_guides_the_search_reaches_a_worker(problem):
    found = options_of(setup_of(problem, OPTIONS), "postgresql://there", "folder")
    names = {field.name for field in dataclasses.fields(SearchOptions)} - OWN - LEADER - {"defenses"}
    assert {name: getattr(found, name) for name in names} == {name: getattr(OPTIONS, name) for name in names}
    assert found.searched == OPTIONS.searched
    assert (found.storage, found.artifacts) == ("postgresql://there", "folder")


def test_a_setup_holds_the_problem_and_survives_its_json(problem):
    power = EdgePower(watts=3.0, joules_per_megabyte=2.0)
    setup = setup_of(dataclasses.replace(problem, edge_slowdown=5.0, power=power), OPTIONS)
    assert (setup.target, setup.link, setup.edge_profile) == (problem.target, problem.link, problem.edge_profile)
    assert (setup.edge_slowdown, setup.edge_power) == (5.0, power)
    assert StudySetup.model_validate_json(setup.model_dump_json()) == setup


@pytest.mark.parametrize("with_audit", [False, True])
def test_budgets_that_only_attacks_decide_do_not_guide_a_search_that_attacks_later(problem, with_audit):
    budgets = Budgets(latency_p95_ms=50.0, max_leakage=0.6, **dict.fromkeys(AUDITED_ONLY, 0.1))
    asked = dataclasses.replace(problem, budgets=budgets)
    options = audited() if with_audit else OPTIONS
    found = steering_budgets(asked, options)
    assert found == (Budgets(latency_p95_ms=50.0, max_leakage=0.6) if with_audit else budgets)
    assert setup_of(asked, options).budgets == found
