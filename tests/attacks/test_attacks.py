"""Attacks recover what can be recovered, nothing where there is nothing, and say so where they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
from attack_views import EFFORT, Constant, audit_target, digits, first_layer, view_of
from collabplan.attacks import ATTACKS, Attack, AttackFailed, AuditTarget, Effort, attack_named, generative, ridge
from collabplan.attacks.likelihood import MaximumLikelihood
from collabplan.attacks.metrics import Judge, ssim
from collabplan.attacks.training import seeded
from collabplan.records import DefenseSpec
from torch import Tensor, nn

ABLE = ("ridge", "inverse", "likelihood", "untrained")
"""Attacks that invert a layer by which nothing is lost. A latent of 64 numbers cannot hold every digit exactly."""


BRIEF = replace(EFFORT, fit_samples=200, train_steps=20, iterations=20)
"""Where what is found need not be good."""

HALF = replace(EFFORT, train_steps=125)
"""Where one is held against the other, or so many steps are enough."""


def attacked(
    attack: Attack, device: AuditTarget, count: int, effort: Effort = EFFORT, **options: object
) -> tuple[Tensor, Tensor]:
    """Originals and reconstructions of the first targets."""
    place = view_of(device, attack.threat, **options)
    if attack.threat == "query-free":
        place = view_of(
            device, attack.threat, intercepted=device.release(digits()[1], torch.Generator().manual_seed(3))
        )
    attacker = attack.fit(place, effort, torch.Generator().manual_seed(0))
    data = digits()[0].take(torch.arange(count))
    released = device.release(data, torch.Generator().manual_seed(1), queries=place.queries)
    return device.pixels(data), attacker.reconstruct(place.perceived(released), torch.Generator().manual_seed(2)).images


def error(pair: tuple[Tensor, Tensor]) -> float:
    """Mean squared error over that of the mean image."""
    originals, images = pair
    mean = digits()[2].inputs[0].mean(dim=0)
    return float((images - originals).square().mean() / (mean - originals).square().mean())


@pytest.mark.parametrize("name", [*ABLE, "shadow-same"])
def test_the_input_itself_is_recovered(name: str) -> None:
    """At the identity a shadow of the same architecture has nothing to learn but the inverse."""
    originals, images = attacked(attack_named(name), audit_target(first_layer(), 6, cut=0), 8, HALF)
    found = ssim(images, originals)
    assert found is not None
    assert float(found.mean()) > 0.95


@pytest.mark.parametrize("name", ABLE)
def test_an_invertible_first_layer_is_inverted(name: str) -> None:
    originals, images = attacked(attack_named(name), audit_target(first_layer(), 6), 8, HALF)
    found = ssim(images, originals)
    assert found is not None
    assert float(found.mean()) > 0.95


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_gives_images_of_the_inputs_shape_in_the_unit_range(name: str) -> None:
    originals, images = attacked(attack_named(name), audit_target(first_layer(), 6), 8, BRIEF)
    assert images.shape == originals.shape
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert torch.isfinite(images).all()


@pytest.mark.parametrize("name", ["latent", "shadow-same"])
def test_a_learned_prior_or_shadow_beats_the_mean_image(name: str) -> None:
    assert error(attacked(attack_named(name), audit_target(first_layer(), 6), 8)) < 0.9


class Folded(nn.Module):
    """How much brighter one side is than the other, folded at 0 by a sign that is noise to every linear map."""

    def forward(self, x: Tensor) -> Tensor:
        tilt = (x * torch.linspace(-1, 1, x.shape[-1])).mean(dim=(1, 2, 3), keepdim=True)
        angle = 1e5 * x.mean(dim=(1, 2, 3), keepdim=True)
        size = (20 * tilt).exp()
        return torch.cat([size * angle.cos(), size * angle.sin()], dim=1).expand(-1, -1, *x.shape[2:])


def test_a_kernel_reads_of_few_numbers_what_no_linear_map_reads() -> None:
    device = audit_target(Folded(), 2)
    found = {name: error(attacked(attack_named(name), device, 200)) for name in ("ridge", "kernel")}
    assert found["ridge"] > 0.98
    assert found["kernel"] < 0.93


def test_more_images_than_one_kernel_holds_tell_more(monkeypatch: pytest.MonkeyPatch) -> None:
    device = audit_target(first_layer(), 6)
    data = digits()[0]
    released = device.release(data, torch.Generator().manual_seed(1))

    def after(count: int) -> float:
        place = view_of(device, "black-box").limited(count)
        attacker = attack_named("kernel").fit(place, EFFORT, torch.Generator().manual_seed(0))
        found = attacker.reconstruct(place.perceived(released), torch.Generator()).images
        return error((device.pixels(data), found))

    whole = after(600)
    monkeypatch.setattr(ridge, "BLOCK", 100)
    few, blocks = after(100), after(600)
    assert whole < blocks < 0.5 * few


@pytest.mark.parametrize("name", ["ridge", "kernel", "inverse", "likelihood"])
def test_the_same_seed_gives_the_same_images(name: str) -> None:
    device = audit_target(first_layer(), 6, DefenseSpec(dropout="element", rate=0.5))
    first, second = (attacked(attack_named(name), device, 4, BRIEF)[1] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["prior", "ridge", "kernel", "inverse", "shadow-same", "shadow-other"])
def test_a_constant_release_gives_nothing(name: str) -> None:
    device = audit_target(Constant(), 1)
    originals, images = attacked(attack_named(name), device, 200, HALF)
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


class PartlyRounded(nn.Module):
    """An edge half whose live gradient misses nearly all that crosses; the model's own passes straight through."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.01 * x + x + (torch.round(x * 8) / 8 - x).detach()


