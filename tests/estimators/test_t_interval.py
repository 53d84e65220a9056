"""The t interval is scipy's, and covers the mean of normal values as often as it says."""

from __future__ import annotations

import pytest
import torch
from collabplan.estimators.t_interval import LEVEL, t_half_width
from scipy import stats


@pytest.mark.parametrize("count", [2, 5, 30, 1000])
def test_the_half_width_is_that_of_scipys_t_distribution(count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    low, high = stats.t.interval(LEVEL, count - 1, loc=values.mean().item(), scale=stats.sem(values.numpy()))
    assert t_half_width(float(values.std()), count) == pytest.approx((high - low) / 2, rel=1e-12)


def test_one_value_gets_the_width_of_one_degree_of_freedom() -> None:
    assert t_half_width(1.0, 1) == pytest.approx(stats.t.ppf(0.975, 1))


def test_the_interval_covers_the_mean_at_its_level() -> None:
    values = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covered = [abs(float(row.mean())) <= t_half_width(float(row.std()), 6) for row in values]
    assert sum(covered) / len(covered) == pytest.approx(LEVEL, abs=0.01)
