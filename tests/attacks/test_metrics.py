"""Metrics that cannot be gamed: chance for constants, no clipping per image, a fixed range."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from collabplan.attacks.answers import Answers, class_means, of_classes, of_the_same_class
from collabplan.attacks.metrics import (
    THRESHOLDS,
    Judge,
    bootstrap_ratio,
    mean_reciprocal_rank,
    psnr_db,
    reidentified,
    squared_errors,
)
from collabplan.attacks.perception import Look, Sight, distances
from collabplan.attacks.similarity import ms_ssim, scales, ssim
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as reference

COUNT = 60


@pytest.fixture
def images() -> Tensor:
    return torch.rand(COUNT, 1, 16, 16, generator=torch.Generator().manual_seed(4))


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def judge(images: Tensor, practice: Tensor) -> Judge:
    return Judge(images.mean(dim=0), images, practice, images.mean(dim=0))


def test_a_perfect_reconstruction_has_all_of_it(images: Tensor) -> None:
    found = judge(images, images).figures(images, images, images, generator=draws())
    assert found.index.value == pytest.approx(1.0)
    assert found.reidentification.value == 1.0
    assert found.ssim is not None
    assert found.ssim.value == pytest.approx(1.0)
    assert found.reconstruction_rate is not None
    assert found.reconstruction_rate.value == 1.0


def test_a_constant_reconstruction_has_nothing_and_re_identifies_by_chance(images: Tensor) -> None:
    constant = torch.full_like(images, 0.3)
    found = judge(images, constant).figures(images, constant, images, generator=draws())
    assert found.index.value == 0.0
    assert found.reidentification.value == pytest.approx(1 / COUNT)


def test_swapped_pairs_have_nothing(images: Tensor) -> None:
    swapped = images.roll(1, dims=0)
    found = judge(images, swapped).figures(images, swapped, images, generator=draws())
    assert found.index.value < 0.02
    assert found.reidentification.value == 0.0


def test_wild_guesses_are_pulled_to_the_mean(images: Tensor) -> None:
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(9))
    found = judge(images, noise).figures(images, noise, images, generator=draws())
    assert found.mse > float((images - images.mean(dim=0)).square().mean())
    assert found.index.value < 0.02


def test_the_index_of_a_noisy_copy_is_what_shrinkage_leaves(images: Tensor) -> None:
    mean = images.mean(dim=0)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9)) * 0.3
    copy = images + noise
    variance = float((images - mean).square().mean())
    found = judge(images, copy).figures(images, copy, images, generator=draws())
    assert found.index.value == pytest.approx(variance / (variance + 0.09), abs=0.02)
    assert found.index.low < found.index.value < found.index.high


def test_psnr_counts_from_a_peak_of_one(images: Tensor) -> None:
    assert psnr_db(squared_errors(images, images + 0.1)).tolist() == pytest.approx([20.0] * COUNT, abs=1e-4)


def test_a_guess_drawn_to_the_mean_is_pushed_away_from_it_before_it_is_matched(images: Tensor) -> None:
    """The nearest to a timid guess is an image near the mean, whatever the guess says."""
    spread = torch.linspace(0.05, 1.0, COUNT).reshape(-1, 1, 1, 1)
    varied = 0.5 + spread * (images - 0.5)
    timid = 0.5 + 0.2 * (varied - 0.5)
    plain = float(reidentified(timid, varied).mean())
    judge = Judge(torch.full_like(images[0], 0.5), varied, timid, varied.mean(dim=0))
    found = judge.figures(varied, timid, varied, generator=draws())
    assert plain < 0.75
    assert found.reidentification.value > plain + 0.2


def test_ranks_tell_guesses_apart_that_re_identify_nothing(images: Tensor) -> None:
    assert mean_reciprocal_rank(images, images) == 1.0
    second, last = images.clone(), images.clone()
    second[0] = 0.6 * images[1] + 0.4 * images[0]
    last[0] = images[1]
    assert reidentified(second, images)[0] == reidentified(last, images)[0] == 0
    assert mean_reciprocal_rank(second, images) > mean_reciprocal_rank(last, images)


def test_equal_candidates_share_the_credit(images: Tensor) -> None:
    gallery = torch.cat([images, images[:1]])
    credit = reidentified(images[:2], gallery)
    assert credit.tolist() == [0.5, 1.0]


def test_what_is_no_image_has_no_ssim(images: Tensor) -> None:
    assert ssim(images.flatten(1), images.flatten(1)) is None
    assert ssim(images[:, :, :8, :8], images[:, :, :8, :8]) is None


def test_ssim_keeps_its_range(images: Tensor) -> None:
    """With the reconstruction's own range a dim copy would score as well as the image itself."""
    found = ssim(images * 0.1, images)
    assert found is not None
    assert float(found.mean()) < 0.4