@pytest.mark.parametrize("name", ["likelihood", "latent", "untrained", "shadow-same"])
def test_a_gradient_that_misses_what_moves_is_a_failed_attack(name: str) -> None:
    device = audit_target(PartlyRounded(), 1)
    with pytest.raises(AttackFailed, match=r"not computable here: .*round"):
        attacked(attack_named(name), device, 4, BRIEF)


def test_an_attack_without_gradients_inverts_what_a_gradient_misses() -> None:
    assert error(attacked(attack_named("ridge"), audit_target(PartlyRounded(), 1), 50, BRIEF)) < 0.05


def test_a_network_that_died_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two of eight begin all black, where no gradient moves them."""
    begun = []

    def dying(make: Callable[[], generative.Generator], generator: torch.Generator) -> generative.Generator:
        network = seeded(make, generator)
        if len(begun) < 2:
            with torch.no_grad():
                network.base.fill_(-1000)
        begun.append(network)
        return network

    monkeypatch.setattr(generative, "seeded", dying)
    originals, images = attacked(attack_named("untrained"), audit_target(first_layer(), 6), 8)
    found = ssim(images, originals)
    assert found is not None
    assert len(begun) == 10
    assert float(found.min()) > 0.9


@pytest.mark.parametrize("name", ["ridge", "inverse"])
def test_knowing_the_defense_pays(name: str) -> None:
    device = audit_target(first_layer(), 6, DefenseSpec(dropout="element", rate=0.7))
    adaptive, naive = (error(attacked(attack_named(name), device, 100, HALF, naive=way)) for way in (False, True))
    assert adaptive < 0.8 * naive


@pytest.mark.parametrize("name", ["ridge", "inverse"])
def test_many_fresh_releases_undo_dropout(name: str) -> None:
    once, often = _after_one_release_and_ten(name, "fresh")
    assert often < 0.5 * once


@pytest.mark.parametrize("name", ["ridge", "inverse"])
def test_many_keyed_releases_do_not(name: str) -> None:
    once, often = _after_one_release_and_ten(name, "keyed")
    assert often == pytest.approx(once, rel=0.05)


def _after_one_release_and_ten(name: str, masks: Literal["fresh", "keyed"]) -> tuple[float, float]:
    device = audit_target(first_layer(), 6, DefenseSpec(dropout="element", rate=0.7, masks=masks))
    once, often = (error(attacked(attack_named(name), device, 100, HALF, queries=queries)) for queries in (1, 10))
    return once, often


def test_the_likelihood_knows_which_numbers_were_dropped() -> None:
    device = audit_target(first_layer(), 6, DefenseSpec(dropout="element", rate=0.5))
    attack = attack_named("likelihood")
    adaptive, naive = (error(attacked(attack, device, 8, naive=way)) for way in (False, True))
    assert adaptive < 0.2
    assert adaptive < 0.5 * naive


def test_total_variation_fills_in_what_was_dropped() -> None:
    device = audit_target(first_layer(), 6, DefenseSpec(dropout="element", rate=0.95))
    smooth, plain = (
        error(attacked(MaximumLikelihood(priors=(prior,), starts=1), device, 16)) for prior in ((0.1, 0.0), (0.0, 0.0))
    )
    assert smooth < 0.8 * plain


@pytest.mark.parametrize(("name", "allowed"), [("likelihood", "black-box"), ("inverse", "query-free")])
def test_an_attack_cannot_pass_for_a_weaker_one(name: str, allowed: str) -> None:
    place = view_of(audit_target(first_layer(), 6), allowed)  # type: ignore[arg-type]
    with pytest.raises(AttackFailed, match="may not"):
        attack_named(name).fit(place, EFFORT, torch.Generator().manual_seed(0))
