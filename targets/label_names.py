"""Labels as text, numbered in the order of the model's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import TargetError

_SHOWN = 6

MISSING = ("", "na", "n/a", "nan", "none", "null", "nil", "?", "-")
"""How tables write that there is no value, in lower case."""


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
        TargetError: a label is missing, or is a class that `class_names` does not list. Numbers alone need no names.

    Examples:
        >>> numbered(["dog", "cat", "dog"], (), "labels.csv").labels
        tensor([1, 0, 1])
    """
    _require_present(names, class_names, source)
    numbers = _numbers(names)
    unknown = sorted(set(names) - set(class_names))
    if class_names and not (numbers is not None and len(unknown) == len(set(names))):
        if unknown:
            listed = f"{', '.join(class_names[:_SHOWN])}{', ...' if len(class_names) > _SHOWN else ''}"
            raise TargetError(
                f"{source}: the class {unknown[0]!r} is not in class_names ({listed}); list it there, in the order of "
                "the model's outputs"
            )
        return NamedLabels(torch.tensor([class_names.index(name) for name in names]))
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


def _require_present(names: Sequence[str], class_names: Sequence[str], source: str) -> None:
    """Refuse missing labels. They would be a class of their own, and move the numbers of all others."""
    given = set(names) - set(class_names)
    words = {name for name in given if name.strip().lower() in MISSING}
    if any(name.strip() for name in words) and _numbers(sorted(given - words)) is None:
        words = {name for name in words if not name.strip()}  # among words, "none" may be a class
    if words:
        lost = [position for position, name in enumerate(names) if name in words]
        raise TargetError(
            f"{source}: {len(lost)} of {len(names)} samples have no label (the first is sample {lost[0]}, "
            f"{names[lost[0]]!r}); fill in the labels, or leave these samples out (if it is a class, list it in "
            "class_names)"
        )


def _numbers(names: Sequence[str]) -> Tensor | None:
    """The labels as numbers; None if one of them is none."""
    for kind in (int, float):
        try:
            found = [kind(name) for name in names]
        except ValueError:
            continue
        return torch.tensor(found) if all(math.isfinite(number) for number in found) else None
    return None
