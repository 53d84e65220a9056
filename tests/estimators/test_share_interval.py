"""Intervals of shares hold where a bootstrap of few samples reads [0, 0]."""

from __future__ import annotations

import pytest
import torch
from collabplan.estimators.share_interval import excess_interval, share_interval, widened
from collabplan.records import Interval

DRAWS = 2000


def test_nothing_seen_is_no_proof_of_nothing() -> None:
    found = share_interval(0.0, 32)
    assert (found.low, round(found.high, 3)) == (0.0, 0.109)
    assert share_interval(1.0, 32).low == pytest.approx(1 - 0.1089, abs=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("count", [32, 100, 500])
def test_the_interval_covers_the_share_in_95_of_100_samples(share: float, count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    seen = (torch.rand(DRAWS, count, generator=generator) < share).double().mean(dim=1)
    held = [found.low <= share <= found.high for found in (share_interval(float(each), count) for each in seen)]
    assert sum(held) >= 0.95 * DRAWS


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("count", [32, 500])
def test_shared_credit_is_covered_too(share: float, count: int) -> None:
    """Ties give halves: they vary less than a coin of the same mean."""
    generator = torch.Generator().manual_seed(count)
    seen = (torch.rand(DRAWS, count, 2, generator=generator) < share).double().mean(dim=(1, 2))
    held = [found.low <= share <= found.high for found in (share_interval(float(each), count) for each in seen)]
    assert sum(held) >= 0.95 * DRAWS


@pytest.mark.parametrize(("share", "reference"), [(0.0, 0.0), (0.01, 0.0), (0.1, 0.002), (0.5, 0.1), (0.5, 0.5)])
@pytest.mark.parametrize("count", [32, 500])
def test_the_interval_of_an_excess_covers_it_in_95_of_100_samples(share: float, reference: float, count: int) -> None:
    """Each sample succeeds or fails by one draw of luck, with and without the release."""
    generator = torch.Generator().manual_seed(count)
    luck = torch.rand(DRAWS, count, generator=generator)
    seen, beside = ((luck < each).double().mean(dim=1) for each in (share, reference))
    found = [excess_interval(float(a), float(b), count) for a, b in zip(seen, beside, strict=True)]
    assert sum(each.low <= share - reference <= each.high for each in found) >= 0.95 * DRAWS


def test_a_higher_level_moves_both_ends() -> None:
    found = widened(Interval(value=0.5, low=0.4, high=0.7), 0.99)
    assert found.low == pytest.approx(0.5 - 0.1 * 1.3142, abs=1e-3)
    assert found.high == pytest.approx(0.5 + 0.2 * 1.3142, abs=1e-3)
    assert widened(found, 0.95).high == pytest.approx(0.7)
