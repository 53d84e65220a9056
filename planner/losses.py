"""Losses of fine-tuning, by how a model's outputs are read: from the undefended model's outputs, or from labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    log_softmax,
    mse_loss,
    softmax,
)

from ..records import CollabplanError
from .readings import Reading, tensors_of

TEMPERATURE = 2.0
"""Of distillation, on both sides."""

_NO_CLASS = -100
_NEAR_ONE = 1e-6


def distilled(reading: Reading | None, outputs: Any, wanted: Any) -> Tensor:
    """How far `outputs` are from those `wanted`, the undefended model's: a scalar.

    By probabilities of classes or decisions at `TEMPERATURE`; else by squared error in units of the variance.
    """
    if reading is not None and reading.kind == "classes":
        given, right = (reading.of(each).movedim(reading.axis, 1) / TEMPERATURE for each in (outputs, wanted))
        return kl_div(log_softmax(given, 1), softmax(right, 1), reduction="batchmean") * TEMPERATURE**2
    if reading is not None and reading.kind == "threshold":
        given, right = (_logits(reading, each) / TEMPERATURE for each in (outputs, wanted))
        return binary_cross_entropy_with_logits(given, torch.sigmoid(right)) * TEMPERATURE**2
    pairs = zip(_floats(outputs), _floats(wanted), strict=True)
    return torch.stack([mse_loss(a, b) / b.var(unbiased=False).clamp(min=1e-12) for a, b in pairs]).sum()


def supervised(reading: Reading | None, outputs: Any, labels: Tensor) -> Tensor:
    """Cross-entropy of `outputs` with labels `[N, ...]` over the positions that count: a scalar.

    Raises:
        CollabplanError: outputs that are no classes, or labels that are none of them.
    """
    if reading is None or reading.kind not in ("classes", "threshold"):
        raise CollabplanError("cross-entropy needs classes, and the outputs are none; fine-tune by distillation")
    right, counted = reading.targets(labels)
    if reading.kind == "threshold":
        given = _logits(reading, outputs)
        return binary_cross_entropy_with_logits(
            given, (right > 0).to(given.dtype).reshape(given.shape), counted.to(given.dtype).reshape(given.shape)
        )
    given = reading.of(outputs).movedim(reading.axis, 1)
    right = right.long().masked_fill(~counted, _NO_CLASS).reshape(len(given), *given.shape[2:])
    if bool(((right != _NO_CLASS) & ((right < 0) | (right >= given.shape[1]))).any()):
        raise CollabplanError(
            f"train_data has labels that are none of the {given.shape[1]} classes, 0 to {given.shape[1] - 1}"
        )
    return cross_entropy(given, right, ignore_index=_NO_CLASS)


def _logits(reading: Reading, outputs: Any) -> Tensor:
    given = reading.of(outputs)
    return given if reading.threshold == 0 else torch.logit(given, eps=_NEAR_ONE)


def _floats(outputs: Any) -> list[Tensor]:
    return [tensor for _, tensor in tensors_of(outputs) if tensor.is_floating_point()]
