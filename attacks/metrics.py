"""How success is measured, so that it cannot be gamed: against the mean image, on a fixed range, with intervals.

A reconstruction is pulled towards the mean before its index is taken, by a factor per channel that held-out auxiliary
images suggest. A wild guess is then no worse than the mean image. The best guess in squared error is too close to the
mean to be told from other images' guesses: before re-identification it is pushed away from the mean, by a factor that
held-out images suggest too. Re-identification shares the credit of a tie, so a constant reconstruction scores chance.
PSNR is relative to a peak of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..estimators.share_interval import excess_interval, share_interval
from ..records import AttackFigures, Interval
from ..records.revisions import Part
from .answers import Answers, of_classes
from .perception import Look, Sight
from .similarity import ms_ssim, scales, ssim
from .views import BANDS, SMALLEST, View, band, within

JUDGE = Part("judge", 7)
"""Raise its revision whenever the same reconstructions are judged differently, or an attack fails by another rule."""

RESAMPLES = 1000
RECOGNISED_SSIM = 0.3
THRESHOLDS = tuple(tenths / 10 for tenths in range(1, 10))
"""Of the SSIM, for the curves; `RECOGNISED_SSIM` is the third."""

PUSHES = (1.0, 1.25, 1.5, 2.0, 3.0)
"""Factors by which reconstructions are pushed away from the mean before they are matched with originals."""

SAME = 1e-10
"""Squared distances that differ by less, relative to the greatest squared norm, are a tie."""

LEAST_ERROR = 1e-10
"""A perfect reconstruction counts as 100 dB."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges reconstructions by one attacker.

    Attributes:
        mean: `[*image_shape]`, the mean of the attacker's images.
        held: `[m, *image_shape]`, held-out auxiliary images.
        practice: `[m, *image_shape]`, the attacker's reconstructions of them.
        prior: `[*image_shape]`, the mean of images from the targets' distribution, which figures are measured against.
            Measured against its own mean, an attacker with odd images would look strong.
        answers: of the undefended network; None where it gives no class scores.
        region: `[H, W]` in [0, 1], how much each pixel matters; None where that is not declared.
        sight: what that network sees in the targets; None where figures of it are not wanted.
    """

    mean: Tensor
    held: Tensor
    practice: Tensor
    prior: Tensor
    answers: Answers | None = None
    region: Tensor | None = None
    sight: Sight | None = None

    @property
    def trust(self) -> Tensor:
        """`[C]` (`[]` for flat inputs) in [0, 1]: the least-squares factor from reconstructions to images."""
        return least_squares(self.practice - self.mean, self.held - self.mean)

    def pulled(self, images: Tensor) -> Tensor:
        """mean + trust (images - mean), `[n, *image_shape]`."""
        return self.mean + by_channel(self.trust, images) * (images - self.mean)

    def index(self, originals: Tensor, images: Tensor, generator: torch.Generator) -> Interval:
        """1 - sum of squared errors after pulling / the mean image's, `[n, *image_shape]` twice; 0 if negative."""
        errors = squared_errors(self.pulled(images), originals)
        return bootstrap_ratio(errors, squared_errors(self.prior.expand_as(originals), originals), generator)

    def index_of(self, view: View, originals: Tensor, images: Tensor, generator: torch.Generator) -> Interval:
        """The index of what `view` shows of the images; the pull too is fitted on what it shows of held-out ones."""
        mean, prior = (view(image[None])[0] for image in (self.mean, self.prior))
        seen = replace(self, mean=mean, prior=prior, held=view(self.held), practice=view(self.practice))
        return seen.index(view(originals), view(images), generator)

    def within_class(self, originals: Tensor, images: Tensor, generator: torch.Generator) -> Interval | None:
        """1 - sum of squared errors / that of the mean images of the originals' classes; 0 if negative.

        An attacker who has the label pulls towards the class's mean, or towards the mean of all: the better counts.
        """
        if self.answers is None:
            return None
        means = of_classes(self.answers.means, self.answers.targets[: len(originals)], self.mean)
        known = of_classes(self.answers.means, self.answers.held[: len(self.held)], self.mean)
        trust = least_squares(self.practice - known, self.held - known)
        prior = squared_errors(means, originals)
        pulls = (self.pulled(images), means + by_channel(trust, images) * (images - means))
        errors = min((squared_errors(pull, originals) for pull in pulls), key=lambda each: float(each.sum()))
        return bootstrap_ratio(errors, prior, generator)

    def pushed(self, images: Tensor, score: Callable[[Tensor, Tensor], float]) -> Tensor:
        """mean + push (images - mean) in [0, 1], `[n, *image_shape]`, with the push that scores best in practice.

        Args:
            images: `[n, *image_shape]`.
            score: of reconstructions and the held-out images behind them, `[m, *image_shape]` each; higher is better.
                Of equals the smallest push is taken.
        """

        def by(push: float, images: Tensor) -> Tensor:
            return images if push == 1 else (self.mean + push * (images - self.mean)).clamp(0, 1)

        return by(max(PUSHES, key=lambda push: score(by(push, self.practice), self.held)), images)

    def figures(
        self, originals: Tensor, images: Tensor, gallery: Tensor, *, generator: torch.Generator
    ) -> AttackFigures:
        """All figures of a reconstruction.

        Args:
            originals: `[n, *image_shape]`.
            images: `[n, *image_shape]`, their reconstructions.
            gallery: `[g, *image_shape]`; it begins with the originals.
            generator: of bootstraps; on the CPU.
        """
        errors = squared_errors(images, originals)
        found = _greater(*(reidentified(made, gallery) for made in (images, self.pushed(images, mean_reciprocal_rank))))
        similar = ssim(images, originals)
        rate, prior_rate = None, 0.0
        alike: tuple[float, ...] = ()
        shown: tuple[float, ...] = ()
        if similar is not None:
            prior_rate = float(recognised(self.prior.expand_as(originals), originals, gallery).mean())
            pushed = self.pushed(images, _recognised_share)
            ways: list[tuple[Tensor, Tensor | None]] = [(images, similar)]
            if pushed is not images:
                ways.append((pushed, ssim(pushed, originals)))
            alike, shown = curves(ways, gallery)
            rate = excess_interval(shown[THRESHOLDS.index(RECOGNISED_SSIM)], prior_rate, len(originals))
        index = self.index(originals, images, generator)
        psnr = None if originals.ndim < 4 else bootstrap(psnr_db(errors), generator)
        own_ssim = None if similar is None else bootstrap(similar, generator)
        several = ms_ssim(images, originals)
        seen = None if self.sight is None else self.sight.look(images)
        return AttackFigures(
            index=index,
            within_class=self.within_class(originals, images, generator),
            region=self._region(originals, images, generator),
            bands=self._bands(originals, images, generator),
            consistency=self._consistency(seen),
            mse=float(errors.mean()),
            psnr_db=psnr,
            ssim=own_ssim,
            ssim_curve=alike,
            ms_ssim=None if several is None else bootstrap(several, generator),
            ms_ssim_scales=0 if several is None else scales(originals),
            features=self._features(seen, generator),
            reconstruction_curve=shown,
            reidentification=share_interval(float(found.mean()), len(found)),
            reconstruction_rate=rate,
            prior_rate=prior_rate,
            target_count=len(originals),
            gallery_count=len(gallery),
        )

    def _consistency(self, seen: Look | None) -> Interval | None:
        """The share of answers that are kept."""
        same = None if self.sight is None or seen is None else self.sight.kept(seen)
        return None if same is None else share_interval(float(same.mean()), len(same))

    def _features(self, seen: Look | None, generator: torch.Generator) -> Interval | None:
        """1 - sum of distances in features / the mean image's; 0 if negative."""
        apart = None if self.sight is None or seen is None else self.sight.apart(seen)
        return None if apart is None else bootstrap_ratio(*apart, generator)

    def _region(self, originals: Tensor, images: Tensor, generator: torch.Generator) -> Interval | None:
        if self.region is None or originals.ndim != 4:
            return None
        return self.index_of(within(self.region), originals, images, generator)

    def _bands(self, originals: Tensor, images: Tensor, generator: torch.Generator) -> tuple[Interval, ...]:
        if originals.ndim != 4 or min(originals.shape[2:]) < SMALLEST:
            return ()
        views = (band(at, *originals.shape[2:]) for at in range(len(BANDS)))
        return tuple(self.index_of(view, originals, images, generator) for view in views)


