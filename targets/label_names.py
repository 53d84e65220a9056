"""Labels as text, numbered in the order of the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import TargetError

_SHOWN = 6


@dataclass(frozen=True, eq=False)
class NamedLabels:
    """One label for each sample, `[N]`, and notes on what they stand for."""

    labels: Tensor
    notes: tuple[str, ...] = ()


def numbered(names: Sequence[str], class_names: Sequence[str], source: str) -> NamedLabels:
    """Labels out of text. Whole numbers stand for themselves, other numbers are values, all else are classes.

    Args:
        names: one for each sample.
        class_names: the classes in the order of the model's outputs; empty: alphabetical.
        source: what holds the names, for messages.

    Raises:
        TargetError: a class that `class_names` does not list.

    Examples:
        >>> numbered(["dog", "cat", "dog"], (), "labels.csv").labels
        tensor([1, 0, 1])
    """
    if class_names:
        unknown = sorted(set(names) - set(class_names))
        if unknown:
            raise TargetError(
                f"{source} name the class {unknown[0]!r}, which class_names does not list "
                f"({', '.join(class_names[:_SHOWN])}{', ...' if len(class_names) > _SHOWN else ''})"
            )
        return NamedLabels(torch.tensor([class_names.index(name) for name in names]))
    numbers = _numbers(names)
    if numbers is not None:
        return NamedLabels(numbers)
    classes = sorted(set(names))
    shown = ", ".join(f"{name} {index}" for index, name in enumerate(classes[:_SHOWN]))
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    note = (
        f"classes in alphabetical order: {shown}{more}; if the model's outputs have another order, declare "
        "class_names = [...] in the target file"
    )
    return NamedLabels(torch.tensor([classes.index(name) for name in names]), (note,))


def _numbers(names: Sequence[str]) -> Tensor | None:
    """The labels as numbers; None if one of them is none."""
    for kind in (int, float):
        try:
            return torch.tensor([kind(name) for name in names])
        except ValueError:
            continue
    return None
