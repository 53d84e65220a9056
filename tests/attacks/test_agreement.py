"""Agreement is 1 for any monotone estimate, and clusters count as clusters."""

from __future__ import annotations

import numpy as np
import pytest
from collabplan.attacks import Pair, measure_agreement
from collabplan.attacks.agreement import kendall, spearman
from collabplan.records import AgreementRow, Interval
from scipy.stats import kendalltau, spearmanr

RATES = (0.0, 0.3, 0.6, 0.9)


def pairs(cuts: int = 6) -> list[Pair]:
    """The audited index falls with depth and with the rate; `good` is a monotone map of it, `bad` its opposite."""
    made = []
    for depth in range(cuts):
        for rate in RATES:
            index = (1 - depth / (cuts + 1)) * (1 - 0.8 * rate**2)
            made.append(
                Pair(
                    label=f"cut{depth} at {rate:g}",
                    defense=f"dropout:element:{rate:g}",
                    cut_id=str(depth),
                    depth=depth,
                    rate=rate,
                    payload_bytes=100,
                    accuracy=0.9 - 0.6 * rate,
                    audited=Interval(value=index, low=index - 0.01, high=index + 0.01),
                    estimates={"good": index**3, "bad": -index, "flat": 1.0},
                )
            )
    return made


def row(name: str, scope: str, cuts: int = 6) -> AgreementRow:
    rows, _ = measure_agreement(pairs(cuts), np.random.default_rng(0))
    return next(row for row in rows if row.estimate == name and row.scope == scope)


@pytest.mark.parametrize("scope", ["pooled", "within defense", "within cut", "accuracy drop <= 10 points"])
def test_a_monotone_estimate_agrees_and_its_opposite_does_not(scope: str) -> None:
    good, bad = row("good", scope), row("bad", scope)
    assert good.spearman.value == pytest.approx(1.0)
    assert good.kendall.value == pytest.approx(1.0)
    assert good.spearman.low == pytest.approx(1.0)
    assert bad.spearman.value == pytest.approx(-1.0)


def test_an_estimate_that_never_changes_has_no_rank() -> None:
    assert row("flat", "pooled").spearman.value is None


def test_trivial_proxies_stand_beside_estimates_and_see_one_side_alone() -> None:
    assert row("depth", "within defense").spearman.value == pytest.approx(1.0)
    assert row("depth", "within cut").spearman.value is None
    assert row("depth", "pooled").trivial
    assert row("payload x (1 - rate)", "within cut").spearman.value == pytest.approx(1.0)


def test_whole_cuts_are_resampled() -> None:
    """An estimate that errs at one cut of two has a wide interval, however many rates each was measured at."""
    mixed = [
        Pair(each.label, each.cut_id, each.depth, each.defense, each.rate, each.payload_bytes, each.accuracy,
             each.audited,
             {"half": each.audited.value if each.depth == 0 else -each.audited.value})
        for each in pairs(2)
    ]  # fmt: skip
    rows, _ = measure_agreement(mixed, np.random.default_rng(0))
    found = next(each for each in rows if each.estimate == "half" and each.scope == "pooled").spearman
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.9
    assert found.high > 0.9


def test_clear_disagreements_are_listed_worst_first() -> None:
    _, wrong = measure_agreement(pairs(), np.random.default_rng(0))
    assert {each.estimate for each in wrong} == {"bad"}
    worst = wrong[0]
    assert worst.second == "cut0 at 0"
    assert worst.audited[0] < worst.audited[1]
    assert worst.estimated[0] > worst.estimated[1]


def test_two_pairs_have_no_correlation() -> None:
    rows, _ = measure_agreement(pairs()[:2], np.random.default_rng(0))
    assert rows
    assert all(each.spearman.value is None for each in rows)


def test_correlations_of_repeated_pairs_are_those_of_scipy() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.integers(0, 6, 12).astype(float), generator.integers(0, 6, 12).astype(float)
    times = generator.integers(0, 4, (20, 12))
    for found, reference in ((spearman, spearmanr), (kendall, kendalltau)):
        wanted = [reference(np.repeat(x, counts), np.repeat(y, counts)).statistic for counts in times]
        np.testing.assert_allclose(found(x, y, times.astype(float)), wanted, atol=1e-12)
