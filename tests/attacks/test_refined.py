"""Where the posterior is known, `refined` reaches it; it is never worse than its start on held-out images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attack_views import BRIEF, EFFORT, audit_target, digits, error, first_layer, view_of
from collabplan.attacks import (
    AdversaryView,
    Attack,
    AuditRequest,
    AuditTarget,
    Effort,
    attack_named,
    refined,
    run_audit,
)
from collabplan.attacks.ridge import LinearRidge
from collabplan.attacks.shared_fits import fitted_once
from collabplan.defenses import Defense
from collabplan.graph import candidate_cuts, trace
from collabplan.records import DefenseRecord
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from torch import Tensor, nn

SIDE = 8
SIZE = SIDE**2
SHOWN = 100
SHORTER = replace(EFFORT, fit_samples=300, iterations=60)


def covariance() -> Tensor:
    """Of images whose neighbouring pixels are alike, `[SIZE, SIZE]`; their standard deviation is 0.1."""
    places = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).float()
    return 0.01 * (-torch.cdist(places, places).square() / 2).exp() + 1e-5 * torch.eye(SIZE)


def gaussian_images(count: int) -> Tensor:
    """`[count, 1, SIDE, SIDE]`, all but never outside [0, 1]."""
    draws = torch.randn(count, SIZE, generator=torch.Generator().manual_seed(8))
    return (0.5 + draws @ torch.linalg.cholesky(covariance()).T).reshape(count, 1, SIDE, SIDE)


def linear_edge(numbers: int) -> tuple[AuditTarget, Tensor]:
    """A device that releases so many linear functions of an image, and their weights `[numbers, SIZE]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        layer = nn.Linear(SIZE, numbers, bias=False)
        model = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(numbers, 3)).eval()
    traced = trace(model, (torch.zeros(2, 1, SIDE, SIDE),))
    cut = next(cut for cut in candidate_cuts(traced, 1) if cut.payload_bytes == 4 * numbers)
    device = AuditTarget(traced, cut, Defense.for_cut(DefenseRecord(), cut), InputScaling.from_range(0, 1))
    return device, layer.weight.detach()


def recovered(attack: Attack, device: AuditTarget, images: Tensor, effort: Effort = SHORTER) -> float:
    """The index of the first images; the attacker owns the others."""
    view = AdversaryView(device, Data((images[SHOWN:],)), attack.threat)
    attacker = attack.fit(view, effort, torch.Generator().manual_seed(0))
    released = device.release(Data((images[:SHOWN],)), torch.Generator().manual_seed(1))
    found = attacker.reconstruct(released, torch.Generator().manual_seed(2)).images
    return index_of(found, images[:SHOWN])


def index_of(found: Tensor, truth: Tensor) -> float:
    return 1 - float((found - truth).square().sum() / (truth - 0.5).square().sum())


@pytest.fixture
def linear_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start without any training."""
    monkeypatch.setattr(refined, "STARTS", (LinearRidge,))


@pytest.mark.usefixtures("linear_start")
def test_it_reaches_the_index_of_the_exact_posterior_mean() -> None:
    device, weights = linear_edge(24)
    images = gaussian_images(1100)
    crossed = (images[:SHOWN].flatten(1) - 0.5) @ weights.T
    mean = 0.5 + crossed @ torch.linalg.solve(weights @ covariance() @ weights.T, weights @ covariance())
    exact = index_of(mean.reshape(SHOWN, 1, SIDE, SIDE), images[:SHOWN])
    assert 0.3 < exact < 0.95, "what crosses tells a part of the image"
    assert recovered(attack_named("refined"), device, images) == pytest.approx(exact, abs=0.01)


@pytest.mark.usefixtures("linear_start")
def test_where_too_few_images_teach_a_regression_the_release_itself_is_inverted() -> None:
    device, _ = linear_edge(2 * SIZE)
    images = torch.rand(SHOWN + 60, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
    assert recovered(attack_named("ridge"), device, images) < 0.9
    assert recovered(attack_named("refined"), device, images) > 0.97


@pytest.mark.usefixtures("linear_start")
def test_where_every_refinement_harms_held_out_images_the_start_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refined, "RATE", 1e3)
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.9))
    view = view_of(device)
    attacker = attack_named("refined").fit(view, BRIEF, torch.Generator().manual_seed(0))
    released = device.release(digits()[0].take(torch.arange(8)), torch.Generator().manual_seed(1))
    start = fitted_once(LinearRidge(), view, BRIEF)
    found, begun = (each.reconstruct(released, torch.Generator().manual_seed(2)).images for each in (attacker, start))
    assert torch.equal(found, begun)


@pytest.mark.usefixtures("linear_start")
def test_under_dropout_it_tells_more_than_its_start() -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.7))
    data = digits()[0].take(torch.arange(16))
    released = device.release(data, torch.Generator().manual_seed(1))
    found = {}
    for name in ("ridge", "refined"):
        attacker = attack_named(name).fit(view_of(device), SHORTER, torch.Generator().manual_seed(0))
        found[name] = error((device.pixels(data), attacker.reconstruct(released, torch.Generator()).images))
    assert found["refined"] < 0.9 * found["ridge"], found


@pytest.mark.usefixtures("linear_start")
def test_an_audit_under_dropout_fits_a_start_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, fit = [], LinearRidge.fit

    def counted(attack: LinearRidge, *given: object) -> object:
        fits.append(1)
        return fit(attack, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(LinearRidge, "fit", counted)
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.5))
    attacks = [attack_named(name) for name in ("ridge", "refined")]
    found = run_audit(AuditRequest(device, digits()[0], digits()[2]), attacks, BRIEF, seed=0).record
    assert [each.attack for each in found.attacks if each.status == "ok"][:2] == ["ridge", "refined"]
    assert len(fits) == 3, "adaptive, naive and with ten releases"
