"""The KDE pair against known truth: constants, a discrete source, the Gaussian channel, explicit masks."""

import math

import pytest
import torch
from collabplan.estimators.kde import Kde, bhattacharyya_nats, kullback_leibler_nats
from collabplan.records import CollabplanError
from estimator_channels import gaussian_channel, rows_channel


def test_a_constant_tells_exactly_nothing(generator):
    found = Kde().estimate(rows_channel(torch.ones(50, 7)), generator)
    assert (found.lower, found.value, found.upper) == (0.0, 0.0, 0.0)


def test_ten_far_points_tell_ln_10(generator):
    points = torch.arange(1000).remainder(10)
    found = Kde().estimate(rows_channel(torch.nn.functional.one_hot(points, 10) * 50.0), generator)
    assert found.lower == pytest.approx(math.log(10), abs=0.02)
    assert found.upper == pytest.approx(math.log(10), abs=0.02)
    assert not found.saturated


def test_samples_far_apart_tell_ln_n_and_say_saturated(generator):
    found = Kde().estimate(rows_channel(torch.randn(100, 20, generator=generator) * 1e3), generator)
    assert found.upper == pytest.approx(math.log(100))
    assert found.saturated


@pytest.mark.parametrize("nats", [1.0, 3.0])
def test_the_pair_encloses_the_gaussian_channel(generator, nats):
    found = Kde().estimate(gaussian_channel(nats, 256, 800, generator), generator)
    assert found.lower < nats < found.upper


def test_the_pair_falls_with_distance_exactly(generator):
    distances = gaussian_channel(3.0, 256, 200, generator).distances
    keeps = [1.0, 0.9, 0.7, 0.5, 0.2, 0.1, 0.0]
    for bound in (bhattacharyya_nats, kullback_leibler_nats):
        values = [bound(distances * keep) for keep in keeps]
        assert values == sorted(values, reverse=True)
        assert values[-1] == 0.0


def test_at_a_quantizers_floor_it_is_a_surrogate(generator):
    channel = rows_channel(torch.randn(20, 3, generator=generator), real_noise=False)
    assert Kde().estimate(channel, generator).meaning == "surrogate"


def test_one_sample_is_refused(generator):
    with pytest.raises(CollabplanError, match="at least 2 samples, got 1"):
        Kde().estimate(rows_channel(torch.zeros(1, 3)), generator)