def least_squares(guess: Tensor, truth: Tensor) -> Tensor:
    """`[n, C, ...]` twice -> `[C]` (`[]` for flat inputs) in [0, 1]: the factor that brings `guess` nearest `truth`."""
    over = [0, *range(2, truth.ndim)] if truth.ndim > 2 else [0, 1]
    size = guess.square().sum(dim=over)
    return torch.where(size > 0, (guess * truth).sum(dim=over) / size, torch.zeros_like(size)).clamp(0, 1)


def by_channel(factors: Tensor, images: Tensor) -> Tensor:
    """Factors `[C]` in a shape that multiplies `images` `[n, C, ...]`; `[]` as they are."""
    return factors.reshape(-1, *[1] * (images.ndim - 2)) if images.ndim > 2 else factors


def curves(
    ways: Sequence[tuple[Tensor, Tensor | None]], gallery: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shares of images with an SSIM of at least each of `THRESHOLDS`, and of those that are re-identified too.

    Args:
        ways: reconstructions `[n, C, H, W]` that an attacker may hand in, each with its SSIM `[n]`; at each threshold
            the best counts.
        gallery: `[g, C, H, W]`; it begins with the originals.
    """
    alike, shown = [], []
    for images, similar in ways:
        assert similar is not None
        found = reidentified(images, gallery)
        alike.append([float((similar >= least).double().mean()) for least in THRESHOLDS])
        shown.append([float((found * (similar >= least)).mean()) for least in THRESHOLDS])
    return tuple(map(max, zip(*alike, strict=True))), tuple(map(max, zip(*shown, strict=True)))


def squared_errors(images: Tensor, originals: Tensor) -> Tensor:
    """`[n, ...]` twice -> `[n]` float64: mean squared error per image."""
    return (images.double() - originals.double()).square().flatten(1).mean(dim=1)


def psnr_db(errors: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per image in dB, of mean squared errors `[n]` on [0, 1]: the peak is 1."""
    return -10 * errors.clamp(min=LEAST_ERROR).log10()


def reidentified(images: Tensor, gallery: Tensor) -> Tensor:
    """`[n, ...]`, `[g, ...]` -> `[n]` float64: 1 where the i-th of the gallery is nearest to the i-th image.

    1 / k if k of the gallery are equally near, the i-th among them.
    """
    nearer, tied = _ranked(images, gallery)
    return (nearer == 0).double() / tied


def mean_reciprocal_rank(images: Tensor, gallery: Tensor) -> float:
    """The mean of 1 / rank of the i-th of the gallery `[g, ...]` by its distance to the i-th image `[n, ...]`.

    It tells reconstructions apart that re-identify equally many. Ties share their ranks.
    """
    nearer, tied = _ranked(images, gallery)
    return float((1 / (nearer + (tied + 1) / 2)).mean())


def recognised(images: Tensor, originals: Tensor, gallery: Tensor) -> Tensor:
    """`[n]` float64: `reidentified` where the SSIM is at least 0.3, else 0; for images with an SSIM alone."""
    similar = ssim(images, originals)
    assert similar is not None
    return reidentified(images, gallery) * (similar >= RECOGNISED_SSIM)


def _recognised_share(images: Tensor, originals: Tensor) -> float:
    return float(recognised(images, originals, originals).mean())


def _greater(as_made: Tensor, pushed: Tensor) -> Tensor:
    """The one with the greater mean: an attacker may hand in either."""
    return max(as_made, pushed, key=lambda found: float(found.mean()))


def _ranked(images: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the gallery are nearer to the i-th image than its i-th, and how many as near, itself among them."""
    centre = gallery.double().flatten(1).mean(dim=0)
    own, all_of_them = images.double().flatten(1) - centre, gallery.double().flatten(1) - centre
    norms = all_of_them.square().sum(dim=1)
    distances = own.square().sum(dim=1)[:, None] + norms[None, :] - 2 * own @ all_of_them.T
    at, same = torch.arange(len(images)), SAME * float(norms.max())
    beyond = distances - distances[at, at][:, None]
    return (beyond < -same).sum(dim=1).double(), (beyond.abs() <= same).sum(dim=1).double()


def bootstrap(values: Tensor, generator: torch.Generator) -> Interval:
    """The mean of `values` `[n]` with its 95 % percentile interval over images; the generator draws resamples."""
    return _interval(float(values.mean()), _resampled(values.double(), generator))


def bootstrap_ratio(errors: Tensor, prior: Tensor, generator: torch.Generator) -> Interval:
    """max(0, 1 - sum errors / sum prior) over images `[n]`, with its 95 % interval; 0 if the prior makes no error."""
    if float(prior.sum()) == 0:
        return Interval(value=0.0, low=0.0, high=0.0)
    counts = _counts(len(errors), generator)
    return _interval(
        max(0.0, 1 - float(errors.sum() / prior.sum())), (1 - (counts @ errors) / (counts @ prior)).clamp(min=0)
    )


def _resampled(values: Tensor, generator: torch.Generator) -> Tensor:
    return _counts(len(values), generator) @ values / len(values)


def _counts(count: int, generator: torch.Generator) -> Tensor:
    """`[RESAMPLES, count]` float64: how often each image is in each resample."""
    drawn = torch.randint(0, count, (RESAMPLES, count), generator=generator)
    ones = torch.ones(RESAMPLES, count, dtype=torch.float64)
    return torch.zeros(RESAMPLES, count, dtype=torch.float64).scatter_add_(1, drawn, ones)


def _interval(value: float, resampled: Tensor) -> Interval:
    low, high = (float(end) for end in torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=torch.float64)))
    return Interval(value=value, low=min(low, value), high=max(high, value))