def test_an_interval_covers_the_index_in_most_samples() -> None:
    generator = torch.Generator().manual_seed(5)
    held = 0
    for _ in range(100):
        prior = torch.rand(100, generator=generator, dtype=torch.float64) + 0.5
        errors = prior * (0.3 + 0.2 * torch.rand(100, generator=generator, dtype=torch.float64))
        found = bootstrap_ratio(errors, prior, generator)
        held += found.low <= 0.6 <= found.high
    assert held >= 88


CLASSES = 3


@pytest.fixture
def labelled() -> tuple[Tensor, Tensor]:
    """Images around three class means, and their classes."""
    generator = torch.Generator().manual_seed(6)
    classes = torch.arange(COUNT) % CLASSES
    return torch.rand(CLASSES, 1, 16, 16, generator=generator)[classes] * 0.7 + 0.3 * torch.rand(
        COUNT, 1, 16, 16, generator=generator
    ), classes


def knowing(labelled: tuple[Tensor, Tensor], practice: Tensor) -> Judge:
    """A judge whose network takes an image for the class whose mean is nearest."""
    images, classes = labelled
    means = class_means(images, classes)
    return replace(judge(images, practice), answers=Answers(classes, classes, means), sight=seeing(images, means))


def seeing(images: Tensor, means: Tensor) -> Sight:
    """Of a network whose features are distances to `means`, and who takes an image for the nearest one's class."""

    def look(asked: Tensor) -> Look:
        features = torch.cdist(asked.flatten(1), means.flatten(1))
        return Look(features.argmin(dim=1), features)

    seen, prior = look(images), look(images.mean(dim=0).expand_as(images))
    assert seen.features is not None
    assert prior.features is not None
    return Sight(seen, distances(prior.features, seen.features), look)


def test_a_perfect_reconstruction_is_consistent_and_all_of_what_the_class_leaves(
    labelled: tuple[Tensor, Tensor],
) -> None:
    images, _ = labelled
    found = knowing(labelled, images).figures(images, images, images, generator=draws())
    assert found.consistency is not None
    assert found.within_class is not None
    assert found.consistency.value == 1.0
    assert found.within_class.value == pytest.approx(1.0)


def test_the_mean_of_the_class_has_an_index_and_nothing_within_the_class(labelled: tuple[Tensor, Tensor]) -> None:
    images, classes = labelled
    means = of_classes(class_means(images, classes), classes, images.mean(dim=0))
    found = knowing(labelled, means).figures(images, means, images, generator=draws())
    assert found.within_class is not None
    assert found.consistency is not None
    assert found.index.value > 0.5
    assert found.within_class.value == pytest.approx(0.0, abs=1e-6)
    assert found.consistency.value == 1.0


def test_the_mean_image_has_nothing_within_the_class_and_is_consistent_with_one_class(
    labelled: tuple[Tensor, Tensor],
) -> None:
    images, _ = labelled
    mean = images.mean(dim=0).expand_as(images)
    found = knowing(labelled, mean).figures(images, mean, images, generator=draws())
    assert found.within_class is not None
    assert found.consistency is not None
    assert found.within_class.value == pytest.approx(0.0, abs=1e-6)
    assert found.consistency.value == pytest.approx(1 / CLASSES)


def test_within_the_class_is_known_from_the_part_of_the_residual_that_is_recovered(
    labelled: tuple[Tensor, Tensor],
) -> None:
    images, classes = labelled
    means = of_classes(class_means(images, classes), classes, images.mean(dim=0))
    half = torch.where(torch.arange(16) < 8, images, means)
    rest = squared_errors(half, images).sum() / squared_errors(means, images).sum()
    found = knowing(labelled, half).figures(images, half, images, generator=draws())
    assert found.within_class is not None
    assert found.within_class.value == pytest.approx(float(1 - rest), abs=1e-6)


def test_a_region_that_is_recovered_counts_as_perfect_whatever_surrounds_it(images: Tensor) -> None:
    region = torch.zeros(16, 16)
    region[2:5, 3:9] = 1
    garbage = torch.rand(images.shape, generator=torch.Generator().manual_seed(9)) * 5
    made = torch.where(region.bool(), images, garbage)
    found = replace(judge(images, made), region=region).figures(images, made, images, generator=draws())
    assert found.region is not None
    assert found.region.value == pytest.approx(1.0)
    assert found.index.value < 0.1
    other = replace(judge(images, made), region=1 - region).figures(images, made, images, generator=draws())
    assert other.region is not None
    assert other.region.value < 0.05


