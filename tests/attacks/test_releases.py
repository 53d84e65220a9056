"""Releases of one input are fused as an attacker would fuse them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from attack_views import digits
from collabplan.attacks.releases import COPY_KINDS, MOVING, CopyKind, FusedReleases, ObservedReleases, near_copy
from collabplan.defenses import Defense
from collabplan.records import Crossing
from collabplan.targets import Data
from defense_records import defense_record
from torch import Tensor

PUBLIC = Data((torch.zeros(1, 1),))


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def fused(*releases: list[float], **spec: Any) -> ObservedReleases:
    """Releases of one input of three numbers."""
    crossing = Crossing(name="t", node="t", dtype="float32", sample_shape=(3,))
    found = FusedReleases(Defense(defense_record(**spec), (crossing,)))
    for release in releases:
        found.add((torch.tensor([release]),))
    return found.observed(PUBLIC)


def test_under_dropout_a_number_that_was_seen_once_is_known_and_others_are_marked() -> None:
    found = fused([2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [2.0, 3.0, 0.0], dropout="element", rate=0.5)
    assert found.rows[0].tolist() == [[2.0, 3.0, 0.0]]
    assert found.seen[0] is not None
    assert found.seen[0].tolist() == [[True, True, False]]
    assert found.queries == 3


def test_under_noise_the_mean_counts_and_nothing_is_marked() -> None:
    found = fused([1.0, 2.0, 0.0], [3.0, 2.0, 1.0], noise="gaussian", noise_std=0.1)
    assert found.rows[0].tolist() == [[2.0, 2.0, 0.5]]
    assert found.seen == (None,)


def test_one_release_is_what_it_is() -> None:
    assert fused([1.0, 2.0, 0.0]).rows[0].tolist() == [[1.0, 2.0, 0.0]]


def test_the_content_hash_tells_marks_apart() -> None:
    rows = (torch.zeros(1, 3),)
    first, second = (ObservedReleases(rows, (torch.tensor([[True, True, way]]),), PUBLIC) for way in (True, False))
    assert first.content_hash != second.content_hash
    assert first.content_hash == ObservedReleases(rows, first.seen, PUBLIC).content_hash


def test_taking_inputs_takes_their_rows_and_marks() -> None:
    released = ObservedReleases((torch.arange(6.0).reshape(3, 2),), (torch.arange(6).reshape(3, 2) > 2,),
                                Data((torch.zeros(3, 1),)))  # fmt: skip
    part = released.take(torch.tensor([2]))
    assert part.rows[0].tolist() == [[4.0, 5.0]]
    assert len(part) == 1


@pytest.mark.parametrize("kind", COPY_KINDS, ids=str)
def test_near_copies_differ_a_little_and_stay_in_the_unit_range(kind: CopyKind) -> None:
    images: Tensor = digits()[0].inputs[0]
    copies = near_copy(images, draws(), kind)
    assert copies.shape == images.shape
    assert float(copies.min()) >= 0
    assert float(copies.max()) <= 1
    assert 0 < float((copies - images).abs().mean()) < 0.1


def test_a_still_camera_adds_its_noise_alone() -> None:
    images = torch.full((50, 1, 16, 16), 0.5)
    images[:, :, :8] = 0.25
    still, moving = (near_copy(images, draws(), kind) - images for kind in (CopyKind(0, 1 / 255), MOVING))
    assert float(still.std()) == pytest.approx(1 / 255, rel=0.05)
    assert float(still.abs().max()) < 6 / 255
    assert float(moving.abs().max()) > 0.2


def test_whoever_reads_zeros_as_numbers_does_so_in_the_first_release_too() -> None:
    marked = fused([2.0, 0.0, 0.0], dropout="element", rate=0.5)
    both = replace(marked, first=marked)
    assert [part.seen for part in both.unmarked().parts] == [(None,), (None,)]
    assert both.take(torch.tensor([0])).first is not None
