"""What algebra shows: how well the edge half can be inverted around a sample, under the actual defense.

Around x_k the release is t = M (h(x_k) + J (x - x_k)) + n, with J the Jacobian, M the mask and n the noise floor of
standard deviation s. Under a Gaussian prior of covariance C the best reconstruction of x leaves the covariance

    (C^-1 + J' M J / s^2)^-1        (Rasmussen & Williams, *Gaussian Processes*, eq. 2.8)

and the index is 1 - its trace / tr C. It needs no regression and therefore no samples: 80 of them suffice to see that
a layer is invertible. What is not computed is counted as known to the attacker, never as private:

- of wide inputs, and of large networks, only some directions are followed, the others being known
  (`input_directions.py`);
- no more is told than the numbers that survive can hold: that share of the variance is a ceiling;
- the attacker knows the mask, and which prior leaks more (`high`);
- `high` is that of `MANY` releases, as audits try them: noise averages out, and what one mask drops another shows.

What it does not mean: the attacker has to come near x_k first, which is hard behind many layers, so the figure is an
upper one there. Bounds that pixels keep (0 and 1), images that are no Gaussian, and what a ReLU that is off tells
about its input's sign are not counted: attackers gain a little by them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..defenses.interface import CustomStage
from ..defenses.pipeline import Defense
from ..defenses.randomness import Simulated
from ..defenses.seeds import generator_for
from ..defenses.transforms import Transforms
from ..graph.batch_size import out_of_memory
from ..records import CollabplanError
from ..records.revisions import Part
from .gram import drawn_thresholds, dropped
from .jacobian import EdgeJacobian
from .t_interval import t_half_width

INVERSION = Part("local-inversion", 3)
"""Raise its revision whenever the same edge half gives another index, the modules that it is computed by included."""

MANY = 10
"""Releases of one input, or of near-duplicates, that an attacker with repeated queries has."""

HARDLY_LOST = 0.05
"""Numbers that many releases lose with a smaller probability count as seen."""

CHUNK = 4096
"""Numbers that cross per matrix product."""


@dataclass(frozen=True, slots=True)
class InversionIndex:
    """What local inversion reconstructs.

    Attributes:
        value: of one release, under the shrunk prior, averaged over samples.
        high: of many releases, the upper 95 % end over samples, under the prior that leaks more.
    """

    value: float
    high: float


class LocalInversion:
    """The local inversion of what one cut releases, for every defense of the same transforms."""

    def __init__(self, jacobian: EdgeJacobian, transforms: Transforms, rates: Sequence[float], seed: int) -> None:
        """
        Args:
            jacobian: of the cut.
            transforms: what the defense does before dropout, over the cut's private crossings.
            rates: dropout rates that will be asked for: together they cost little more than one.
            seed: of the masks.

        Raises:
            CollabplanError: a custom stage without a derivative.
        """
        for stage in transforms.stages:
            if isinstance(stage, CustomStage) and (stage.random or not stage.differentiable):
                raise CollabplanError(f"stage {stage.name} has no derivative")
        self.directions = jacobian.directions
        self._slopes = [_through(transforms, *each) for each in zip(jacobian.points, jacobian.slopes, strict=True)]
        self._rates, self._seed = {0.0, *rates, *(lost_by_all(rate, MANY) for rate in rates)}, seed
        self._grams: dict[tuple[str, float], list[list[Tensor]]] = {}

    def index(self, defense: Defense) -> InversionIndex:
        """The index of the private input that is reconstructed best.

        Args:
            defense: what follows the transforms, calibrated: a `Defense.private`.
        """
        one = self._found(defense, 1)
        many = self._found(defense, MANY) if defense.randomizes else one
        values, count = one.mean(dim=1), many.shape[1]
        halves = many.std(dim=1) if count > 1 else torch.zeros_like(values)
        highs = (many.mean(dim=1) + t_half_width(1.0, count) * halves).clamp(max=1.0)
        return InversionIndex(float(values[0].max()), float(highs.max()))

    def _found(self, defense: Defense, releases: int) -> Tensor:
        """`[priors, samples, inputs]`: the index from so many releases under independent masks and noise."""
        rate = lost_by_all(defense.rate, releases)
        survivors = sum(
            crossing.sample_elements * (1 - rate if defense.drops(crossing) else 1.0) for crossing in defense.crossing
        )
        rounds = defense.record.rounds_randomly
        seen = [
            releases if defense.noises(crossing) or (rounds and crossing.is_quantized) else 1
            for crossing in defense.crossing
        ]
        weights = [count / std**2 for count, std in zip(seen, defense.floor.stds, strict=True)]
        information = [
            sum((gram * weight for gram, weight in zip(grams, weights, strict=True)), torch.zeros(()))
            for grams in self._surviving(defense, rate)
        ]
        names = range(len(self.directions[0].priors))
        return torch.tensor([[self._indices(each, name, survivors) for each in information] for name in names])

    def _indices(self, information: Tensor, number: int, survivors: float) -> list[float]:
        """Of one sample under one prior, the index of every private input, from J' M J / s^2 `[r, r]`."""
        priors = [each.priors[number] for each in self.directions]
        told = _told(information, torch.cat([prior.variances for prior in priors]))
        parts = torch.split(told, [len(prior.weights) for prior in priors])
        return [
            min(prior.known + float(prior.weights @ part), prior.most_in(survivors))
            for prior, part in zip(priors, parts, strict=True)
        ]

    def _surviving(self, defense: Defense, rate: float) -> list[list[Tensor]]:
        """Per sample and crossing `[r, r]` float64: J' M J at a rate. Masks are nested: greater rates drop more."""
        dropout = defense.record.dropout
        kind = "none" if dropout is None else dropout.granularity
        if (kind, rate) not in self._grams:
            rates = sorted({*self._rates, rate} if dropout is not None else {0.0}, reverse=True)
            found: dict[tuple[str, float], list[list[Tensor]]] = {(kind, each): [] for each in rates}
            for sample, slopes in enumerate(self._slopes):
                source = generator_for(self._seed, "inversion", kind, sample)
                grown = [
                    list(_nested(slope, defense, position, rates, source)) for position, slope in enumerate(slopes)
                ]
                for each, grams in zip(rates, zip(*grown, strict=True), strict=True):
                    found[kind, each].append(list(grams))
            self._grams |= found
        return self._grams[kind, rate]


