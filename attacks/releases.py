"""What attackers observe of a device: several releases of one input, fused into one.

Without noise, every number that survived dropout once is known. With noise the mean counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..records import hash_tensors
from ..records.revisions import Part
from ..targets.data import Data

RELEASES = Part("releases")
"""Raise its revision whenever the same inputs and seed give attackers other releases."""

SHIFT = 1
COPY_NOISE = 4 / 255
"""A near-duplicate is shifted by up to SHIFT pixels and gets noise of this standard deviation."""


@dataclass(frozen=True, eq=False)
class ObservedReleases:
    """What was released for n inputs, all releases of an input fused into one.

    Attributes:
        rows: per private crossing `[n, *sample_shape]` float32: the number if it was seen, else 0.
        seen: per private crossing `[n, *sample_shape]` bool. False marks a number that was only seen as 0: it was
            dropped, or it is 0. None where nothing is dropped, or where noise hides what was.
        public: what else is known of the inputs: the model's arguments with the private one blank.
        queries: releases of each input.
    """

    rows: tuple[Tensor, ...]
    seen: tuple[Tensor | None, ...]
    public: Data
    queries: int = 1

    def __len__(self) -> int:
        return len(self.public)

    @property
    def content_hash(self) -> str:
        """SHA-256 of what was seen."""
        seen = {f"seen {at}": each for at, each in enumerate(self.seen) if each is not None}
        return hash_tensors({**{f"row {at}": row for at, row in enumerate(self.rows)}, **seen})

    def take(self, indices: Tensor) -> ObservedReleases:
        """The releases of the inputs at `indices` `[m]`."""
        return ObservedReleases(
            tuple(row[indices] for row in self.rows),
            tuple(None if seen is None else seen[indices] for seen in self.seen),
            self.public.take(indices),
            self.queries,
        )


class FusedReleases:
    """Fuses releases of the same inputs one by one.

    Args:
        defense: what the device does, over its private crossings.
    """

    def __init__(self, defense: Defense) -> None:
        self.defense = defense
        self._times: list[Tensor] | None = None
        self._sums: list[Tensor] = []
        self._count = 0

    def add(self, release: tuple[Tensor, ...]) -> None:
        """One more release, rows `[n, *sample_shape]` per private crossing."""
        self._count += 1
        seen = [row != 0 for row in release]
        if self._times is None:
            self._sums, self._times = list(release), list(seen)
            return
        self._sums = [total + row for total, row in zip(self._sums, release, strict=True)]
        self._times = [times.int() + row for times, row in zip(self._times, seen, strict=True)]

    def observed(self, public: Data) -> ObservedReleases:
        """All releases so far as one."""
        assert self._times is not None  # `add` was called
        rows: list[Tensor] = []
        seen: list[Tensor | None] = []
        for total, times, crossing in zip(self._sums, self._times, self.defense.tail.crossing, strict=True):
            if self.defense.drops(crossing) and not self.defense.noises(crossing):
                rows.append(total if self._count == 1 else total / times.clamp(min=1))
                seen.append(times > 0)
            else:
                rows.append(total if self._count == 1 else total / self._count)
                seen.append(None)
        return ObservedReleases(tuple(rows), tuple(seen), public, self._count)


def near_copy(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Near-duplicates of `pixels` `[n, ...]` in [0, 1]: images are shifted by up to a pixel; all get a little noise."""
    if pixels.ndim == 4:
        shifts = torch.randint(-SHIFT, SHIFT + 1, (len(pixels), 2), generator=generator)
        down, right = shifts[:, :1] + torch.arange(pixels.shape[2]), shifts[:, 1:] + torch.arange(pixels.shape[3])
        down, right = down.clamp(0, pixels.shape[2] - 1), right.clamp(0, pixels.shape[3] - 1)
        at = torch.arange(len(pixels))[:, None, None]
        pixels = pixels.movedim(1, -1)[at, down[:, :, None], right[:, None, :]].movedim(-1, 1)
    noise = torch.randn(pixels.shape, generator=generator) * COPY_NOISE
    return (pixels + noise).clamp(0, 1)
