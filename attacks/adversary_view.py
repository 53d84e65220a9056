"""What an attacker of one tier may do at one (cut, defense): the only way by which attacks reach the device.

Asking for more than the tier permits is an error, so that no attack can pass for a weaker one than it is.
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
from ..records import CollabplanError, Threat
from ..targets.data import Data
from .artifact_cache import ArtifactCache
from .audit_target import AuditTarget, ObservedReleases
from .interface import MIN_OWN, TIERS, AttackFailed

HELD_OUT = 5
"""One of so many of the attacker's own images is held out, to choose and to stop by."""

MOST_HELD_OUT = 500

MOST_BYTES = 2_000_000_000
"""Of activations that a bank keeps."""

FEW = 256


@dataclass(frozen=True, eq=False)
class AdversaryView:
    """One device as an attacker meets it.

    Attributes:
        victim: the device; attacks do not touch it but through this class.
        own: the attacker's images, disjoint from the targets, in random order.
        threat: what is permitted.
        queries: releases of one input that the attacker has of each target, and fuses.
        near_copies: the further releases are of near-duplicates, whose keyed masks differ.
        naive: the attacker does not know of dropout and noise, and learns from releases without them.
        intercepted: releases of inputs that the attacker does not know, and that are no targets.
        shared: what attackers at other cuts have made of the same images.
    """

    victim: AuditTarget
    own: Data
    threat: Threat
    queries: int = 1
    near_copies: bool = False
    naive: bool = False
    intercepted: ObservedReleases | None = None
    shared: ArtifactCache = field(default_factory=lambda: ArtifactCache(0))

    def __post_init__(self) -> None:
        if len(self.own) < MIN_OWN:
            raise AttackFailed(f"an attacker needs at least {MIN_OWN} images of its own, got {len(self.own)}")

    def require(self, threat: Threat, what: str) -> None:
        """Refuse what a weaker attacker may not do. Raises AttackFailed."""
        if TIERS.index(self.threat) < TIERS.index(threat):
            raise AttackFailed(f"a {self.threat} attacker may not {what}; that takes a {threat} one")

    def require_differentiable(self) -> None:
        """Refuse custom stages that no gradient crosses. Raises AttackFailed."""
        stages = (*self.victim.transforms.stages, *self.believed.transforms.stages)
        for stage in stages:
            if isinstance(stage, CustomStage) and not stage.differentiable:
                raise AttackFailed(f"not computable here: no gradient crosses stage {stage.name}, which is no privacy")

    def require_gradients(self) -> None:
        """Refuse a cut whose gradients do not tell how it moves between the attacker's images. Raises AttackFailed."""
        self.require_differentiable()
        dead = self.victim.dead_gradients(self.training)
        if dead:
            names = "; ".join(f"{name}: {', '.join(where)}" for name, where in dead.items())
            raise AttackFailed(
                "not computable here: gradients do not tell how what crosses depends on the input (they end at "
                f"{names}), which is no privacy"
            )

    @cached_property
    def held_out(self) -> Data:
        """A part of the attacker's images that nothing is trained on."""
        return self.own.take(torch.arange(min(MOST_HELD_OUT, max(1, len(self.own) // HELD_OUT))))

    @cached_property
    def training(self) -> Data:
        """The rest of them."""
        return self.own.take(torch.arange(len(self.held_out), len(self.own)))

    def limited(self, count: int) -> AdversaryView:
        """The same with at most `count` images of its own."""
        return self if len(self.own) <= count else replace(self, own=self.own.take(torch.arange(count)))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of one private input."""
        return tuple(self.own.inputs[self.victim.position].shape[1:])

    @property
    def row_shapes(self) -> list[tuple[int, ...]]:
        """Per private crossing, the shape of one sample."""
        return [tuple(crossing.sample_shape) for crossing in self.victim.defense.tail.crossing]

    @property
    def device(self) -> torch.device:
        """Where models run."""
        return self.victim.device

    @cached_property
    def believed(self) -> Defense:
        """The defense that the attacker believes in: the real one, or, if naive, its quantizer alone.

        A naive attacker keeps random custom stages that change a shape: without them nothing would fit.

        Masks are learned about as if they were fresh: to whoever does not have the key, those of other inputs are.
        """
        real = self.victim.defense
        record = real.record
        if self.naive:
            reshapes = real.transforms.codes != real.crossing
            record = record.without("dropout", "noise", *([] if reshapes else ["custom"]))
        return replace(real, record=record.model_copy(update={"masks": "fresh"}))

    @property
    def releases(self) -> int:
        """How many of the releases that it has of an input differ: keyed ones of exact repeats are all the same."""
        keyed = self.victim.defense.record.masks == "keyed"
        return 1 if keyed and not self.near_copies else self.queries

    def perceived(self, released: ObservedReleases) -> ObservedReleases:
        """What the attacker makes of a release: to a naive one zeros are numbers like others."""
        return replace(released, seen=tuple(None for _ in released.seen)) if self.naive else released

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Activations `[n, *sample_shape]` as random custom stages make them once; as they are without such stages."""
        stages = self.believed.transforms
        return (
            tuple(stages.apply_rows(rows, Simulated(torch.Generator().manual_seed(0)))) if stages.stages else (*rows,)
        )

    def expected(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The mean of what random custom stages make of activations, with gradients.

        Raises:
            AttackFailed: a stage does not say.
        """
        try:
            return tuple(self.believed.transforms.expected_rows(rows))
        except CollabplanError as error:
            raise AttackFailed(f"not computable here: {error}; that is no privacy") from None

    def averaged(self, rows: Sequence[Tensor], draws: int) -> tuple[Tensor, ...]:
        """The same by asking: the average of `draws` draws; activations as they are without random custom stages."""
        stages, source = self.believed.transforms, Simulated(torch.Generator().manual_seed(0))
        if not stages.stages:
            return tuple(rows)
        drawn = [stages.apply_rows(rows, source) for _ in range(draws)]
        return tuple(torch.stack(each).float().mean(dim=0) for each in zip(*drawn, strict=True))

    def pixels(self, data: Data) -> Tensor:
        """Images of its own in [0, 1], `[n, *image_shape]` float32."""
        return self.victim.pixels(data)

    def edge(self, pixels: Tensor, public: Data) -> tuple[Tensor, ...]:
        """What the edge half computes, with gradients towards `pixels` `[n, *image_shape]`; on the device.

        Raises:
            AttackFailed: not a white-box attacker.
        """
        self.require("white-box", "run the edge half")
        return self.victim.edge(self.victim.with_pixels(public, pixels))

    def ask(self, data: Data) -> tuple[Tensor, ...]:
        """Activations of own images that `release` may be called on again and again: a saving, no more knowledge.

        Raises:
            AttackFailed: a query-free attacker.
        """
        self.require("black-box", "query the device")
        return self.victim.clean_rows(data)

    def release(self, rows: Sequence[Tensor], data: Data, generator: torch.Generator) -> ObservedReleases:
        """What the device answers to own images `data`, whose activations `ask` gave, as often as for a target."""
        self.require("black-box", "query the device")
        return self.imagine(rows, data, generator)

    def imagine(self, rows: Sequence[Tensor], data: Data, generator: torch.Generator) -> ObservedReleases:
        """What the believed defense would make of the attacker's own rows for own images: no query of the device."""
        return self.victim.release_rows(rows, data, generator, queries=self.releases, defense=self.believed)

    def query(self, data: Data, generator: torch.Generator) -> ObservedReleases:
        """What the device answers to own images."""
        return self.release(self.ask(data), data, generator)

    def cloud(self, rows: Sequence[Tensor]) -> Tensor:
        """The model's output for activations `[n, *sample_shape]`: whoever runs the cloud has it.

        Raises:
            CollabplanError: public tensors cross as well, or no output is floating.
        """
        return self.victim.cloud(rows)


class RowBank:
    """Rows `[count, *sample_shape]` per crossing, kept where they fit into memory, else computed when they are wanted.

    Attributes:
        some: all of them, or the first few where they do not fit: statistics are taken of these.
    """

    def __init__(self, compute: Callable[[Tensor], tuple[Tensor, ...]], count: int) -> None:
        """`compute` gives the rows at some positions `[b]` below `count`."""
        self._compute = compute
        self.some = compute(torch.arange(min(FEW, count)))
        each = sum(row[0].numel() * row.element_size() for row in self.some)
        self._all_kept = each * count <= MOST_BYTES
        if self._all_kept and count > FEW:
            rest = compute(torch.arange(FEW, count))
            self.some = tuple(torch.cat(pair) for pair in zip(self.some, rest, strict=True))

    def at(self, positions: Tensor) -> tuple[Tensor, ...]:
        """The rows at `positions` `[b]`."""
        return tuple(row[positions] for row in self.some) if self._all_kept else self._compute(positions)
