"""What an estimator of mutual information is given, and what it returns.

A *channel* is the random map from the private input X to the released T. Ours is known: T = h(x) + noise of a chosen
size. Pairwise distances of the h(x) in units of that noise therefore describe T completely, up to its labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

Meaning = Literal["bound", "surrogate"]


@dataclass(frozen=True, eq=False)
class Channel:
    """N samples of T = h(X) + N(0, I), everything on T's side in units of the noise's standard deviation.

    Attributes:
        inputs: `[N, dx]` float64, the private inputs (their principal components, most variance first).
        distances: `[N, N]` float64, squared distances of the h(x); equal rows have exactly 0.
        features: numbers in one h(x), the dimension of T.
        real_noise: True if this noise is really added before T leaves the device. False if it stands for a
            deterministic quantizer: every figure is then a *surrogate*, whatever the formula.
    """

    inputs: Tensor
    distances: Tensor
    features: int
    real_noise: bool = True

    @classmethod
    def from_rows(cls, inputs: Tensor, rows: Tensor, noise_std: float, *, real_noise: bool = True) -> Channel:
        """The channel of activations under Gaussian noise.

        Args:
            inputs: `[N, ...]`.
            rows: `[N, d]`, the h(x).
            noise_std: of the noise, in the units of `rows`.
            real_noise: whether this noise is really added.
        """
        scaled = rows.double().reshape(rows.shape[0], -1) / noise_std
        centred = scaled - scaled.mean(dim=0)
        norms = centred.square().sum(dim=1)
        distances = (norms[:, None] + norms[None, :] - 2 * centred @ centred.T).clamp_(min=0)
        # Rounding leaves equal rows slightly apart.
        _, groups = torch.unique(scaled, dim=0, return_inverse=True)
        distances[groups[:, None] == groups[None, :]] = 0
        return cls(inputs.double().reshape(inputs.shape[0], -1), distances, scaled.shape[1], real_noise)

    def __len__(self) -> int:
        return self.distances.shape[0]

    def attenuated(self, keep: float) -> Channel:
        """The same channel with every squared distance multiplied by `keep`.

        This is element dropout of rate 1 - keep at the cut, in closed form, with a mask that the adversary sees. Mutual
        information is concave in the squared gains, so the result is never below the average over masks.
        """
        weaker = replace(self, distances=self.distances * keep)
        weaker.__dict__["gram"] = self.gram * keep  # what the cached property would compute, at a third of the cost
        return weaker

    def noisier(self, factor: float) -> Channel:
        """The same channel with its noise's standard deviation multiplied by `factor`."""
        return replace(self, distances=self.distances / factor**2)

    def take(self, indices: Tensor) -> Channel:
        """The samples at `indices` `[M]`."""
        return replace(self, inputs=self.inputs[indices], distances=self.distances[indices][:, indices])

    @cached_property
    def gram(self) -> Tensor:
        """`[N, N]` float64: inner products of the centred h(x), by double centring of the distances."""
        row = self.distances.mean(dim=1)
        return -0.5 * (self.distances - row[:, None] - row[None, :] + row.mean())

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues `[N]` (descending, none negative) and eigenvectors `[N, N]` of `gram`."""
        values, vectors = torch.linalg.eigh(self.gram)
        return values.clamp(min=0).flip(0), vectors.flip(1)

    def components(self, count: int) -> Tensor:
        """`[N, r]` float64 with r <= count: the h(x) in their leading principal components, without noise."""
        values, vectors = self.spectrum
        kept = min(count, int((values > 1e-12 * values[0].clamp(min=1e-300)).sum()))
        return vectors[:, :kept] * values[:kept].sqrt()

    def released(self, count: int, generator: torch.Generator) -> Tensor:
        """`[N, r]` float64: T in the same coordinates, with a fresh draw of the noise, which is standard normal."""
        clean = self.components(count)
        return clean + torch.randn(clean.shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of I(X; T), in nats.

    Attributes:
        value: the point estimate.
        lower: below the truth with 97.5 % confidence; None if the estimator has no such end.
        upper: above the truth with 97.5 % confidence; None if the estimator has no such end.
        meaning: `bound` if the ends hold for the true channel; `surrogate` if they do not (no real noise was added, or
            the formula is an approximation).
        saturated: the samples cannot resolve the value: rank nothing by it.
        samples: how many pairs it was computed from.
        assumes: the condition under which the ends hold, in one line.
        units: of all figures.
    """

    value: float
    lower: float | None
    upper: float | None
    meaning: Meaning
    saturated: bool
    samples: int
    assumes: str
    units: str = "nats"


class Estimator(Protocol):
    """Estimates I(X; T) of a channel. A constant T gives exactly 0. `check_estimator` tests an implementation."""

    @property
    def name(self) -> str:
        """Its name on the command line and in records."""

    @property
    def revision(self) -> int:
        """Of the class, raised by whoever changes what it computes. Results of another revision are not used."""

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:
        """The estimate.

        Args:
            channel: N samples.
            generator: of every random draw; on the CPU.

        Raises:
            CollabplanError: too few samples, or the estimator refuses what it found (unstable training).
        """
