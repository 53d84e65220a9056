"""Attackers that want to know which picture was sent re-identify more than those that come close to its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from attack_views import (
    EFFORT,
    SHORT,
    SIDE,
    Constant,
    attacked,
    audit_target,
    device_at,
    digits,
    first_layer,
    seeded,
    view_of,
)
from collabplan.attacks import AdversaryView, Attack, AuditTarget, attack_named, recognition
from collabplan.attacks.metrics import mean_reciprocal_rank, reidentified
from collabplan.attacks.retrieval import Retrieval
from collabplan.defenses import CustomStage, Randomness, register
from collabplan.defenses.spelling import defense_of
from collabplan.graph import trace
from collabplan.records import Crossing
from collabplan.targets import Data
from defense_records import defense_record
from torch import Tensor, nn

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


def test_where_noise_hides_what_was_dropped_the_nearest_is_found_all_the_same() -> None:
    """A release is then smaller on average than what crosses, and nearest to fainter pictures."""
    device = audit_target(first_layer(), 6, defense_of("dropout:element:0.8 noise:gaussian:0.05"))
    for queries, least in ((1, 0.15), (10, 0.4)):
        originals, made = attacked(Retrieval(), device, TARGETS, queries=queries)
        assert float(reidentified(made, originals).mean()) > least


@dataclass(frozen=True)
class Rough(CustomStage):
    """Noise of its own, which says what it is on average, or does not."""

    name: ClassVar[str] = "rough"
    random: ClassVar[bool] = True
    told: bool = True

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:  # noqa: ARG002
        return rows + source.normal("rough", tuple(rows.shape))

    def expected(self, rows: Tensor, crossing: Crossing) -> Tensor | None:  # noqa: ARG002
        return rows if self.told else None


@pytest.mark.parametrize(("told", "least"), [(True, 0.4), (False, 0.15)])
def test_what_a_stage_draws_averages_out_of_what_the_attackers_own_pictures_send(told: bool, least: float) -> None:
    register(Rough)
    record = defense_record(bits=None).model_copy(update={"stages": (Rough(told).record,)})
    device, (targets, _, _) = audit_target(first_layer(), 6, record), digits()
    attacker = Retrieval().fit(view_of(device, "black-box", queries=10), EFFORT, torch.Generator().manual_seed(3))
    released = device.release(targets, torch.Generator().manual_seed(4), queries=10)
    made = attacker.reconstruct(released, torch.Generator()).images
    assert float(reidentified(made, targets.inputs[0]).mean()) > least


def test_with_few_pictures_the_nearest_counts_only_where_it_surely_tells_something() -> None:
    """By chance it does so on a few held-out pictures, and is then below the prior on the targets."""
    device = linear(2, torch.float32)
    nearest = 0
    for seed in range(12):
        few = digits()[2].take(torch.randperm(600, generator=torch.Generator().manual_seed(seed))[:50])
        view = AdversaryView(device, few, "black-box")
        attacker = Retrieval().fit(view, EFFORT, torch.Generator().manual_seed(seed))
        released = device.release(digits()[0], torch.Generator().manual_seed(1))
        made = attacker.reconstruct(released, torch.Generator()).images
        nearest += not torch.equal(made[0], made[1])
    assert nearest <= 3, "two numbers tell next to nothing"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["retrieval", "recognition"])
def test_models_of_other_precision_are_attacked(name: str, dtype: torch.dtype) -> None:
    device = linear(40, dtype)
    data = [Data((part.inputs[0].to(dtype),)) for part in digits()]
    attacker = attack_named(name).fit(AdversaryView(device, data[2], "black-box"), SHORT, torch.Generator())
    made = attacker.reconstruct(device.release(data[0], torch.Generator()), torch.Generator()).images
    assert float(reidentified(made, device.pixels(data[0])).mean()) > 0.2


def linear(sent: int, dtype: torch.dtype) -> AuditTarget:
    """A device that sends so many numbers."""
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, sent), nn.Linear(sent, 10)))
    traced = trace(model.to(dtype).eval(), (torch.zeros(2, 1, SIDE, SIDE, dtype=dtype),))
    return device_at(traced, 1, defense_record(bits=None))


def test_wide_inputs_are_recognised_among_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together are on the device at each step."""
    most = 50 * SIDE**2
    given: list[Tensor] = []
    monkeypatch.setattr(recognition, "MOST_COMPARED", most)
    cdist = torch.cdist

    def noted(made: Tensor, candidates: Tensor) -> Tensor:
        given.append(candidates)
        return cdist(made, candidates)

    monkeypatch.setattr(torch, "cdist", noted)
    device = audit_target(first_layer(), 6)
    attack_named("recognition").fit(view_of(device, "black-box"), SHORT, torch.Generator())
    learning = [each for each in given if each.shape[0] != len(view_of(device).held_out)]
    assert max(each.numel() for each in learning) <= most + 64 * SIDE**2


def test_more_releases_find_the_nearest_more_often(narrow: AuditTarget) -> None:
    assert rank(attack_named("retrieval"), narrow, queries=10) > rank(attack_named("retrieval"), narrow) + 0.05
