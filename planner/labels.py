"""What values labels have: whole numbers or not, which ones occur, and where."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_RANGE, _PIECE = 4096, 1 << 22


def are_whole(labels: Tensor) -> bool:
    """True for whole numbers, in whatever dtype."""
    return not labels.is_floating_point() or bool((labels == labels.round()).all())


def whole_values(labels: Tensor) -> list[int]:
    """The values of labels that are whole numbers, in order: counted where they are close together (maps are large)."""
    if labels.dtype == torch.bool:
        labels = labels.byte()
    low, high = int(labels.min()), int(labels.max())
    if high - low >= _RANGE:
        return list(map(int, torch.unique(labels)))
    counts = torch.zeros(high - low + 1, dtype=torch.long)
    for part in torch.split(labels.reshape(-1), _PIECE):
        counts += torch.bincount(part.long() - low, minlength=len(counts))
    return list(map(int, counts.nonzero().flatten() + low))


def any_of(values: Tensor, chosen: Sequence[float]) -> Tensor:
    """Where `values` is one of those `chosen`: a mask of its shape."""
    found = torch.zeros(values.shape, dtype=torch.bool)
    for value in chosen:
        found |= values == value
    return found
