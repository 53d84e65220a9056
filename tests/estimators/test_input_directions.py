"""The prior of the inputs: its spectrum where it is known, and what few samples cannot tell."""

from __future__ import annotations

import pytest
import torch
from collabplan.estimators.input_directions import InputDirections
from torch import Tensor


def of(pixels: Tensor, limit: int = 256) -> InputDirections:
    return InputDirections.of(pixels, 0, limit, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [20, 80, 350])
def test_few_samples_of_white_noise_have_a_flat_spectrum(count: int) -> None:
    found = of(torch.rand(count, 500, generator=torch.Generator().manual_seed(1)))
    shrunk, empirical = found.priors
    assert shrunk.most_in(250) == pytest.approx(0.5, abs=0.1)
    assert empirical.most_in(count) == pytest.approx(1.0)


@pytest.mark.parametrize(("count", "width", "limit"), [(20, 50, 256), (300, 50, 256), (300, 50, 20), (40, 400, 64)])
def test_directions_are_orthonormal_and_their_weights_sum_to_one(count: int, width: int, limit: int) -> None:
    draws = torch.Generator().manual_seed(1)
    mixed = torch.rand(count, 12, generator=draws) @ torch.rand(12, width, generator=draws) / 12
    found = of((mixed + 0.01 * torch.rand(count, width, generator=draws)).clamp(0, 1), limit)
    assert len(found.basis) == min(limit, width)
    assert torch.allclose(found.basis @ found.basis.T, torch.eye(len(found.basis)), atol=1e-4)
    for prior in (*found.priors, *found.limited(10).priors):
        assert float(prior.weights.sum()) + prior.known == pytest.approx(1.0)
        assert float(prior.weights.min()) >= 0
    assert float(found.priors[1].weights[:12].sum()) > 0.9


def test_with_all_directions_the_variances_are_those_of_the_covariance() -> None:
    pixels = torch.rand(900, 30, generator=torch.Generator().manual_seed(1))
    found = of(pixels)
    covariance = torch.cov(pixels.double().T, correction=0)
    along = (found.basis.double() @ covariance * found.basis.double()).sum(dim=1)
    assert torch.allclose(found.priors[1].variances, along, atol=1e-6)
    assert found.priors[1].most_in(0) == 0.0


def test_components_that_are_left_out_count_as_known() -> None:
    rows = torch.rand(60, 40, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 0.1, 40)
    found = InputDirections.of(rows, 0, 40, torch.Generator().manual_seed(0))
    few = found.limited(8)
    for prior, narrowed in zip(found.priors, few.priors, strict=True):
        assert narrowed.known == pytest.approx(float(prior.weights[len(few.basis) :].sum()))
        assert torch.equal(narrowed.weights, prior.weights[: len(few.basis)])
