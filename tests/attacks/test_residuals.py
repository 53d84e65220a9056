"""The covariance of residuals: never formed, and the same as if it were."""

from __future__ import annotations

import pytest
import torch
from collabplan.attacks.residuals import ResidualLaw
from torch import Tensor


def dense(law: ResidualLaw) -> Tensor:
    """S `[pixels, pixels]`."""
    return torch.diag(law.deviations.square()) + law.directions.T @ law.directions


def test_the_likelihood_is_that_of_the_dense_covariance(generator: torch.Generator) -> None:
    law = ResidualLaw.of(torch.randn(6, 1, 3, 3, generator=generator), torch.randn(4, 1, 3, 3, generator=generator))
    others = torch.randn(50, 9, generator=generator)
    distances = (others @ torch.linalg.inv(dense(law)) * others).sum(dim=1)
    expected = -float(distances.mean() + torch.logdet(dense(law))) / 2
    assert law.log_likelihood(others) == pytest.approx(expected, rel=1e-4)


def test_the_shortest_numbers_of_a_residual_have_its_mahalanobis_norm(generator: torch.Generator) -> None:
    law = ResidualLaw.of(torch.randn(6, 9, generator=generator), torch.randn(4, 9, generator=generator))
    root = law.residual(torch.eye(law.size))
    torch.testing.assert_close(root.T @ root, dense(law))
    wanted = torch.randn(1, 9, generator=generator)
    shortest = wanted @ torch.linalg.pinv(root)
    torch.testing.assert_close(law.residual(shortest), wanted, atol=1e-4, rtol=1e-4)
    expected = (wanted @ torch.linalg.inv(dense(law)) @ wanted.T).item()
    torch.testing.assert_close(float(shortest.square().sum()), expected, atol=1e-3, rtol=1e-3)


def test_other_images_choose_how_much_of_the_correlations_is_believed(generator: torch.Generator) -> None:
    few, others = torch.randn(5, 40, generator=generator), torch.randn(20, 40, generator=generator)
    independent = ResidualLaw.of(few, others)
    one_direction = torch.randn(40, generator=generator)
    shared = ResidualLaw.of(few[:, :1] * one_direction + 0.01 * few, others[:, :1] * one_direction + 0.01 * others)
    assert float(independent.directions.square().sum()) < 0.3 * float(dense(independent).diagonal().sum())
    assert float(shared.directions.square().sum()) > 0.7 * float(dense(shared).diagonal().sum())


def test_what_is_missed_nowhere_is_no_error() -> None:
    law = ResidualLaw.of(torch.zeros(3, 4), torch.zeros(2, 4))
    assert torch.isfinite(law.residual(torch.ones(1, law.size))).all()
    assert law.log_likelihood(torch.zeros(2, 4)) < float("inf")
