"""Attackers that want to know which picture was sent re-identify more than those that come close to its pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attack_views import EFFORT, SHORT, Constant, attacked, audit_target, digits, first_layer, view_of
from collabplan.attacks import Attack, AuditTarget, attack_named
from collabplan.attacks.metrics import mean_reciprocal_rank, reidentified
from collabplan.attacks.retrieval import Retrieval
from collabplan.defenses.spelling import defense_of

TARGETS = 200


@pytest.fixture(scope="module")
def narrow() -> AuditTarget:
    """A device that sends 2 % of its numbers: pictures come back blurred."""
    return audit_target(first_layer(), 6, defense_of("dropout:element:0.98 quantizer:none"))


def rank(attack: Attack, device: AuditTarget, **options: object) -> float:
    originals, made = attacked(attack, device, TARGETS, replace(EFFORT, train_steps=150, width=16), **options)
    return mean_reciprocal_rank(made, originals)


def test_a_network_trained_to_be_recognised_is_recognised_more_often(narrow: AuditTarget) -> None:
    found = {name: rank(attack_named(name), narrow) for name in ("inverse", "recognition", "ridge")}
    assert found["recognition"] > found["inverse"] + 0.05, found
    assert found["recognition"] > found["ridge"], found


def test_what_is_recognised_still_looks_like_a_picture(narrow: AuditTarget) -> None:
    originals, made = attacked(attack_named("recognition"), narrow, TARGETS, SHORT)
    prior = digits()[2].inputs[0].mean(dim=0)
    assert float((made - originals).square().mean()) < float((prior - originals).square().mean())


def test_the_nearest_of_the_attackers_own_pictures_is_handed_in(narrow: AuditTarget) -> None:
    own = view_of(narrow, "black-box").training
    _, made = attacked(attack_named("retrieval"), narrow, TARGETS)
    assert all(bool((own.inputs[0] == picture).flatten(1).all(dim=1).any()) for picture in made)


def test_a_picture_of_the_attackers_own_is_found_again() -> None:
    device = audit_target(first_layer(), 6, defense_of("dropout:element:0.8"))
    view = view_of(device, "black-box")
    attacker = Retrieval().fit(view, EFFORT, torch.Generator().manual_seed(0))
    few = view.training.take(torch.arange(50))
    made = attacker.reconstruct(device.release(few, torch.Generator().manual_seed(1)), torch.Generator()).images
    assert float(reidentified(made, few.inputs[0]).mean()) > 0.95


def test_where_the_nearest_tells_nothing_the_mean_picture_is_handed_in() -> None:
    _, made = attacked(attack_named("retrieval"), audit_target(Constant(), 1), 8)
    assert torch.equal(made[0], view_of(audit_target(Constant(), 1)).training.inputs[0].mean(dim=0))


def test_more_releases_find_the_nearest_more_often(narrow: AuditTarget) -> None:
    assert rank(attack_named("retrieval"), narrow, queries=10) > rank(attack_named("retrieval"), narrow) + 0.05
