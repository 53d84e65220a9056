"""The covariance of what a reconstruction misses, from few images of many pixels.

    S = a D + (1 - a) R'R / m

R are the residuals of m images, D their variances. The share a of the diagonal is the one under which other images'
residuals are the most likely: shrinkage as by Ledoit & Wolf (Journal of Multivariate Analysis, 2004), chosen by trial.
S is never formed: with x = S^(1/2) z, any number of pixels will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Of the diagonal, to choose from."""

LEAST_VARIANCE = 1e-3
"""A pixel's least variance, as a share of the mean one: what few images never showed is not impossible."""


@dataclass(frozen=True, eq=False)
class ResidualLaw:
    """A Gaussian of residuals around 0.

    Attributes:
        deviations: `[pixels]`, of the diagonal part.
        directions: `[m, pixels]`, of the other part.
    """

    deviations: Tensor
    directions: Tensor

    @classmethod
    def of(cls, residuals: Tensor, others: Tensor, shares: Sequence[float] = SHARES) -> ResidualLaw:
        """The law of `residuals` `[m, *shape]` under which `others` `[k, *shape]` are the most likely."""
        flat, judged = residuals.flatten(1), others.flatten(1)
        variances = flat.square().mean(dim=0)
        variances = variances.clamp(min=max(LEAST_VARIANCE * float(variances.mean()), torch.finfo(flat.dtype).tiny))

        def law(share: float) -> ResidualLaw:
            return cls((share * variances).sqrt(), flat * math.sqrt((1 - share) / len(flat)))

        return max((law(share) for share in shares), key=lambda each: each.log_likelihood(judged))

    @property
    def size(self) -> int:
        """Numbers that describe one residual."""
        return len(self.deviations) + len(self.directions)

    def residual(self, numbers: Tensor) -> Tensor:
        """S^(1/2) z of `[n, size]` -> `[n, pixels]`. Of all z with one residual r, the least |z|^2 is r' S^-1 r."""
        own, shared = numbers[:, : len(self.deviations)], numbers[:, len(self.deviations) :]
        return own * self.deviations + shared @ self.directions

    def log_likelihood(self, residuals: Tensor) -> float:
        """Mean over `[k, pixels]`, less a constant. Woodbury's identity: matrices are `[m, m]` at most."""
        rows = (self.directions / self.deviations).double()
        given = (residuals / self.deviations).double()
        factor = torch.linalg.cholesky(torch.eye(len(rows)).to(rows) + rows @ rows.T)
        explained = torch.linalg.solve_triangular(factor, rows @ given.T, upper=False).square().sum(dim=0)
        distance = float((given.square().sum(dim=1) - explained).mean())
        volume = 2 * float(self.deviations.double().log().sum() + factor.diagonal().log().sum())
        return -(distance + volume) / 2

    def to(self, device: torch.device) -> ResidualLaw:
        """The same on `device`."""
        return ResidualLaw(self.deviations.to(device), self.directions.to(device))
