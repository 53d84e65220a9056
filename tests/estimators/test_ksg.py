"""KSG against known truth in few dimensions."""

import math

import pytest
import torch
from collabplan.estimators.ksg import Ksg, ksg_information
from collabplan.records import CollabplanError
from estimator_channels import rows_channel
from sklearn.feature_selection import mutual_info_regression


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_correlated_normals_as_scikit_learn_finds_them(generator, correlation):
    x = torch.randn(2000, 1, generator=generator)
    t = correlation * x + math.sqrt(1 - correlation**2) * torch.randn(2000, 1, generator=generator)
    found = ksg_information(x, t, generator=generator)
    assert found == pytest.approx(-math.log(1 - correlation**2) / 2, abs=0.1)
    reference = mutual_info_regression(x.numpy(), t[:, 0].numpy(), n_neighbors=3)[0]
    assert max(found, 0.0) == pytest.approx(reference, abs=1e-6)


def test_a_channel_of_two_dimensions(generator):
    rows = torch.randn(1500, 2, generator=generator, dtype=torch.float64) * 1.5
    found = Ksg().estimate(rows_channel(rows), generator)
    assert found.value == pytest.approx(math.log(1 + 1.5**2), abs=0.1)
    assert (found.lower, found.upper, found.meaning) == (None, None, "surrogate")


def test_discrete_inputs_do_not_tie(generator):
    points = torch.arange(1000).remainder(10)[:, None].double() * 20
    assert Ksg().estimate(rows_channel(points), generator).value > math.log(10) - 0.1


def test_a_constant_tells_exactly_nothing(generator):
    assert Ksg().estimate(rows_channel(torch.ones(50, 3)), generator).value == 0.0


def test_many_dimensions_and_bad_samples_are_refused(generator):
    x = torch.randn(50, 9, generator=generator)
    with pytest.raises(CollabplanError, match="at most 8 dimensions, X has 9"):
        ksg_information(x, x[:, :2], generator=generator)
    with pytest.raises(CollabplanError, match="pairs"):
        ksg_information(x[:, :2], x[:20, :2], generator=generator)
    with pytest.raises(CollabplanError, match="NaN"):
        ksg_information(x[:, :2], x[:, :2] * float("nan"), generator=generator)
