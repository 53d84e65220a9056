"""The leave-one-out ridge against the slow way, and what it finds where the answer is known."""

import itertools

import pytest
import torch
from collabplan.estimators import Components
from collabplan.estimators.ridge import ATTACKER_SAMPLES, TESTED, Kernels, extrapolation, ridge_index
from collabplan.records import CollabplanError


def linear(features, noisy=None):
    centred = (features - features.mean(dim=0)).double()
    if noisy is None:
        return Kernels(centred @ centred.T)
    tested = (noisy - features.mean(dim=0))[:TESTED].double()
    return Kernels(centred @ centred.T, tested @ centred.T)


def explicit_index(features, noisy, targets, penalty):
    """One ridge regression in features per left-out sample."""
    errors = priors = 0.0
    centred = (features - features.mean(dim=0)).double()
    scale = float((centred @ centred.T).diagonal().mean())
    for left in range(len(features)):
        others = torch.arange(len(features)) != left
        own, wanted = features[others].double(), targets[others]
        mean, expected = own.mean(dim=0), wanted.mean(dim=0)
        normal = (own - mean).T @ (own - mean) + penalty * scale * torch.eye(own.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(normal, (own - mean).T @ (wanted - expected))
        errors += float((targets[left] - expected - (noisy[left].double() - mean) @ weights).square().sum())
        priors += float((targets[left] - expected).square().sum())
    return 1 - errors / priors


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_it_is_the_explicit_leave_one_out_at_one_of_its_penalties(generator, noise):
    features = torch.randn(60, 25, generator=generator)
    targets = (torch.sigmoid(features[:, :4]) + 0.02 * torch.randn(60, 4, generator=generator)).clamp(0, 1)
    noisy = features + noise * torch.randn(60, 25, generator=generator)
    components = Components.of(targets)
    found = ridge_index([linear(features, noisy if noise else None)], components).index.value
    slow = [explicit_index(features, noisy, components.scores[0], p) for p in (1e-2, 0.1, 0.3, 1.0, 3.0, 10.0)]
    assert found >= max(slow) - 1e-4
    assert noise == 0 or min(abs(found - index) for index in slow) < 1e-4


def test_equal_information_another_index():
    """LEAKAGE.md's counterexample: 20 components at the same signal-to-noise ratio, the leading or the last ones."""
    generator = torch.Generator().manual_seed(1)
    samples, pixels = 800, 400
    spectrum = 1 / torch.arange(1, pixels + 1, dtype=torch.float64)
    latent = torch.randn(samples, pixels, generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.randn(pixels, pixels, generator=generator, dtype=torch.float64))
    images = (latent * spectrum.sqrt()) @ basis.T
    images = (images - images.min()) / (images.max() - images.min())
    components = Components.of(images)
    index = {}
    for name, first in (("leading", 0), ("last", 300)):
        revealed = latent[:, first : first + 20] + 50**-0.5 * torch.randn(samples, 20, generator=generator)
        index[name] = ridge_index([linear(revealed)], components).index.value
    share = float(spectrum[:20].sum() / spectrum.sum())
    assert index["leading"] == pytest.approx(share * 50 / 51, abs=0.03)
    assert index["last"] < 0.03


def test_more_samples_help_and_high_guesses_at_more(generator):
    features = torch.randn(800, 300, generator=generator)
    noise = torch.randn(800, 5, generator=generator)
    targets = torch.sigmoid(features @ torch.randn(300, 5, generator=generator) / 17 + noise)
    found = ridge_index([linear(features)], Components.of(targets))
    sizes, values = zip(*found.by_samples, strict=True)
    assert sizes == (200, 400, 800)
    assert values[0] < values[1] < values[2]
    assert found.index.high > found.index.value + found.extrapolation > found.index.value


@pytest.mark.parametrize("releases", [1, 10])
@pytest.mark.parametrize("std", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("count", [700, 1600])  # all, then a quarter of the samples choose the penalty
def test_under_noise_more_samples_never_show_less(count, std, releases, generator):
    """Independent numbers of variance 1 tell 1 / (1 + variance of the noise); the penalty grows with the samples."""
    inputs = torch.rand(count, 30, generator=generator)
    rows = (inputs - inputs.mean(dim=0)) * 12**0.5
    noisy = rows[:TESTED] + std * torch.randn(min(count, TESTED), 30, generator=generator)
    kernels = Kernels(rows @ rows.T, noisy @ rows.T)
    found = ridge_index([kernels if releases == 1 else kernels.mean_of(releases)], Components.of(inputs))
    told = 1 / (1 + std**2 / releases)
    values = [value for _, value in found.by_samples]
    assert found.index.value == pytest.approx(told, abs=0.03)
    assert found.index.high == pytest.approx(told, abs=0.05)
    assert all(later >= earlier - 0.005 for earlier, later in itertools.pairwise(values))


def test_shuffled_pairs_and_a_constant_leave_nothing(generator):
    features = torch.randn(400, 50, generator=generator)
    targets = torch.rand(400, 8, generator=generator)
    assert ridge_index([linear(features)], Components.of(targets)).index.value <= 0.02
    assert ridge_index([linear(torch.ones(400, 3))], Components.of(targets)).index.high == 0.0


def test_too_few_or_too_many_samples_are_refused(generator):
    targets = Components.of(torch.rand(30, 3, generator=generator))
    with pytest.raises(CollabplanError, match="at least 20"):
        ridge_index([linear(torch.randn(10, 3))], targets.take(torch.arange(10)))
    with pytest.raises(CollabplanError, match="30 private inputs"):
        ridge_index([linear(torch.randn(25, 3))], targets)


def test_the_extrapolation_fits_its_exponent():
    """1/n adds the last step once more; where each doubling adds the same, so does each that follows."""
    samples = ATTACKER_SAMPLES // 4
    assert extrapolation((0.2, 0.4, 0.5), samples) == pytest.approx(0.1)
    assert extrapolation((0.46, 0.53, 0.6), samples) == pytest.approx(2 * 0.07)
    assert extrapolation((0.5, 0.5, 0.5), samples) == 0.0
    assert extrapolation((0.3, 0.4, 0.48), samples) == pytest.approx(0.08 * (0.8 + 0.8**2))
