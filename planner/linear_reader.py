"""How much of the private inputs a linear attacker reads out of codes: a share that directions can be trained against.

Of codes z (centred, variance 1) and private inputs x the share is R^2 = tr(C_xz (C_zz + RIDGE)^-1 C_zx) / tr(C_xx):
what the best linear reconstruction recovers of the inputs' variance. Hiding from the best linear reader in closed form,
and not from an adversary's network that is trained beside, follows Sadeghi, Yu & Boddeti (On the Global Optima of
Kernelized Adversarial Representation Learning, ICCV 2019). A reader that is not linear reads more: what such directions
hide is for audits to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 0.03
"""Added to the variance of every code, which is 1: without it a few samples would seem to tell everything."""

MEMORY = 0.9
"""Weight of the earlier batches in the running moments."""

CONSTANT = 1e-12
"""Inputs of less variance never change, and nothing is read of them."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of codes `[k, k]`, and of codes with inputs `[k, d]`."""

    codes: Tensor
    cross: Tensor

    @classmethod
    def of(cls, codes: Tensor, inputs: Tensor) -> Moments:
        """From codes `[n, k]` and centred inputs `[n, d]`."""
        return cls(codes.T @ codes / len(codes), codes.T @ inputs / len(codes))

    def mixed(self, other: Moments, share: float) -> Moments:
        """These, with `share` of the other ones."""
        return Moments((1 - share) * self.codes + share * other.codes, (1 - share) * self.cross + share * other.cross)

    def explained(self) -> Tensor:
        """Variance of the inputs that is explained: a scalar."""
        penalised = self.codes + RIDGE * torch.eye(len(self.codes)).to(self.codes)
        explained: Tensor = (torch.linalg.solve(penalised, self.cross) * self.cross).sum()
        return explained


class LinearReader:
    """Reads codes of one training set; keeps running moments from batch to batch."""

    def __init__(self, inputs: Iterable[Sequence[Tensor]]) -> None:
        """
        Args:
            inputs: batches of the private inputs, each `[n, d_i]`. Every one of them counts alike, whatever its unit.
        """
        count = 0
        sums: list[Tensor] = []
        squares: list[Tensor] = []
        for batch in inputs:
            count += len(batch[0])
            for at, each in enumerate(batch):
                if at == len(sums):
                    sums.append(torch.zeros(each.shape[1], dtype=torch.float64))
                    squares.append(torch.zeros((), dtype=torch.float64))
                sums[at] += each.sum(dim=0, dtype=torch.float64)
                squares[at] += each.double().square().sum()
        self._means = [total / count for total in sums]
        self._variances = [
            (total / count - mean.square().sum()).clamp(min=CONSTANT)
            for total, mean in zip(squares, self._means, strict=True)
        ]
        self._running: Moments | None = None

    def _centred(self, inputs: Sequence[Tensor]) -> Tensor:
        """`[n, d]`, of total variance 1."""
        scale = len(inputs) ** 0.5
        parts = [
            (each - mean.to(each)) / (variance.sqrt().to(each) * scale)
            for each, mean, variance in zip(inputs, self._means, self._variances, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def read(self, codes: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """The share that is read, by the moments of this batch and of those before: a scalar with gradients.

        Gradients flow through this batch alone, and weigh as if they flowed through all that is remembered.

        Args:
            codes: `[n, k]`, centred, of variance about 1.
            inputs: the same samples' private inputs.
        """
        batch = Moments.of(codes, self._centred(inputs))
        if self._running is None:
            self._running = Moments(torch.eye(codes.shape[1]).to(codes), torch.zeros_like(batch.cross))
        mixed = self._running.mixed(batch, 1 - MEMORY)
        self._running = Moments(mixed.codes.detach(), mixed.cross.detach())
        share = mixed.explained()
        return share.detach() + (share - share.detach()) / (1 - MEMORY)

    @torch.no_grad()
    def share(self, batches: Iterable[tuple[Tensor, Sequence[Tensor]]]) -> float:
        """The share that is read of all these together: pairs of codes and private inputs, as `read` takes them."""
        total, count = None, 0
        for codes, inputs in batches:
            found = Moments.of(codes, self._centred(inputs))
            count += len(codes)
            total = found if total is None else total.mixed(found, len(codes) / count)
        return 0.0 if total is None else float(total.explained())
