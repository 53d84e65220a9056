"""What an attacker of one tier may do at one (cut, defense). Attacks reach the device through this class only.

A request for more than the tier permits is an error, so no attack can pass for a weaker one than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..defenses.interface import CustomStage
from ..defenses.pipeline import Defense
from ..defenses.randomness import Simulated
from ..defenses.seeds import generator_for
from ..records import CollabplanError, Threat, hash_json, hash_tensors
from ..records.memory import UNBOUNDED, MemoryBudget
from ..targets.data import Data
from .artifact_cache import ArtifactCache
from .audit_target import AuditTarget
from .releases import CopyKind, ObservedReleases, near_copy
from .threat import MIN_AUXILIARY, TIERS, AttackFailed

HELD_OUT = 5
"""One auxiliary image in HELD_OUT is kept for model selection and early stopping."""

MOST_HELD_OUT = 500

MOST_SHIFTED = 3
"""Shifted copies of an auxiliary image that attackers learn from, where they have few images."""

SHIFTED = CopyKind(shift=1, noise=0.0)

MOST_BYTES = 2_000_000_000
"""The most bytes of activations that statistics are taken of. Where nothing may be spilled, a bank keeps no more."""

MOST_SPILLED = 8_000_000_000
"""The most bytes of activations that a bank keeps where some may be spilled."""

FEW = 256


@dataclass(frozen=True, eq=False)
class AdversaryView:
    """One device as an attacker meets it.

    Attributes:
        target: the device. Attacks reach it through the methods of this class.
        auxiliary: the attacker's images, disjoint from the targets, in random order.
        threat: what is permitted.
        queries: releases of each target that the attacker has, and fuses.
        copies: all releases but the first are of near-duplicates of this kind, whose keyed masks differ. The attacker
            learns from such releases. If these are shifted, it reads the first beside all of them fused.
        naive: the attacker does not know of dropout and noise, and learns from releases without them.
        intercepted: releases of inputs that are unknown to the attacker and are no targets.
        artifacts: what attackers at other cuts have made of the same auxiliary images.
        room: how many images it learns from at most; shifted copies of its own fill what these leave (`learned`).

    Raises:
        AttackFailed: fewer than `MIN_AUXILIARY` auxiliary images.
    """

    target: AuditTarget
    auxiliary: Data
    threat: Threat
    queries: int = 1
    copies: CopyKind | None = None
    naive: bool = False
    intercepted: ObservedReleases | None = None
    artifacts: ArtifactCache = field(default_factory=lambda: ArtifactCache(0))
    room: int = 0

    def __post_init__(self) -> None:
        if len(self.auxiliary) < MIN_AUXILIARY:
            raise AttackFailed(
                f"an attacker needs at least {MIN_AUXILIARY} auxiliary images, got {len(self.auxiliary)}"
            )

    def require(self, threat: Threat, what: str) -> None:
        """Refuse what a weaker attacker may not do. Raises AttackFailed."""
        if TIERS.index(self.threat) < TIERS.index(threat):
            raise AttackFailed(f"a {self.threat} attacker may not {what}; that takes a {threat} one")

    def require_differentiable(self) -> None:
        """Refuse custom stages that no gradient crosses. Raises AttackFailed."""
        stages = (*self.target.transforms.stages, *self.believed.transforms.stages)
        for stage in stages:
            if isinstance(stage, CustomStage) and not stage.differentiable:
                raise AttackFailed(f"not computable here: no gradient crosses stage {stage.name}, which is no privacy")

    def require_gradients(self) -> None:
        """Refuse a cut whose gradients do not tell how it differs between auxiliary images. Raises AttackFailed."""
        self.require_differentiable()
        dead = self.target.dead_gradients(self.training)
        if dead:
            names = "; ".join(f"{name}: {', '.join(where)}" for name, where in dead.items())
            raise AttackFailed(
                "not computable here: gradients do not tell how what crosses depends on the input (they end at "
                f"{names}), which is no privacy"
            )

    @cached_property
    def held_out(self) -> Data:
        """Auxiliary images that nothing is trained on."""
        return self.auxiliary.take(torch.arange(min(MOST_HELD_OUT, max(1, len(self.auxiliary) // HELD_OUT))))

    @cached_property
    def training(self) -> Data:
        """All other auxiliary images."""
        return self.auxiliary.take(torch.arange(len(self.held_out), len(self.auxiliary)))

    @cached_property
    def learned(self) -> Data:
        """What attackers who query the device learn from: `training` and, where `room` is left, shifted copies of it.

        A copy is shifted by at most a pixel in any direction. Inputs that are no images are not.
        """
        own = self.training
        copies = min(MOST_SHIFTED, self.room // len(own) - 1)
        if copies < 1 or len(self.image_shape) != 3:
            return own
        pixels = self.pixels(own)
        draws = generator_for(0, "shifted", self.auxiliary.content_hash)
        shifted = [self.target.with_pixels(own, near_copy(pixels, draws, SHIFTED)) for _ in range(copies)]
        parts = [own, *shifted]
        inputs = tuple(torch.cat(rows) for rows in zip(*(part.inputs for part in parts), strict=True))
        return Data(inputs, None if own.labels is None else torch.cat([own.labels] * len(parts)))

    def limited(self, count: int) -> AdversaryView:
        """The same view with at most `count` auxiliary images."""
        if len(self.auxiliary) <= count:
            return self
        return replace(self, auxiliary=self.auxiliary.take(torch.arange(count)))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of one private input."""
        return tuple(self.auxiliary.inputs[self.target.position].shape[1:])

    @property
    def row_shapes(self) -> list[tuple[int, ...]]:
        """Per private crossing, the shape of one sample."""
        return [tuple(crossing.sample_shape) for crossing in self.target.defense.tail.crossing]

    @property
    def read_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of what is read side by side: `row_shapes`, once for each of `ObservedReleases.parts`."""
        return self.row_shapes * (2 if self.copies is not None and self.copies.shift else 1)

    @property
    def device(self) -> torch.device:
        """Where models run."""
        return self.target.device

    @cached_property
    def believed(self) -> Defense:
        """The defense that the attacker believes in: the real one or, if naive, its quantizer alone.

        A naive attacker keeps random custom stages that change a shape: without them nothing would fit. Masks are
        believed to be fresh: without the key, the masks of other inputs look fresh.
        """
        real = self.target.defense
        record = real.record
        if self.naive:
            reshapes = real.transforms.codes != real.crossing
            record = record.without("dropout", "noise", *([] if reshapes else ["custom"]))
        return replace(real, record=record.model_copy(update={"masks": "fresh"}))

    @property
    def marks_dropped(self) -> bool:
        """True where the attacker sees which numbers were dropped: some crossing has dropout and no noise."""
        believed = self.believed.tail
        return any(believed.drops(crossing) and not believed.noises(crossing) for crossing in believed.crossing)

    @property
    def releases(self) -> int:
        """Releases of one input that differ: keyed ones of exact repeats are all the same."""
        keyed = self.target.defense.record.masks == "keyed"
        return 1 if keyed and self.copies is None else self.queries

    def perceived(self, released: ObservedReleases) -> ObservedReleases:
        """The release as the attacker reads it: a naive one takes zeros for numbers like any other."""
        return released.unmarked() if self.naive else released

    def pixels(self, data: Data) -> Tensor:
        """Auxiliary images in [0, 1], `[n, *image_shape]` float32."""
        return self.target.pixels(data)

    def edge(self, pixels: Tensor, public: Data) -> tuple[Tensor, ...]:
        """What the edge half computes of `pixels` `[n, *image_shape]`, with gradients; on the device.

        Args:
            pixels: images in [0, 1], at most one batch.
            public: the public inputs of the same n samples.

        Raises:
            AttackFailed: the attacker is not white-box.
        """
        self.require("white-box", "run the edge half")
        return self.target.edge(self.target.with_pixels(public, pixels))

    def ask(self, data: Data) -> tuple[Tensor, ...]:
        """Activations of auxiliary images, for repeated calls of `release`. Cached for speed; grants nothing.

        Raises:
            AttackFailed: the attacker is query-free.
        """
        self.require("black-box", "query the device")
        return self.target.clean_rows(data)

    def release(self, rows: Sequence[Tensor], data: Data, generator: torch.Generator) -> ObservedReleases:
        """What the device releases of auxiliary images, as often as of each target.

        Args:
            rows: what `ask` returned for `data`.
            data: the auxiliary images.
            generator: of masks and noise; on the CPU.

        Raises:
            AttackFailed: the attacker is query-free.
        """
        self.require("black-box", "query the device")
        if self.copies is None:
            return self.imagine(rows, data, generator)
        frames = self.target.frames(rows, data, generator, self.queries, self.copies)
        return self.target.release_frames(frames, generator, self.believed, still=not self.copies.shift)

    def bank(self, data: Data) -> ReleaseBank:
        """Releases of auxiliary images, drawn anew at each use. Raises AttackFailed for a query-free attacker.

        The activations of near-duplicates are kept for other attacks and for other defenses of the same codes.
        """
        self.require("black-box", "query the device")
        if self.copies is None:
            rows = RowBank(lambda positions: self.ask(data.take(positions)), len(data), self.artifacts.memory)
            return ReleaseBank(self, data, rows)
        target, copies, queries = self.target, self.copies, self.queries
        at = target.cut.id
        key = hash_json(["frames", at, target.codes_key, data.content_hash, str(copies), queries])

        def drawn(generator: torch.Generator) -> RowBank:
            seed = int(torch.randint(2**62, (1,), generator=generator))

            def frames(positions: Tensor) -> tuple[Tensor, ...]:
                # The draws are of the positions alone: whoever asked before changes nothing.
                some, draws = data.take(positions), generator_for(seed, hash_tensors({"positions": positions}))
                every = target.frames(target.clean_rows(some), some, draws, queries, copies)
                return tuple(row for rows, _ in every for row in rows)

            return RowBank(frames, len(data), self.artifacts.memory, at_once=True)

        return ReleaseBank(self, data, self.artifacts.once(key, drawn, at=at))

    def imagine(self, rows: Sequence[Tensor], data: Data, generator: torch.Generator) -> ObservedReleases:
        """What the believed defense would make of the attacker's own `rows` for `data`: no query of the device."""
        return self.target.release_rows(rows, data, generator, queries=self.releases, defense=self.believed)

    def query(self, data: Data, generator: torch.Generator) -> ObservedReleases:
        """What the device releases of auxiliary images. Raises AttackFailed for a query-free attacker."""
        return self.release(self.ask(data), data, generator)

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One draw of what random custom stages make of `rows` `[n, *sample_shape]`; `rows` without such stages."""
        stages = self.believed.transforms
        if not stages.stages:
            return tuple(rows)
        return tuple(stages.apply_rows(rows, Simulated(torch.Generator().manual_seed(0))))

    def expected(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The mean of what random custom stages make of activations `[n, *sample_shape]`, with gradients.

        Raises:
            AttackFailed: a stage does not say.
        """
        try:
            return tuple(self.believed.transforms.expected_rows(rows))
        except CollabplanError as error:
            raise AttackFailed(f"not computable here: {error}; that is no privacy") from None

    def averaged(self, rows: Sequence[Tensor], draws: int) -> tuple[Tensor, ...]:
        """The average of `draws` draws of random custom stages; `rows` without such stages."""
        stages, source = self.believed.transforms, Simulated(torch.Generator().manual_seed(0))
        if not stages.stages:
            return tuple(rows)
        drawn = [stages.apply_rows(rows, source) for _ in range(draws)]
        return tuple(torch.stack(each).float().mean(dim=0) for each in zip(*drawn, strict=True))

    def cloud(self, rows: Sequence[Tensor]) -> Tensor:
        """The model's output for activations `[n, *sample_shape]`: whoever runs the cloud half has it.

        Raises:
            CollabplanError: public tensors cross as well, or no output is floating.
        """
        return self.target.cloud(rows)


