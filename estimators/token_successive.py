"""Tokens of a mixture one after the other: each decided token tells the error of the rows that share it.

Unmixing rows spreads the error of one number over several tokens (a difference of a running sum has the errors of two).
The surest token is decided first. What its row then misses is the error itself, and the other rows are corrected by the
share that they are expected to have in it. In the end each token is decided again given all others (successive
interference cancellation, then coordinate ascent of the likelihood).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .token_attackers import nearest

ROUNDS = 3
"""The most times that each token is decided again."""


def successive(seen: Tensor, references: Tensor, covariance: Tensor, log_prior: Tensor) -> Tensor:
    """Indices of references `[n, P]`.

    Args:
        seen: `[n, P, F]`.
        references: `[C, P, F]`.
        covariance: `[P, P]` of the errors of the rows, the same for each of the features; positive definite.
        log_prior: `[P, C]`.
    """
    count, places, _ = seen.shape
    answers = torch.zeros(count, places, dtype=torch.long)
    left, corrected, missed = covariance.double(), seen.clone(), torch.zeros_like(seen)

    def decide(at: int, expected: Tensor, variance: float) -> None:
        scale = variance**-0.5
        answers[:, at] = nearest(expected * scale, None, references[:, at] * scale, log_prior[at])

    open_ones = torch.ones(places, dtype=torch.bool)
    for _ in range(places):
        at = int(torch.where(open_ones, left.diagonal(), torch.inf).argmin())
        open_ones[at] = False
        decide(at, corrected[:, at], float(left[at, at]))
        shared = (left[:, at] / left[at, at]) * open_ones
        corrected -= shared.float()[None, :, None] * (corrected[:, at] - references[answers[:, at], at])[:, None]
        left = left - torch.outer(left[:, at], left[at]) / left[at, at]
        left.diagonal().clamp_(min=1e-12 * float(covariance.diagonal().mean()))
    precision = torch.linalg.inv(covariance.double())
    for at in range(places):
        missed[:, at] = seen[:, at] - references[answers[:, at], at]
    for _ in range(ROUNDS):
        before = answers.clone()
        for at in range(places):
            weights = -precision[at] / precision[at, at]
            weights[at] = 0
            decide(at, seen[:, at] - torch.einsum("p,npf->nf", weights.float(), missed), float(1 / precision[at, at]))
            missed[:, at] = seen[:, at] - references[answers[:, at], at]
        if torch.equal(before, answers):
            break
    return answers
