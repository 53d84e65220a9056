"""What every record shares, and the summary of a timing."""

import numpy as np
import pytest
from collabplan.records import Interval, Link, Timing
from pydantic import ValidationError


def test_a_timing_summarises_as_numpy_does() -> None:
    samples = np.random.default_rng(0).gamma(3.0, 2.0, 37).tolist()
    timing = Timing.from_samples(samples)
    assert timing.p50_ms == pytest.approx(np.median(samples))
    assert timing.p95_ms == pytest.approx(np.quantile(samples, 0.95))
    assert timing.iqr_ms == pytest.approx(np.quantile(samples, 0.75) - np.quantile(samples, 0.25))
    assert timing.samples_ms == tuple(samples), "the raw samples stay, in the order of measuring"


def test_one_sample_is_its_own_summary() -> None:
    timing = Timing.from_samples([2.0])
    assert (timing.p50_ms, timing.p95_ms, timing.iqr_ms) == (2.0, 2.0, 0.0)


def test_no_sample_is_no_timing() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Timing.from_samples([])


def test_scatter_is_an_iqr_over_a_tenth_of_the_median() -> None:
    assert not Timing.from_samples([1.0, 1.0, 1.0, 1.0, 9.0]).scatters
    assert Timing.from_samples([0.8, 0.9, 1.0, 1.1, 1.2]).scatters


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_failed_measurement_is_never_a_figure(bad: float) -> None:
    with pytest.raises(ValidationError):
        Interval(value=bad, low=0.0, high=1.0)
    with pytest.raises(ValidationError):
        Timing.from_samples([1.0, bad])


def test_an_interval_carries_its_level() -> None:
    assert Interval(value=0.5, low=0.4, high=0.6).level == 0.95
    with pytest.raises(ValidationError):
        Interval(value=0.5, low=0.4, high=0.6, level=1.0)


def test_records_are_frozen_and_refuse_unknown_fields() -> None:
    link = Link.assumed()
    with pytest.raises(ValidationError, match="frozen"):
        link.rtt_ms = 1.0
    with pytest.raises(ValidationError, match="latency_ms"):
        Link.model_validate({"bandwidth_bps": 1e6, "rtt_ms": 1.0, "latency_ms": 3.0})