class RowBank:
    """Rows `[count, *sample_shape]` per crossing: kept if they are not too many, else computed on each use.

    Args:
        compute: gives the rows at some positions `[b]` below `count`.
        count: how many rows there are.
        memory: where they lie. No row depends on how much that holds.
        at_once: what `compute` gives depends on which positions it is asked for together.

    Attributes:
        some: all rows, or the first few if they are many. Statistics are taken of these.
    """

    def __init__(
        self,
        compute: Callable[[Tensor], tuple[Tensor, ...]],
        count: int,
        memory: MemoryBudget = UNBOUNDED,
        *,
        at_once: bool = False,
    ) -> None:
        self._compute = compute
        first = compute(torch.arange(min(FEW, count)))
        size = count * sum(row[0].numel() * row.element_size() for row in first)
        self._kept: tuple[Tensor, ...] | None = None
        if size <= (MOST_SPILLED if memory.spills else MOST_BYTES):
            self._kept = tuple(memory.empty((count, *row.shape[1:]), row.dtype) for row in first)
            for kept, row in zip(self._kept, first, strict=True):
                kept[: len(row)] = row
            for start in range(FEW, count, max(count - FEW, 1) if at_once else FEW):
                positions = torch.arange(start, count if at_once else min(start + FEW, count))
                for kept, row in zip(self._kept, compute(positions), strict=True):
                    kept[positions] = row
        self.some = self._kept if self._kept is not None and size <= MOST_BYTES else first

    def at(self, positions: Tensor) -> tuple[Tensor, ...]:
        """The rows at `positions` `[b]`."""
        return self._compute(positions) if self._kept is None else tuple(row[positions] for row in self._kept)


@dataclass(frozen=True, eq=False)
class ReleaseBank:
    """Releases of auxiliary images, drawn anew at each use from activations that are kept. See `AdversaryView.bank`.

    Attributes:
        view: of the attacker.
        data: the auxiliary images.
        rows: their undefended activations, followed by those of their near-duplicates.
    """

    view: AdversaryView
    data: Data
    rows: RowBank

    @property
    def clean(self) -> tuple[Tensor, ...]:
        """Activations of the images themselves, as many as fit into memory: statistics are taken of these."""
        return self.rows.some[: len(self.view.row_shapes)]

    def at(self, positions: Tensor, generator: torch.Generator) -> ObservedReleases:
        """What the device releases of the images at `positions` `[b]`, as often as of each target."""
        rows, data, each = self.rows.at(positions), self.data.take(positions), len(self.view.row_shapes)
        if self.view.copies is None:
            return self.view.release(rows, data, generator)
        frames = ((rows[first : first + each], data) for first in range(0, len(rows), each))
        return self.view.target.release_frames(frames, generator, self.view.believed, still=not self.view.copies.shift)
