"""An attack below the prior has failed, unless what it found explains the releases: then these tell too little."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar

import pytest
import torch
from attack_views import SIDE, device_at, digits, seeded
from collabplan.attacks import (
    AdversaryView,
    Attack,
    Attacker,
    AuditRequest,
    AuditTarget,
    Effort,
    ObservedReleases,
    Reconstruction,
    ReleaseLaw,
    Training,
    attack_named,
    generative,
    run_audit,
)
from collabplan.attacks.interface import law_of
from collabplan.graph import trace
from collabplan.records import AttackResult, Audit, Threat
from torch import nn

EFFORT = Effort("quick", 40, 200, 20, 40, 6, 8, until_converged=False)

SENT = 4
"""Numbers that cross: they do not determine an image of 256 pixels."""


@cache
def device() -> AuditTarget:
    """A device that sends four numbers, from which next to nothing can be told."""
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, SENT), nn.Linear(SENT, 10)), 2)
    made = device_at(trace(model.eval(), (torch.zeros(2, 1, SIDE, SIDE),)), 1)
    assert made.payload_bytes == SENT
    return made


def audited(attack: Attack, effort: Effort = EFFORT) -> tuple[AttackResult, Audit]:
    targets, intercepted, own = digits()
    request = AuditRequest(device(), targets, own, intercepted)
    found = run_audit(request, [attack_named("prior"), attack], effort, seed=0, racing=False).record
    return found.attacks[-1], found


@dataclass(frozen=True)
class Altered:
    """The attack `untrained`, with something about it changed."""

    keeps_law: bool = True
    noise_on: tuple[int, ...] = ()
    converged: bool = True
    revision: ClassVar[int] = 1
    name: str = "altered"
    threat: Threat = "white-box"
    per_image: bool = True

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        inner = attack_named("untrained").fit(view, replace(effort, until_converged=False), generator)
        law = law_of(inner) if self.keeps_law else None
        return AlteredAttacker(inner, law, self.noise_on, Training(10, (), self.converged))


@dataclass(frozen=True, eq=False)
class AlteredAttacker:
    inner: Attacker
    law: ReleaseLaw | None
    noise_on: tuple[int, ...]
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        """Noise where so many releases are asked for: those of targets, or half as many held-out ones."""
        if len(released) in self.noise_on:
            return Reconstruction(torch.rand(len(released), 1, SIDE, SIDE, generator=generator).round())
        return Reconstruction(self.inner.reconstruct(released, generator).images)


TARGETS, HELD = EFFORT.optimised_targets, EFFORT.optimised_targets // 2


@pytest.mark.parametrize(
    "effort", [EFFORT, replace(EFFORT, iterations=160, until_converged=True)], ids=["all", "enough"]
)
def test_an_attack_that_explains_releases_which_tell_nothing_has_not_failed(effort: Effort) -> None:
    found, audit = audited(attack_named("untrained"), effort)
    assert found.figures is not None
    assert found.figures.index.value < 0.01
    assert found.figures.mse > 2 * mean_error(), "it is far below the prior"
    assert found.status == "ok"
    assert found.reason == "recovers nothing, though it explains the releases as well as the true images do"
    assert audit.tier("white-box").conclusive
    assert audit.tier("white-box").failed == ()


def test_a_result_names_the_attack_that_it_is_a_weaker_form_of() -> None:
    assert audited(attack_named("shadow-same"))[0].weaker_form_of == "inverse"
    assert audited(attack_named("ridge"))[0].weaker_form_of == ""


def mean_error() -> float:
    targets, _, own = digits()
    return float((targets.inputs[0][:TARGETS] - own.inputs[0].mean(dim=0)).square().mean())


def test_an_optimiser_that_does_not_explain_the_releases_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generative, "UNTRAINED_RATE", 1e3)
    found, audit = audited(attack_named("untrained"))
    assert found.status == "failed"
    assert "below the prior: mean squared error" in found.reason
    assert "and it does not explain the releases either: misfit " in found.reason
    assert audit.tier("white-box").failed == ("untrained",)
    assert not audit.tier("white-box").conclusive


@pytest.mark.parametrize("noise_on", [(TARGETS, HELD), (TARGETS,), (HELD,)], ids=["all", "targets", "held out"])
def test_noise_has_failed_on_whichever_images_it_is_returned(noise_on: tuple[int, ...]) -> None:
    """An attacker may know the held-out images by heart: what it makes of the targets counts as well."""
    found, audit = audited(Altered(noise_on=noise_on))
    assert found.status == "failed"
    assert "does not explain the releases either" in found.reason
    assert not audit.tier("white-box").conclusive


def test_without_a_law_an_attack_below_the_prior_has_failed() -> None:
    assert audited(Altered())[0].status == "ok"
    found, audit = audited(Altered(keeps_law=False))
    assert found.status == "failed"
    assert found.reason.startswith("below the prior: mean squared error")
    assert "explain" not in found.reason
    assert not audit.tier("white-box").conclusive


def test_an_attack_that_has_not_converged_has_failed_whatever_it_explains() -> None:
    found, _ = audited(Altered(converged=False), replace(EFFORT, until_converged=True))
    assert (found.status, found.reason) == ("failed", "not converged after 10 steps")


def test_an_attack_on_a_captured_device_of_another_law_has_failed_whatever_it_explains() -> None:
    """What it finds explains such releases better than the true images do, and is of no meaning."""
    targets, intercepted, own = digits()
    sent, some = device().clean_rows(targets), targets.take(torch.arange(EFFORT.targets))
    captured = [{1: device().captured([[factor * row[: len(some)] for row in sent]], some)} for factor in (1, 3)]
    requests = [AuditRequest(device(), some, own, intercepted, captured=each) for each in captured]
    attacks = [attack_named("prior"), attack_named("untrained")]
    same, other = (run_audit(each, attacks, EFFORT, seed=0).record for each in requests)
    assert same.attacks[-1].status == "ok"
    assert other.attacks[-1].status == "failed"
    assert "its law is not the device's" in other.attacks[-1].reason
    assert not other.tier("white-box").conclusive


def test_what_stands_above_the_prior_is_asked_for_no_explanation() -> None:
    found, _ = audited(attack_named("refined"))
    assert (found.status, found.reason) == ("ok", "")


@pytest.mark.parametrize("name", ["likelihood", "refined", "latent", "untrained"])
def test_every_attack_by_likelihood_keeps_its_law(name: str) -> None:
    view = AdversaryView(device(), digits()[2], "white-box")
    effort = replace(EFFORT, iterations=1, train_steps=1)
    assert law_of(attack_named(name).fit(view, effort, torch.Generator().manual_seed(0))) is not None
