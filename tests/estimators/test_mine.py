"""MINE against known truth, and its refusals."""

import math

import pytest
import torch
from collabplan.estimators.mine import Mine, judged, mine_information, normal_scores
from collabplan.records import CollabplanError
from estimator_channels import rows_channel

STEPS = 150


def normals(count, dimensions, correlation, generator):
    x = torch.randn(count, dimensions, generator=generator)
    noise = torch.randn(count, dimensions, generator=generator)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


@pytest.mark.parametrize("dimensions", [1, 3])
def test_correlated_normals_are_found(generator, dimensions):
    x, t = normals(800, dimensions, 0.8, generator)
    truth = -dimensions / 2 * math.log(1 - 0.64)
    found = mine_information(x, t, generator=generator, seeds=1, steps=STEPS)
    assert found.value == pytest.approx(truth, abs=0.12)
    assert found.lower < truth


def test_what_no_correlation_shows_is_found(generator):
    x = torch.randn(800, 1, generator=generator)
    t = x.square() + 0.3 * torch.randn(800, 1, generator=generator)
    assert mine_information(x, t, generator=generator, seeds=1, steps=STEPS).value > 0.6


def test_independent_pairs_have_next_to_nothing(generator):
    x, t = torch.randn(800, 8, generator=generator), torch.randn(800, 8, generator=generator)
    assert mine_information(x, t, generator=generator, seeds=1, steps=STEPS).value <= 0.05


def test_monotone_maps_of_the_coordinates_change_nothing(generator):
    x, t = normals(300, 2, 0.7, generator)
    values = [
        mine_information(x, other, generator=torch.Generator().manual_seed(1), seeds=1, steps=STEPS).value
        for other in (t, t**3)
    ]
    assert values[0] == values[1]


def test_ties_share_their_normal_score():
    scores = normal_scores(torch.tensor([[1.0], [2.0], [2.0], [3.0]]))
    assert scores[1] == scores[2]
    assert scores.sum() == pytest.approx(0, abs=1e-12)


def test_the_same_seed_gives_the_same_value(generator):
    channel = rows_channel(torch.randn(200, 3, generator=generator))
    found = [Mine(seeds=1, steps=100).estimate(channel, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert found[0] == found[1]


def test_a_constant_tells_exactly_nothing(generator):
    assert Mine().estimate(rows_channel(torch.ones(120, 4)), generator).value == 0.0
    x = torch.randn(120, 2, generator=generator)
    assert mine_information(x, torch.ones(120, 3), generator=generator).value == 0.0


def test_what_means_nothing_is_refused(generator):
    x = torch.randn(200, 2, generator=generator)
    with pytest.raises(CollabplanError, match="NaN"):
        mine_information(x, x * float("nan"), generator=generator)
    with pytest.raises(CollabplanError, match="pairs"):
        mine_information(x, x[:150], generator=generator)
    with pytest.raises(CollabplanError, match="at least 100 samples, got 50"):
        mine_information(x[:50], x[:50], generator=generator)


def test_folds_that_disagree_are_refused():
    with pytest.raises(CollabplanError, match="unstable"):
        judged([0.2, 3.0], torch.zeros(200), 200)
