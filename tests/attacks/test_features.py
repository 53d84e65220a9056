"""Releases as a learner reads them."""

from __future__ import annotations

import pytest
import torch
from attack_views import audit_target, digits, first_layer, view_of
from collabplan.attacks import ObservedReleases
from collabplan.attacks.features import Standard, zero_weights
from collabplan.targets import Data
from defense_records import defense_record

CPU = torch.device("cpu")


def released(rows: torch.Tensor, seen: torch.Tensor | None = None) -> ObservedReleases:
    return ObservedReleases((rows,), (seen,), Data((torch.zeros(len(rows), 1),)))


def test_channels_are_brought_to_mean_0_and_deviation_1() -> None:
    rows = torch.randn(500, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    (made,) = Standard.of([rows])(released(rows), CPU)
    assert made.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(made.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)


def test_what_was_not_seen_stands_at_the_mean() -> None:
    rows = torch.tensor([[4.0, 0.0], [6.0, 2.0]])
    seen = torch.tensor([[True, False], [True, True]])
    (made,) = Standard.of([rows])(released(rows, seen), CPU)
    assert made.tolist() == [[-1.0, 0.0], [1.0, 1.0]]
    assert Standard.of([rows]).flat(released(rows, seen)).shape == (2, 2)


def test_a_constant_channel_is_not_blown_up() -> None:
    rows = torch.ones(10, 2)
    assert torch.equal(Standard.of([rows])(released(rows), CPU)[0], torch.zeros(10, 2))


@pytest.mark.parametrize("kind", ["element", "channel"])
def test_a_zero_counts_by_the_probability_that_it_is_a_true_one(kind: str) -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout=kind, rate=0.5))  # type: ignore[arg-type]
    view = view_of(device)
    seen = device.release(digits()[0], torch.Generator().manual_seed(0))
    (weights,) = zero_weights(view, device.clean_rows(digits()[2]), seen)
    assert weights is not None
    assert seen.seen[0] is not None
    assert weights[seen.seen[0]].eq(1).all()
    assert 0 <= float(weights.min()) < 0.5, "a number that is rarely 0 was dropped"


def test_without_dropout_every_number_counts_in_full() -> None:
    device = audit_target(first_layer(), 6)
    seen = device.release(digits()[0], torch.Generator().manual_seed(0))
    assert zero_weights(view_of(device), device.clean_rows(digits()[2]), seen) == [None]
