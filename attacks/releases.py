"""What attackers observe of a device: several releases of one input, fused into one.

Without noise, every number that survived dropout once is known. With noise the mean counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..records import hash_tensors
from ..records.revisions import Part
from ..targets.data import Data

RELEASES = Part("releases", 2)
"""Raise its revision whenever the same inputs and seed give attackers other releases."""


@dataclass(frozen=True, slots=True)
class CopyKind:
    """How near-duplicates of an image differ from it, as frames of one scene do.

    Attributes:
        shift: the most pixels that a copy is shifted by, down and to the right; 0 for a still camera. Inputs that are
            no images are not shifted.
        noise: the standard deviation of a copy's noise, on pixels in [0, 1].

    Examples:
        >>> str(CopyKind(0, 0.5 / 255))
        'still, noise 0.5/255'
    """

    shift: int
    noise: float

    def __str__(self) -> str:
        return f"{f'shift {self.shift}' if self.shift else 'still'}, noise {self.noise * 255:.3g}/255"


COPY_KINDS = tuple(CopyKind(shift, levels / 255) for shift in (0, 1) for levels in (0.5, 1.0, 4.0))
"""The kinds of which an audit takes the one that tells most."""

MOVING = CopyKind(1, 4 / 255)
"""The kind that tells least: candidates of a gallery of near copies are of it."""


@dataclass(frozen=True, eq=False)
class ObservedReleases:
    """What was released for n inputs, all releases of an input fused into one.

    Attributes:
        rows: per private crossing `[n, *sample_shape]` float32: the number if it was seen, else 0.
        seen: per private crossing `[n, *sample_shape]` bool. False marks a number that was only seen as 0: it was
            dropped, or it is 0. None where nothing is dropped, or where noise hides what was.
        public: what else is known of the inputs: the model's arguments with the private one blank.
        queries: releases of each input.
        first: the release of the input itself, where the others are of near-duplicates; else None.
        still: those are of a still camera: fused with the first they tell all that it tells, and it is not read apart.
    """

    rows: tuple[Tensor, ...]
    seen: tuple[Tensor | None, ...]
    public: Data
    queries: int = 1
    first: ObservedReleases | None = None
    still: bool = False

    def __len__(self) -> int:
        return len(self.public)

    @property
    def parts(self) -> tuple[ObservedReleases, ...]:
        """What is read side by side: all releases fused and, where the others are shifted, the first."""
        return (self,) if self.first is None or self.still else (self, self.first)

    @property
    def content_hash(self) -> str:
        """SHA-256 of what was seen, the first release apart aside."""
        seen = {f"seen {at}": each for at, each in enumerate(self.seen) if each is not None}
        return hash_tensors({**{f"row {at}": row for at, row in enumerate(self.rows)}, **seen})

    def take(self, indices: Tensor) -> ObservedReleases:
        """The releases of the inputs at `indices` `[m]`."""
        return ObservedReleases(
            tuple(row[indices] for row in self.rows),
            tuple(None if seen is None else seen[indices] for seen in self.seen),
            self.public.take(indices),
            self.queries,
            None if self.first is None else self.first.take(indices),
            self.still,
        )

    def unmarked(self) -> ObservedReleases:
        """The same to whoever takes zeros for numbers like any other."""
        first = None if self.first is None else self.first.unmarked()
        return replace(self, seen=tuple(None for _ in self.seen), first=first)


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


def near_copy(pixels: Tensor, generator: torch.Generator, kind: CopyKind) -> Tensor:
    """Near-duplicates of `pixels` `[n, ...]` in [0, 1]: images are shifted by some pixels; all get a little noise."""
    if pixels.ndim == 4 and kind.shift:
        shifts = torch.randint(-kind.shift, kind.shift + 1, (len(pixels), 2), generator=generator)
        down, right = shifts[:, :1] + torch.arange(pixels.shape[2]), shifts[:, 1:] + torch.arange(pixels.shape[3])
        down, right = down.clamp(0, pixels.shape[2] - 1), right.clamp(0, pixels.shape[3] - 1)
        at = torch.arange(len(pixels))[:, None, None]
        pixels = pixels.movedim(1, -1)[at, down[:, :, None], right[:, None, :]].movedim(-1, 1)
    noise = torch.randn(pixels.shape, generator=generator) * kind.noise
    return (pixels + noise).clamp(0, 1)
