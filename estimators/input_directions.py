"""The directions in which private inputs vary, and how far: the prior of attackers who invert the edge half.

With few samples nobody knows the covariance of the inputs, so there are two priors, and what leaks more counts:

- *shrunk*: (1 - a) S + a m I with S the sample covariance, m its mean eigenvalue and a the shrinkage of Ledoit & Wolf
  ("A well-conditioned estimator for large-dimensional covariance matrices", 2004). Inputs without structure get the
  spectrum of white noise, whatever the number of samples;
- *empirical*: S as it is. An attacker with this prior knows that the inputs lie in the span of the samples.

A Jacobian is only computed along some directions: the leading principal components of the samples, and random ones of
the rest, which stand for all of it. Up to `DIRECTIONS` numbers nothing is left out. Where even these are too many
(`limited`), components that are left out are taken to be known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..graph import TracedGraph
from ..records import CollabplanError
from ..targets.data import Data, InputScaling
from .logdet import ledoit_wolf
from .secrets import private_numbers

DIRECTIONS = 256
"""The most directions of an input that are followed."""

REST = 4
"""One direction in REST is a random one where the leading components are not all."""

SPECTRUM_SAMPLES = 1000
"""The most samples that the covariance is estimated from."""


@dataclass(frozen=True, eq=False)
class Prior:
    """A Gaussian prior, as far as the followed directions see it.

    Attributes:
        name: *shrunk* or *empirical*.
        variances: `[r]` float64, along each direction.
        weights: `[r]` float64, the share of the input's whole variance that each direction stands for; with `known`,
            their sum is 1.
        shares: `[d]` float64, cumulative: the greatest share of the variance that k dimensions can hold, at k - 1.
        known: the share that no followed direction stands for, and that the attacker is taken to know.
    """

    name: str
    variances: Tensor
    weights: Tensor
    shares: Tensor
    known: float = 0.0

    def most_in(self, dimensions: float) -> float:
        """The greatest share of the variance that so many numbers can tell."""
        whole = min(math.ceil(dimensions), len(self.shares))
        return float(self.shares[whole - 1]) if whole > 0 else 0.0


@dataclass(frozen=True, eq=False)
class InputDirections:
    """Orthonormal directions of one private input, in pixels.

    Attributes:
        position: of the input among the model's.
        basis: `[r, d]` float32.
        leading: how many of them are principal components; the others are random and stand for the rest.
        priors: of the same directions: *shrunk*, then *empirical*.
    """

    position: int
    basis: Tensor
    leading: int
    priors: tuple[Prior, ...]

    @classmethod
    def of(cls, pixels: Tensor, position: int, limit: int, generator: torch.Generator) -> InputDirections:
        """From samples.

        Args:
            pixels: `[N, d]` in [0, 1]; at least two samples differ.
            position: of the input.
            limit: the most directions.
            generator: draws the directions that stand for the rest.
        """
        rows = pixels[:SPECTRUM_SAMPLES].double()
        rows = rows - rows.mean(dim=0)
        count, width = rows.shape
        gram = rows @ rows.T
        shrinkage, mean = ledoit_wolf(gram, width)
        if width <= count:
            values, vectors = torch.linalg.eigh(rows.T @ rows / count)
            components = vectors.T
        else:
            values, vectors = torch.linalg.eigh(gram / count)
            kept = values > 1e-10 * values[-1]
            values = values[kept]
            components = (vectors[:, kept] / (values * count).sqrt()).T @ rows
        values, components = values.flip(0).clamp(min=0), components.flip(0)
        complete = len(values) == width <= limit
        leading = width if complete else min(len(values), limit - limit // REST)
        basis = components[:leading]
        others = min(limit, width) - leading
        if others:
            drawn = torch.randn(others, len(rows), generator=generator, dtype=torch.float64) @ rows / count**0.5
            white = torch.randn(others, width, generator=generator, dtype=torch.float64)
            drawn = drawn * (1 - shrinkage) ** 0.5 + white * (shrinkage * mean) ** 0.5
            for _ in range(2):  # twice is enough: Kahan and Parlett
                drawn = drawn - (drawn @ basis.T) @ basis
                drawn = torch.linalg.qr(drawn.T).Q.T
            basis = torch.cat([basis, drawn])
        return cls(
            position,
            basis.float(),
            leading,
            tuple(
                _prior(name, share, mean, values, (rows @ basis.T).square().mean(dim=0), leading, width)
                for name, share in (("shrunk", shrinkage), ("empirical", 0.0))
            ),
        )

    def limited(self, limit: int) -> InputDirections:
        """At most `limit` of the directions, and two at least.

        Principal components that are left out count as known to the attacker: the index is then higher, never lower.
        """
        others = len(self.basis) - self.leading
        if len(self.basis) <= limit:
            return self
        others = min(others, max(limit // REST, 1))
        leading = min(self.leading, max(limit - others, 1))
        kept = torch.cat([torch.arange(leading), torch.arange(self.leading, self.leading + others)])
        priors = []
        for prior in self.priors:
            weights = prior.weights[kept]
            known = prior.known + float(prior.weights[leading : self.leading].sum())
            weights[leading:] = prior.weights[self.leading :].sum() / max(others, 1)
            priors.append(replace(prior, variances=prior.variances[kept], weights=weights, known=known))
        return InputDirections(self.position, self.basis[kept], leading, tuple(priors))


def _prior(name: str, shrinkage: float, mean: float, values: Tensor, along: Tensor, leading: int, width: int) -> Prior:
    """A prior of the sample spectrum `values`, with the variances `along` the directions, of which some are leading."""
    spectrum = torch.zeros(width, dtype=torch.float64)
    spectrum[: len(values)] = (1 - shrinkage) * values
    spectrum += shrinkage * mean
    variances = (1 - shrinkage) * along + shrinkage * mean
    weights = variances.clone()
    rest = float(spectrum[leading:].sum())
    if leading < len(weights):
        weights[leading:] = rest / (len(weights) - leading)
    total = float(spectrum.sum())
    return Prior(name, variances, weights / total, spectrum.cumsum(0) / total)


def input_directions(
    data: Data, traced: TracedGraph, scaling: InputScaling, *, generator: torch.Generator
) -> tuple[InputDirections, ...]:
    """The directions of every private input that has a derivative; several share `DIRECTIONS` among them.

    Args:
        data: N samples.
        traced: the model.
        scaling: between pixels in [0, 1] and what the model reads.
        generator: draws the directions that stand for the rest.

    Raises:
        CollabplanError: no private input is a number, or one is an integer and has no derivative.
    """
    numbers = private_numbers(data, traced, scaling)
    varying = {at: rows for at, rows in numbers.items() if bool((rows != rows[:1]).any())}
    if not varying:
        raise CollabplanError("no private input is a number that varies")
    for position in varying:
        if not data.inputs[position].is_floating_point():
            spec = traced.tensor_inputs[position]
            raise CollabplanError(f"input {spec.name!r} is {spec.dtype} and has no derivative")
    limit = max(DIRECTIONS // len(varying), 1)
    return tuple(InputDirections.of(rows, at, limit, generator) for at, rows in sorted(varying.items()))


def joint(directions: Sequence[InputDirections]) -> int:
    """How many directions there are over all inputs."""
    return sum(len(each.basis) for each in directions)
