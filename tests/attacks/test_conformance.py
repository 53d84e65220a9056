"""Every attack does what attacks do; the suite notices one that does not, and serves attacks from elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import outside_attack
import pytest
import torch
from attack_views import EFFORT, audit_target, digits, first_layer
from collabplan.attacks import (
    ATTACKS,
    AdversaryView,
    Attack,
    AuditRequest,
    Effort,
    ObservedReleases,
    Reconstruction,
    Training,
    attack_named,
    check_attack,
    run_audit,
)
from collabplan.attacks.conformance import CHECKS
from collabplan.attacks.likelihood import MaximumLikelihood
from collabplan.records import Threat
from outside_attack import NearestImage
from torch import Tensor


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_attack_conforms(name: str, check: Callable[[Attack], None]) -> None:
    check(MaximumLikelihood(priors=((1e-3, 0.0),), starts=1) if name == "likelihood" else attack_named(name))


def test_an_attack_of_forty_lines_conforms_and_is_audited(tmp_path: Path) -> None:
    assert len(inspect.getsource(outside_attack).splitlines()) <= 40
    check_attack(NearestImage())
    device = audit_target(first_layer(), 6)
    targets, intercepted, own = digits()
    attacks = [attack_named("prior"), NearestImage()]
    outcome = run_audit(AuditRequest(device, targets, own, intercepted), attacks, EFFORT, seed=0, folder=tmp_path)
    found = outcome.record.attacks[-1]
    assert (found.attack, found.status) == ("nearest-image", "ok")
    assert found.figures is not None
    assert found.figures.index.value > 0.2
    assert outcome.record.tier("black-box").index_attack == "nearest-image"


@dataclass(frozen=True)
class Flawed:
    """The mean image, but for one flaw."""

    flaw: Callable[[Tensor, torch.Generator], Tensor]
    revision: ClassVar[int] = 1
    name: str = "flawed"
    threat: Threat = "query-free"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Flawed:  # noqa: ARG002
        object.__setattr__(self, "view", view)
        return self

    @property
    def training(self) -> Training:
        return Training()

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        view: AdversaryView = vars(self)["view"]
        mean = view.pixels(view.training).mean(dim=0)
        return Reconstruction(self.flaw(mean.expand(len(released), *mean.shape).clone(), generator))


def _unchanged(images: Tensor, _: torch.Generator) -> Tensor:
    return images


FLAWS: dict[Callable[[Tensor, torch.Generator], Tensor], str] = {
    lambda images, _: images[:, 0]: "images of shape",
    lambda images, _: images[:1]: "images of shape",
    lambda images, _: images * 3: r"lie in \[0, 1\]",
    lambda images, _: images * torch.nan: "NaN or infinity",
    lambda images, _: (images * 255).byte(): "are floating",
    lambda images, _: images + 1e-3 * torch.rand(()): "the same seeds gave different images",
}


@pytest.mark.parametrize(("flaw", "message"), FLAWS.items(), ids=FLAWS.values())
def test_a_flaw_is_noticed(flaw: Callable[[Tensor, torch.Generator], Tensor], message: str) -> None:
    with pytest.raises(AssertionError, match=f"flawed: .*{message}"):
        check_attack(Flawed(flaw))


def test_an_attack_that_declares_more_than_it_needs_is_noticed() -> None:
    with pytest.raises(AssertionError, match="declares white-box and works for a query-free attacker"):
        check_attack(Flawed(_unchanged, threat="white-box"))


def test_an_attack_that_looks_at_the_targets_is_noticed() -> None:
    from collabplan.attacks.conformance import toy_data

    with pytest.raises(AssertionError, match="it looks at what no attacker has"):
        check_attack(Flawed(lambda images, _: toy_data()[0].inputs[0][: len(images)].clone()))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"name": ""}, "a name that is not empty"),
        ({"threat": "grey-box"}, "`threat` is one of query-free"),
        ({"per_image": 1}, "`per_image` is True or False"),
    ],
)
def test_a_missing_declaration_is_noticed(declared: dict[str, object], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_attack(Flawed(_unchanged, **declared))  # type: ignore[arg-type]


def test_a_missing_revision_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flawed, "revision", None)
    with pytest.raises(AssertionError, match="flawed: `revision` is an integer, got None"):
        check_attack(Flawed(_unchanged))