def lost_by_all(rate: float, releases: int) -> float:
    """The share of the numbers that none of several releases under independent masks shows.

    Examples:
        >>> lost_by_all(0.5, 1), lost_by_all(0.5, 10), round(lost_by_all(0.9, 10), 3)
        (0.5, 0.0, 0.349)
    """
    lost = rate**releases
    return lost if releases == 1 or lost >= HARDLY_LOST else 0.0


def _nested(
    slopes: Tensor, defense: Defense, position: int, rates: Sequence[float], source: torch.Generator
) -> Iterator[Tensor]:
    """J' M J `[r, r]` of one crossing at each of the descending `rates`, from `slopes` `[r, *sample_shape]`."""
    by_channel = defense.dropout is not None and defense.dropout.by_channel
    thresholds = drawn_thresholds(by_channel, tuple(slopes.shape[1:]), source)
    if not dropped(defense)[position]:
        thresholds = torch.full_like(thresholds, math.inf)
    flat = slopes.flatten(1)
    total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    above = math.inf
    for rate in rates:
        chosen = (thresholds >= rate) & ((thresholds < above) | (above == math.inf))
        for indices in torch.split(chosen.nonzero()[:, 0], CHUNK):
            part = flat[:, indices].double()
            total.addmm_(part, part.T)
        above = rate
        yield total.clone()


def _told(information: Tensor, variances: Tensor) -> Tensor:
    """`[r]`: the share of the variance along each direction that the release tells; others are unknown as well."""
    spread = variances.sqrt()
    gram = information * spread[:, None] * spread[None, :]
    gram.diagonal().add_(1.0)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed):  # rounding of what is known exactly
        values, vectors = torch.linalg.eigh(gram)
        told: Tensor = 1 - vectors.square() @ (1 / values.clamp(min=1.0))
        return told
    return (1 - torch.cholesky_inverse(factor).diagonal()).clamp(0.0, 1.0)


def _through(transforms: Transforms, rows: Sequence[Tensor], slopes: Sequence[Tensor]) -> list[Tensor]:
    """Derivatives of the codes `[r, *code_shape]`, from what crosses `[1, ...]` and its derivatives `[r, ...]`."""
    if not transforms.stages:
        return list(slopes)
    source = Simulated(torch.Generator().manual_seed(0))  # nothing is drawn
    try:
        with torch.no_grad(), forward_ad.dual_level():
            duals = [
                forward_ad.make_dual(row.expand_as(slope).contiguous(), slope)  # type: ignore[no-untyped-call]
                for row, slope in zip(rows, slopes, strict=True)
            ]
            pairs = [forward_ad.unpack_dual(code) for code in transforms.apply_rows(duals, source)]  # type: ignore[no-untyped-call]
            return [torch.zeros_like(code) if slope is None else slope for code, slope in pairs]
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise CollabplanError("a stage of the defense has no forward derivative") from error
