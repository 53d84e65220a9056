"""KSG: mutual information from nearest neighbours, for a few dimensions.

Kraskov, Stoegbauer & Grassberger, "Estimating mutual information" (Phys. Rev. E 69, 2004), algorithm 1, eq. 8:

    I = psi(k) + psi(N) - < psi(n_x + 1) + psi(n_t + 1) >

where n_x and n_t count the neighbours that are closer on one side than the k-th is on both (maximum norm). In more than
a few dimensions it falls far below the truth (0.2 of 1.02 nats in 25 + 25), so more are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Tensor

from ..records import CollabplanError
from .interface import Channel, Estimate
from .kde import require_samples

NEIGHBOURS = 3
MOST_DIMENSIONS = 8

JITTER = 1e-8
"""Noise that breaks ties of discrete samples, relative to each coordinate's spread."""


def ksg_information(x: Tensor, t: Tensor, *, generator: torch.Generator, neighbours: int = NEIGHBOURS) -> float:
    """I(X; T) in nats; by chance it may be below 0.

    Args:
        x: `[N, dx]`.
        t: `[N, dt]`, the same samples.
        generator: breaks ties; on the CPU.
        neighbours: k.

    Raises:
        CollabplanError: more than 8 dimensions on a side, samples that do not pair or are too few, NaN or infinity.
    """
    if x.shape[0] != t.shape[0] or x.shape[0] <= neighbours:
        raise CollabplanError(
            f"KSG needs more than {neighbours} pairs, got {x.shape[0]} samples of X and {t.shape[0]} of T"
        )
    for side, values in (("X", x), ("T", t)):
        if values.shape[1] > MOST_DIMENSIONS:
            raise CollabplanError(
                f"KSG is for at most {MOST_DIMENSIONS} dimensions, {side} has {values.shape[1]}: it would fall far "
                "below the truth. Use the sandwich or the log-det"
            )
        if not bool(torch.isfinite(values).all()):
            raise CollabplanError(
                f"KSG got NaN or infinity among the samples of {side}; check the weights and the data"
            )
    left, right = (_prepared(values, generator) for values in (x, t))
    both = np.concatenate([left, right], axis=1)
    radius = cKDTree(both).query(both, k=neighbours + 1, p=np.inf)[0][:, -1]
    closer = np.nextafter(radius, 0)
    counts = [
        cKDTree(side).query_ball_point(side, closer, p=np.inf, return_length=True) for side in (left, right)
    ]  # each counts the sample itself: n + 1
    return float(digamma(neighbours) + digamma(len(both)) - np.mean(digamma(counts[0]) + digamma(counts[1])))


def _prepared(values: Tensor, generator: torch.Generator) -> np.ndarray:
    plain = values.double()
    spread = plain.std(dim=0).clamp(min=1e-300)
    plain = (plain - plain.mean(dim=0)) / spread
    return (plain + JITTER * torch.randn(plain.shape, generator=generator, dtype=torch.float64)).numpy()


@dataclass(frozen=True, slots=True)
class Ksg:
    """KSG on X and one released T of few dimensions each.

    Attributes:
        neighbours: k.
    """

    revision: ClassVar[int] = 1
    neighbours: int = NEIGHBOURS
    name: str = "ksg"

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:
        """The estimate. Raises CollabplanError if X or T has more than 8 dimensions, or samples are too few."""
        require_samples(channel, self.neighbours + 1)
        value = 0.0
        if bool(channel.distances.any()):
            released = channel.released(MOST_DIMENSIONS + 1, generator)
            value = ksg_information(channel.inputs, released, generator=generator, neighbours=self.neighbours)
        return Estimate(
            value=max(value, 0.0),
            lower=None,
            upper=None,
            meaning="surrogate",
            saturated=False,
            samples=len(channel),
            assumes="few dimensions, and a density that is smooth between neighbours",
        )
