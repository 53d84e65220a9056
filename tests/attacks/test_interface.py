"""Attacks recover what can be recovered, nothing where there is nothing, and say so where they fail."""

from __future__ import annotations

from functools import cache
from typing import Literal

import pytest
import torch
from attack_views import (
    BRIEF,
    EFFORT,
    SHORT,
    Constant,
    PartlyRounded,
    attacked,
    audit_target,
    digits,
    error,
    first_layer,
    view_of,
)
from collabplan.attacks import AttackFailed, attack_named
from collabplan.attacks.metrics import Judge
from collabplan.attacks.similarity import ssim
from defense_records import defense_record
from torch import Tensor, nn

ABLE = ("ridge", "inverse", "likelihood", "untrained")
"""Attacks that invert a layer by which nothing is lost. A latent of 64 numbers cannot hold every digit exactly."""


@pytest.mark.parametrize("name", [*ABLE, "shadow-same"])
def test_the_input_itself_is_recovered(name: str) -> None:
    """At the identity a shadow of the same architecture has nothing to learn but the inverse."""
    originals, images = attacked(attack_named(name), audit_target(first_layer(), 6, cut=0), 8, SHORT)
    found = ssim(images, originals)
    assert found is not None
    assert float(found.mean()) > 0.95


@pytest.mark.parametrize("name", ABLE)
def test_an_invertible_first_layer_is_inverted(name: str) -> None:
    originals, images = attacked(attack_named(name), audit_target(first_layer(), 6), 8, SHORT)
    found = ssim(images, originals)
    assert found is not None
    assert float(found.mean()) > 0.95


@pytest.mark.parametrize("name", ["latent", "shadow-same"])
def test_a_learned_prior_or_shadow_beats_the_mean_image(name: str) -> None:
    assert error(attacked(attack_named(name), audit_target(first_layer(), 6), 8)) < 0.9


@pytest.mark.parametrize("name", ["ridge", "kernel", "inverse", "likelihood"])
def test_the_same_seed_gives_the_same_images(name: str) -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.5))
    first, second = (attacked(attack_named(name), device, 4, BRIEF)[1] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["prior", "ridge", "kernel", "inverse", "shadow-same", "shadow-other"])
def test_a_constant_release_gives_nothing(name: str) -> None:
    device = audit_target(Constant(), 1)
    originals, images = attacked(attack_named(name), device, 200, SHORT)
    mean = digits()[2].inputs[0].mean(dim=0)
    judge = Judge(mean, originals[:20], images[:20], mean)
    found = judge.figures(originals, images, originals, generator=torch.Generator().manual_seed(0))
    assert found.index.value <= 0.01
    assert found.reidentification.value == pytest.approx(1 / 200, abs=0.006)


@pytest.mark.parametrize("name", ["likelihood", "latent", "untrained"])
def test_a_constant_release_fails_a_gradient_attack_and_does_not_read_as_private(name: str) -> None:
    with pytest.raises(AttackFailed, match="same for every input"):
        attacked(attack_named(name), audit_target(Constant(), 1), 4)


class Detached(nn.Module):
    """An edge half whose gradient somebody has cut off."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x * 8)


@pytest.mark.parametrize("name", ["likelihood", "latent", "untrained"])
def test_a_dead_gradient_is_a_failed_attack(name: str) -> None:
    with pytest.raises(AttackFailed, match="gradient"):
        attacked(attack_named(name), audit_target(Detached(), 1, cut=2), 4)


@pytest.mark.parametrize("name", ["likelihood", "latent", "untrained", "shadow-same"])
def test_a_gradient_that_misses_what_moves_is_a_failed_attack(name: str) -> None:
    device = audit_target(PartlyRounded(), 1)
    with pytest.raises(AttackFailed, match=r"not computable here: .*round"):
        attacked(attack_named(name), device, 4, BRIEF)


@pytest.mark.parametrize("name", ["ridge", "inverse"])
def test_knowing_the_defense_pays(name: str) -> None:
    assert error_under_dropout(name) < 0.8 * error_under_dropout(name, naive=True)


@pytest.mark.parametrize("name", ["ridge", "inverse"])
def test_many_fresh_releases_undo_dropout(name: str) -> None:
    assert error_under_dropout(name, queries=10) < 0.5 * error_under_dropout(name)


@pytest.mark.parametrize("name", ["ridge", "inverse"])
def test_many_keyed_releases_do_not(name: str) -> None:
    once, often = (error_under_dropout(name, masks="keyed", queries=queries) for queries in (1, 10))
    assert often == pytest.approx(once, rel=0.05)


@cache
def error_under_dropout(
    name: str, *, masks: Literal["fresh", "keyed"] = "fresh", naive: bool = False, queries: int = 1
) -> float:
    """Of an attack on 100 images at rate 0.7."""
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.7, masks=masks))
    return error(attacked(attack_named(name), device, 100, SHORT, naive=naive, queries=queries))


@pytest.mark.parametrize(("name", "allowed"), [("likelihood", "black-box"), ("inverse", "query-free")])
def test_an_attack_cannot_pass_for_a_weaker_one(name: str, allowed: str) -> None:
    place = view_of(audit_target(first_layer(), 6), allowed)  # type: ignore[arg-type]
    with pytest.raises(AttackFailed, match="may not"):
        attack_named(name).fit(place, EFFORT, torch.Generator().manual_seed(0))