def test_bands_say_which_frequencies_are_recovered(images: Tensor) -> None:
    spectrum = torch.fft.rfft2(images)
    rows, columns = torch.fft.fftfreq(16), torch.fft.rfftfreq(16)
    coarse = (rows[:, None].square() + columns.square()).sqrt() <= 1 / 8
    blurred = torch.fft.irfft2(spectrum * coarse, s=(16, 16))
    found = judge(images, blurred).figures(images, blurred, images, generator=draws())
    low, middle, high = (each.value for each in found.bands)
    assert low == pytest.approx(1.0, abs=1e-5)
    assert (middle, high) == pytest.approx((0.0, 0.0), abs=1e-5)
    assert (
        judge(images[:, :, :4, :4], images[:, :, :4, :4])
        .figures(images[:, :, :4, :4], images[:, :, :4, :4], images[:, :, :4, :4], generator=draws())
        .bands
        == ()
    )


def test_curves_fall_with_the_threshold_and_hold_the_headline(images: Tensor) -> None:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9))
    copy = images + noise * torch.linspace(0.02, 0.8, COUNT)[:, None, None, None]
    found = judge(images, copy).figures(images, copy, images, generator=draws())
    assert len(found.ssim_curve) == len(found.reconstruction_curve) == len(THRESHOLDS)
    assert list(found.ssim_curve) == sorted(found.ssim_curve, reverse=True)
    assert 0 < found.ssim_curve[-1] < found.ssim_curve[0]
    assert all(shown <= alike for shown, alike in zip(found.reconstruction_curve, found.ssim_curve, strict=True))
    assert found.reconstruction_rate is not None
    assert found.reconstruction_curve[2] - found.prior_rate == pytest.approx(found.reconstruction_rate.value)


def test_another_image_of_the_class_is_drawn(labelled: tuple[Tensor, Tensor]) -> None:
    images, classes = labelled
    drawn = of_the_same_class(images, classes, torch.tensor([2, 0, 1, 2]), draws())
    places = torch.cdist(drawn.flatten(1), images.flatten(1)).argmin(dim=1)
    assert classes[places].tolist() == [2, 0, 1, 2]
    assert len(set(places.tolist())) == 4


def test_features_are_read_relative_to_those_of_the_mean_image(labelled: tuple[Tensor, Tensor]) -> None:
    images, classes = labelled
    mean = images.mean(dim=0).expand_as(images)
    means = of_classes(class_means(images, classes), classes, images.mean(dim=0))
    values = []
    for made in (images, means, mean):
        found = knowing(labelled, made).figures(images, made, images, generator=draws())
        assert found.features is not None
        assert found.features.low <= found.features.value <= found.features.high
        values.append(found.features.value)
    perfect, of_class, of_all = values
    assert (perfect, of_all) == (1.0, 0.0)
    assert 0.1 < of_class < 0.9


def test_features_that_are_not_finite_count_as_the_mean_image(labelled: tuple[Tensor, Tensor]) -> None:
    images, classes = labelled
    sight = seeing(images, class_means(images, classes))
    broken = replace(sight, look=lambda asked: Look(None, torch.full((len(asked), CLASSES), float("inf"))))
    found = replace(judge(images, images), sight=broken).figures(images, images, images, generator=draws())
    assert found.consistency is None
    assert found.features is not None
    assert found.features.value == 0.0


@pytest.mark.parametrize(("side", "count"), [(10, 0), (21, 1), (22, 2), (43, 2), (44, 3), (175, 4), (176, 5), (600, 5)])
def test_ms_ssim_has_as_many_scales_as_an_image_admits(side: int, count: int) -> None:
    images = torch.rand(2, 1, side, side + 3, generator=draws())
    assert scales(images) == count
    found = ms_ssim(images, images)
    assert (found is None) == (count < 2)
    assert found is None or found.tolist() == pytest.approx([1.0, 1.0])


def test_ms_ssim_of_five_scales_is_the_published_one_and_of_fewer_says_how_many() -> None:
    large, small = (torch.rand(3, 1, side, side, generator=draws()) for side in (176, 32))
    dim = large * 0.6
    found = ms_ssim(dim, large)
    assert found is not None
    assert found.tolist() == pytest.approx(reference(dim, large, data_range=1.0, reduction="none").tolist(), abs=1e-4)
    figures = judge(small, small).figures(small, small * 0.6, small, generator=draws())
    assert figures.ms_ssim_scales == 2
    assert figures.ms_ssim is not None
    assert figures.ssim is not None
    assert figures.ssim.value < figures.ms_ssim.value < 1
