"""The sandwich against known truth: it encloses, says how sure it is, and says when it cannot tell."""

import math

import pytest
import torch
from collabplan.estimators.sandwich import SampledNoise, Sandwich, averaged, bounds_from_log_likelihood, half_width
from collabplan.records import CollabplanError
from estimator_channels import gaussian_channel, rows_channel


@pytest.mark.parametrize("nats", [0.3, 1.0, 3.0])
def test_the_middle_is_the_truth_and_the_interval_holds_it(generator, nats):
    found = Sandwich().estimate(gaussian_channel(nats, 512, 1000, generator), generator)
    assert found.value == pytest.approx(nats, rel=0.03)
    assert found.lower < nats < found.upper
    assert not found.saturated


@pytest.mark.parametrize("nats", [9.0, 50.0, 5e3])
def test_beyond_ln_n_it_says_saturated(generator, nats):
    found = Sandwich().estimate(gaussian_channel(nats, 512, 500, generator), generator)
    assert found.saturated
    assert found.lower <= math.log(500)
    assert found.upper > nats


def test_a_constant_tells_exactly_nothing(generator):
    found = Sandwich().estimate(rows_channel(torch.ones(50, 7)), generator)
    assert (found.lower, found.value, found.upper) == (0.0, 0.0, 0.0)


def test_ten_far_points_tell_ln_10(generator):
    points = torch.arange(1000).remainder(10)
    found = Sandwich().estimate(rows_channel(torch.nn.functional.one_hot(points, 10) * 50.0), generator)
    assert found.value == pytest.approx(math.log(10), abs=0.02)


def test_both_bounds_fall_with_the_signal(generator):
    noise = SampledNoise(gaussian_channel(4.0, 256, 500, generator), generator)
    found = [noise.bounds(keep) for keep in (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.01)]
    assert [item.low for item in found] == sorted((item.low for item in found), reverse=True)
    assert [item.up for item in found] == sorted((item.up for item in found), reverse=True)


def test_the_exact_likelihood_gives_the_same_bounds(generator):
    rows = torch.randn(600, 64, generator=generator, dtype=torch.float64) * 0.25
    released = rows + torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    exact = bounds_from_log_likelihood(-torch.cdist(released, rows).square() / 2)
    sampled = SampledNoise(rows_channel(rows), generator).bounds()
    assert exact.low == pytest.approx(sampled.low, abs=3 * exact.low_half)
    assert exact.up == pytest.approx(sampled.up, abs=3 * exact.up_half)


def test_impossible_releases_of_others_leave_no_upper_bound():
    apart = torch.full((30, 30), -math.inf).fill_diagonal_(0.0)
    found = bounds_from_log_likelihood(apart)
    assert found.low == pytest.approx(math.log(30))
    assert found.as_estimate(real_noise=True).upper is None
    assert found.saturated


def test_the_resolvable_noise_leaves_three_nats(generator):
    channel = gaussian_channel(200.0, 256, 1000, generator)
    factor = SampledNoise(channel, generator).resolvable_noise()
    assert factor is not None
    assert SampledNoise(channel.noisier(factor), generator).bounds().middle == pytest.approx(3.0, abs=0.1)


def test_two_points_never_leave_three_nats(generator):
    rows = torch.arange(200).remainder(2)[:, None] * 10.0
    assert SampledNoise(rows_channel(rows), generator).resolvable_noise() is None
    assert SampledNoise(rows_channel(torch.zeros(200, 2)), generator).resolvable_noise() is None


def test_several_masks_are_averaged_with_one_masks_width(generator):
    found = [SampledNoise(gaussian_channel(n, 64, 200, generator), generator).bounds() for n in (1.0, 2.0)]
    both = averaged(found)
    assert both.low == pytest.approx((found[0].low + found[1].low) / 2)
    assert both.low_half == max(item.low_half for item in found)


def test_the_half_width_is_that_of_the_mean(generator):
    means = [torch.randn(400, generator=generator).double() for _ in range(200)]
    inside = sum(abs(float(sample.mean())) < half_width(sample) for sample in means)
    assert 180 <= inside <= 198


def test_distances_that_are_none_are_refused(generator):
    channel = rows_channel(torch.randn(20, 3, generator=generator))
    channel.distances[:10, 10:] = channel.distances[10:, :10] = 0
    with pytest.raises(CollabplanError, match="Euclidean"):
        SampledNoise(channel, generator)
