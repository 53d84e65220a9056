"""The Gaussian log-det: right for Gaussians far beyond ln N, and shrunk as scikit-learn shrinks."""

import math

import pytest
import torch
from collabplan.estimators.logdet import LogDet, ledoit_wolf, log_det_nats
from estimator_channels import gaussian_channel, rows_channel
from sklearn.covariance import LedoitWolf


@pytest.mark.parametrize("shape", [(80, 30), (80, 200)])
def test_shrinkage_and_value_are_those_of_scikit_learn(generator, shape):
    rows = torch.randn(shape, generator=generator, dtype=torch.float64) * torch.linspace(3, 0.1, shape[1])
    channel = rows_channel(rows)
    reference = LedoitWolf().fit(rows.numpy())
    assert ledoit_wolf(channel.gram, shape[1])[0] == pytest.approx(reference.shrinkage_, rel=1e-9)
    for keep in (1.0, 0.3):
        inner = torch.eye(shape[1], dtype=torch.float64) + keep * torch.from_numpy(reference.covariance_)
        assert log_det_nats(channel, keep) == pytest.approx(float(torch.logdet(inner)) / 2, rel=1e-9)


@pytest.mark.parametrize("nats", [1.0, 20.0, 100.0])
def test_a_white_gaussian_is_within_a_few_per_cent_whatever_ln_n(generator, nats):
    found = LogDet().estimate(gaussian_channel(nats, 512, 400, generator), generator)
    assert found.value == pytest.approx(nats, rel=0.03)
    assert (found.lower, found.upper, found.meaning, found.saturated) == (None, None, "surrogate", False)


def test_a_steep_spectrum_is_within_ten_per_cent(generator):
    power = 1 / torch.arange(1, 513, dtype=torch.float64)
    low, high = 1e-3, 1e6
    for _ in range(80):
        scale = math.sqrt(low * high)
        low, high = (scale, high) if float(torch.log1p(power * scale).sum()) / 2 < 60 else (low, scale)
    rows = torch.randn(400, 512, generator=generator, dtype=torch.float64) * (power * low).sqrt()
    assert log_det_nats(rows_channel(rows)) == pytest.approx(60, rel=0.1)


def test_a_constant_tells_exactly_nothing(generator):
    assert LogDet().estimate(rows_channel(torch.ones(50, 7)), generator).value == 0.0
