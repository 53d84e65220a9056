"""Divides the one data set that was given between the search, the plan's confirmation and the attacker."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import TargetError
from .data import Data

FEWEST = 80
"""A quarter of them, 20, is what the leakage index needs."""

USEFUL = 400
"""Below this the intervals are wide."""

SHARED_OUT = "half of the one data set that was given"
"""The origin of the attacker's images, in words."""


@dataclass(frozen=True, eq=False)
class Division:
    """One data set in parts that share no sample.

    Attributes:
        validation: the half that is not the attacker's.
        search, confirm: its two splits.
        attacker: the attacker's half.
        kept: the positions of `validation` in the data set.
        notes: what was done.
    """

    validation: Data
    search: Data
    confirm: Data
    attacker: Data
    kept: Tensor
    notes: tuple[str, ...]


def divide_one_set(data: Data, name: str, seed: int, *, whole: bool = True) -> Division:
    """Give half of the samples to the attacker, who so has as many as the device's owner measures with.

    Of samples that occur more than once, one is kept: an attacker must not own a picture that is attacked.

    Args:
        data: the one set.
        name: of it, for messages.
        seed: the same seed gives the same division.
        whole: all samples were read; otherwise few are no fault.

    Raises:
        TargetError: there are fewer than `FEWEST` different samples.
    """
    first: dict[str, int] = {}
    for position, each in enumerate(data.sample_hashes()):
        first.setdefault(each, position)
    single = torch.tensor(list(first.values()))
    if whole and len(single) < FEWEST:
        raise TargetError(
            f"{name} has {len(single)} different samples; at least {FEWEST} are needed to divide them between search, "
            f"confirmation and attacker, and {USEFUL} for narrow intervals: give more, or attacker_data of its own"
        )
    order = single[torch.randperm(len(single), generator=torch.Generator().manual_seed(seed))]
    half = max(1, len(order) // 2)
    kept = order[half:].sort().values
    validation = data.take(kept)
    search, confirm = validation.splits(seed)
    notes = [
        f"the only data set, so it was divided (seed {seed}): {len(search):,} for the search, {len(confirm):,} to "
        f"confirm the plan, {half:,} for the attacker"
    ]
    if len(single) < len(data):
        notes.append(f"{len(data) - len(single)} samples that occur again were left out")
    if whole and len(single) < USEFUL:
        notes.append(f"few samples: intervals are wide below {USEFUL}")
    return Division(validation, search, confirm, data.take(order[:half]), kept, tuple(notes))
