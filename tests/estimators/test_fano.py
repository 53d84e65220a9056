"""Fano's ceiling: never below what an attacker reaches, never looser than the textbook's."""

import math

import pytest
import torch
from collabplan.estimators.fano import reidentification_ceiling
from collabplan.estimators.kde import kullback_leibler_nats
from estimator_channels import gaussian_channel


def test_no_information_leaves_guessing_and_ln_n_leaves_everything():
    assert reidentification_ceiling(0.0, 50) == pytest.approx(1 / 50, abs=1e-6)
    assert reidentification_ceiling(math.log(50), 50) == 1.0


@pytest.mark.parametrize("nats", [0.1, 1.0, 2.0, 3.5])
def test_it_is_at_most_the_textbooks(nats):
    ceiling = reidentification_ceiling(nats, 100)
    assert ceiling <= (nats + math.log(2)) / math.log(100)
    assert reidentification_ceiling(nats, 100, releases=2) > ceiling


def test_the_inequality_is_met_with_equality():
    ceiling = reidentification_ceiling(1.0, 100)
    wrong = 1 - ceiling
    entropy = -ceiling * math.log(ceiling) - wrong * math.log(wrong)
    assert math.log(100) - entropy - wrong * math.log(99) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("nats", [0.3, 1.0, 2.0])
def test_the_best_attacker_stays_below_it(generator, nats):
    """The nearest row is the most likely one: nobody does better."""
    features, count = 64, 400
    channel = gaussian_channel(nats, features, count, generator)
    rows = channel.components(count)
    right = 0
    for _ in range(20):
        released = rows + torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        right += int((torch.cdist(released, rows).argmin(dim=1) == torch.arange(count)).sum())
    assert right / (20 * count) <= reidentification_ceiling(kullback_leibler_nats(channel.distances), count)
