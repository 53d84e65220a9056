"""Which near-duplicates tell most, and that ten of them never tell less than one release."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attack_views import EFFORT, audit_target, digits, error, first_layer, view_of
from collabplan.attacks import ArtifactCache, AuditTarget, CopyKind, attack_named
from collabplan.attacks.interface import law_of
from collabplan.attacks.near_copies import EXACT, ChosenReading, choose_reading, copies_told, most_telling, told_note
from collabplan.attacks.releases import COPY_KINDS, MOVING
from defense_records import defense_record
from torch import Tensor, nn

STILL, SHIFTED = COPY_KINDS[0], COPY_KINDS[3]
MANY = 10


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def keyed(rate: float, first: nn.Module | None = None, width: int = 6) -> AuditTarget:
    spec = defense_record(dropout="element", rate=rate, masks="keyed")
    return audit_target(first or first_layer(), width, spec)


class EveryFourth(nn.Module):
    """Shows one pixel in sixteen, sixteen times over."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_under_keyed_masks_a_still_camera_tells_most() -> None:
    told = copies_told(view_of(keyed(0.9), "black-box"), draws())
    assert most_telling(told).shift == 0
    assert told[str(STILL)] > told[str(SHIFTED)] + 0.03
    assert list(told) == [str(kind) for kind in (STILL, SHIFTED, *COPY_KINDS[1:3])]
    assert f"{STILL}: {told[str(STILL)]:.3f}; {COPY_KINDS[1]}: " in told_note(told)
    assert told_note(dict(sorted(told.items()))) == told_note(told), "an audit that is resumed says the same"


def test_behind_a_stride_a_moving_camera_shows_what_a_still_one_never_does() -> None:
    told = copies_told(view_of(audit_target(EveryFourth(), 1), "black-box"), draws())
    assert most_telling(told).shift == 1
    assert told[str(SHIFTED)] > told[EXACT] + 0.01


@pytest.mark.parametrize(
    ("name", "kind", "rate"),
    [("ridge", MOVING, 0.3), ("kernel", MOVING, 0.9), ("kernel", STILL, 0.9), ("inverse", MOVING, 0.3)],
)
def test_ten_near_duplicates_never_tell_less_than_one_release(name: str, kind: CopyKind, rate: float) -> None:
    device, attack = keyed(rate), attack_named(name)
    effort = replace(EFFORT, train_steps=5)
    one = view_of(device, "black-box").limited(300)
    ten = replace(one, queries=MANY, copies=kind)
    alone, many = (attack.fit(view, effort, draws()) for view in (one, ten))
    chosen = choose_reading(ten, many, alone, draws(), per_image=False)
    released = device.release(digits()[0], draws(1), queries=MANY, copies=kind)
    assert released.first is not None
    originals = device.pixels(digits()[0])
    both = error((originals, chosen.reconstruct(released, draws()).images))
    assert both <= error((originals, alone.reconstruct(released.first, draws()).images)) + 0.01
    if kind == STILL:
        assert not chosen.first_alone


@pytest.mark.parametrize("first_alone", [True, False])
def test_a_reading_is_held_against_the_releases_that_it_reads(first_alone: bool) -> None:
    device, data = keyed(0.5), digits()[0].take(torch.arange(8))
    released = device.release(data, draws(1), queries=MANY, copies=MOVING)
    assert released.first is not None
    view = replace(view_of(device), queries=1 if first_alone else MANY, copies=None if first_alone else MOVING)
    reader = attack_named("likelihood").fit(view, replace(EFFORT, iterations=1), draws())
    law, own = law_of(ChosenReading(reader, first_alone)), law_of(reader)
    assert law is not None
    assert own is not None
    expected = own.misfits(released.first if first_alone else released, device.pixels(data))
    torch.testing.assert_close(law.misfits(released, device.pixels(data)), expected)


def test_a_reading_by_an_attack_without_a_law_has_none() -> None:
    reader = attack_named("prior").fit(view_of(keyed(0.5)), EFFORT, draws())
    assert law_of(ChosenReading(reader, first_alone=True)) is None


def test_attackers_learn_from_near_duplicates_that_are_made_once_for_all_defenses() -> None:
    artifacts, made = ArtifactCache(0), []
    for rate in (0.3, 0.9):
        view = replace(view_of(keyed(rate), "black-box", artifacts=artifacts), queries=MANY, copies=MOVING)
        bank = view.bank(view.training)
        released = bank.at(torch.arange(20), draws())
        assert released.first is not None
        assert released.queries == MANY
        assert released.seen[0] is not None
        assert float((~released.seen[0]).double().mean()) == pytest.approx(rate**MANY, abs=0.05)
        made.append(bank.rows)
    assert made[0] is made[1]
    clean = view_of(keyed(0.3), "black-box").ask(digits()[2].take(torch.arange(120, 140)))[0]
    torch.testing.assert_close(made[0].at(torch.arange(20))[0], clean)
    assert float((made[0].at(torch.arange(20))[1] - clean).abs().mean()) > 0.01
