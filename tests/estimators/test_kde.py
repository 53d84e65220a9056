"""The KDE pair against known truth: constants, a discrete source, the Gaussian channel, explicit masks."""

import itertools
import math

import pytest
import torch
from collabplan.estimators import kde_information
from collabplan.estimators.kde import wire_information
from collabplan.estimators.ridge import undropped
from collabplan.estimators.wire import WireRows, squared_distances, wire_rows
from collabplan.records import CollabplanError


def distances(rows):
    return torch.cdist(rows.double(), rows.double()).square().fill_diagonal_(0)


def test_a_constant_tells_nothing():
    found = kde_information(torch.zeros(100, 100), 0.1)
    assert (found.low_nats, found.high_nats) == (0, 0)
    assert not found.saturated


def test_ten_equally_likely_points_tell_ln_10():
    points = torch.arange(10.0).repeat(50)[:, None] * 100
    found = kde_information(distances(points), 1.0)
    assert found.low_nats == pytest.approx(math.log(10), abs=1e-9)
    assert found.high_nats == pytest.approx(math.log(10), abs=1e-9)
    assert not found.saturated


@pytest.mark.parametrize(("nats", "bd", "kl"), [(1, 0.55, 1.89), (3, 1.75, 4.9), (5, 3.04, 7.26)])
def test_the_gaussian_channel_lies_between_the_pair(nats, bd, kl, generator):
    width, count = 64, 1000
    signal = torch.randn(count, width, generator=generator, dtype=torch.float64)
    noise = 1 / (math.exp(2 * nats / width) - 1)
    found = kde_information(distances(signal), noise)
    assert found.low_nats < nats < found.high_nats + 1e-9
    assert found.low_nats == pytest.approx(bd, rel=0.15)
    assert found.high_nats == pytest.approx(min(kl, math.log(count)), rel=0.15)


def test_beyond_ln_n_it_says_saturated(generator):
    found = kde_information(distances(torch.randn(100, 64, generator=generator)), 1e-3)
    assert found.saturated
    assert found.high_nats == pytest.approx(math.log(100))


def test_distances_on_the_wire_are_exact(generator):
    codes = torch.randint(0, 256, (40, 5000), generator=generator, dtype=torch.uint8)
    codes[7] = codes[3]
    (found,) = squared_distances(WireRows((codes,), (31,), (1.0,)))
    wide = codes.double()
    assert torch.equal(found, (wide[:, None] - wide[None]).square().sum(2))
    assert found[3, 7] == 0


def test_equal_floating_rows_stay_equal_without_a_quantizer(defend, generator):
    h = torch.randn(30, 400, generator=generator).repeat(2, 1)
    defense = defend(h, bits=None).private
    found = wire_information(wire_rows(defense, [h]), defense, generator=generator, draws=1)
    assert found.high_nats == pytest.approx(math.log(30), abs=1e-9)


@pytest.mark.parametrize("rate", [0.3, 0.6, 0.9])
def test_the_closed_form_agrees_with_explicit_masks(generator, rate):
    """(1 - p) D against masks that all samples share, in the range where nothing is saturated."""
    rows = torch.randn(400, 2000, generator=generator) * 0.06
    closed = kde_information(distances(rows) * (1 - rate), 1.0)
    masks = torch.rand(12, 2000, generator=generator) >= rate
    explicit = [kde_information(distances(rows[:, mask]), 1.0) for mask in masks]
    assert closed.high_nats == pytest.approx(sum(e.high_nats for e in explicit) / 12, abs=0.06)
    assert closed.low_nats == pytest.approx(sum(e.low_nats for e in explicit) / 12, abs=0.02)


def test_information_at_the_wire_never_rises_with_the_rate(defend, generator):
    h = (torch.rand(300, 300, generator=generator) < 0.01) * 0.004  # a few codes of 1: not saturated
    h[0, 0] = 1.0
    found = []
    for rate in (0.0, 0.3, 0.6, 0.9):
        defense = defend(h, dropout="element", rate=rate).private
        clean = wire_rows(defense, undropped(defense).release([h], generator))
        found.append(wire_information(clean, defense, generator=generator, draws=2))
    assert all(a.high_nats >= b.high_nats - 1e-9 for a, b in itertools.pairwise(found))
    assert all(a.low_nats >= b.low_nats - 1e-9 for a, b in itertools.pairwise(found))
    assert found[-1].high_nats < found[0].high_nats


def test_channel_dropout_draws_masks(defend, generator):
    h = torch.rand(100, 4, 6, 6, generator=generator)
    defense = defend(h, dropout="channel", rate=0.9).private
    clean = wire_rows(defense, undropped(defense).release([h], generator))
    found = wire_information(clean, defense, generator=generator, draws=20)
    assert 0 < found.high_nats < 0.8 * found.saturation_nats


def test_no_noise_no_finite_information():
    with pytest.raises(CollabplanError, match="noise floor"):
        kde_information(torch.zeros(3, 3), 0.0)
