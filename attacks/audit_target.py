"""The device under attack: the edge half and its defense, run on pixels in [0, 1]."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..defenses.interface import NO_RANDOMNESS
from ..defenses.pipeline import Defense
from ..defenses.randomness import Keyed, Simulated
from ..defenses.transforms import Transforms
from ..estimators.activations import graph_arguments
from ..estimators.tokens import holds_tokens
from ..graph import (
    Cut,
    Halves,
    TracedGraph,
    dead_gradients,
    differ_by_sample,
    from_samples,
    split,
    to_samples,
    with_weights,
)
from ..graph.batch_size import BatchSize
from ..records import CollabplanError, hash_tensors
from ..targets.data import FEW, Data, InputScaling
from .releases import CopyKind, FusedReleases, ObservedReleases, near_copy
from .time_limit import check_time, interruptible

CONTEXT = b"audit"


def attacked_input(traced: TracedGraph) -> int:
    """Which of the model's tensor inputs attacks reconstruct.

    Raises:
        CollabplanError: none of the inputs can be reconstructed, or several are private.
    """
    specs = traced.tensor_inputs
    private = [at for at, own in enumerate(differ_by_sample(specs)) if own and not specs[at].public]
    tokens = [specs[at].name for at in private if holds_tokens(traced, at)]
    if tokens:
        raise CollabplanError(
            f"there is no attack on token inputs yet, and {', '.join(tokens)} holds tokens; run `collabplan leakage`, "
            "which estimates token recovery. Keep the tokens private: text that is declared public is sent"
        )
    integers = [specs[at] for at in private if not getattr(specs[at].dtype, "is_floating_point", False)]
    if integers:
        raise CollabplanError(
            f"attacks reconstruct a floating input, and {integers[0].name} is {integers[0].dtype}; let the model take "
            "floating numbers, and convert them in the target's data"
        )
    if len(private) != 1:
        names = ", ".join(specs[at].name for at in private) or "none"
        raise CollabplanError(
            f"attacks reconstruct one private input, and the private ones are: {names}; let the model take them as one "
            "tensor, or read the estimates of `collabplan leakage`, which are of the input that leaks most"
        )
    return private[0]


def why_unattackable(traced: TracedGraph) -> str | None:
    """Why no attack applies to the model's inputs; None where attacks do (`attacked_input`)."""
    try:
        attacked_input(traced)
    except CollabplanError as error:
        return str(error)
    return None


class AuditTarget:
    """One cut of one model under one defense.

    Args:
        traced: the model.
        cut: where it is divided.
        defense: calibrated, over the cut's crossings. With a projection, or custom stages that draw nothing, the
            device releases codes: whatever is said of activations here holds for the codes.
        scaling: between pixels in [0, 1] and what the model reads.
        device: where the model runs. Releases are on the CPU.
        batch_size: inputs per forward pass, until the device's memory runs out (`graph.batch_size`).
        secret: of keyed masks.
        tuned: the cloud half's parameters if it was fine-tuned; whoever runs the cloud half has them.

    Raises:
        CollabplanError: no input can be reconstructed, or several are private.
    """

    def __init__(
        self,
        traced: TracedGraph,
        cut: Cut,
        defense: Defense,
        scaling: InputScaling,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        secret: bytes = bytes(32),
        tuned: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.traced, self.cut, self.scaling = traced, cut, scaling
        # What draws nothing is part of the edge for an attacker; what draws is drawn anew for each release.
        steady = defense.transforms.steady
        self.defense = defense.after(steady).private
        self.payload_bytes = defense.payload_bytes()
        self.record = defense.record
        self.codes_key = defense.codes_key
        self.device = torch.device(device)
        self.batch = BatchSize(traced.samples_at_once(batch_size), fixed=not traced.dynamic_batch)
        self.position = attacked_input(traced)
        self.halves: Halves = split(traced, cut)
        self.tuned_hash = None if tuned is None else hash_tensors(tuned)
        if tuned is not None:
            self.halves = replace(self.halves, cloud=with_weights(self.halves.cloud, tuned))
        self._secret = secret
        self.secret_hash = hashlib.sha256(secret).hexdigest()
        self._private = [at for at, crossing in enumerate(cut.crossing) if not crossing.public]
        private = tuple(cut.crossing[at] for at in self._private)
        self.transforms = Transforms(defense.transforms.first(steady).stages, private)

    @property
    def batch_size(self) -> int:
        """Inputs per forward pass, now."""
        return self.batch.size

    def __deepcopy__(self, _: dict[int, object]) -> AuditTarget:
        """Itself: a network that is copied refers to the same device."""
        return self

    def pixels(self, data: Data) -> Tensor:
        """The private input in [0, 1], `[n, *image_shape]` float32."""
        return self.scaling.to_unit(data.inputs[self.position]).float()

    def with_pixels(self, data: Data, pixels: Tensor) -> Data:
        """`data` with `pixels` `[n, *image_shape]` in [0, 1] as its private input; gradients flow through."""
        inputs = list(data.inputs)
        inputs[self.position] = self.scaling.from_unit(pixels).to(data.inputs[self.position].dtype)
        return Data(tuple(inputs), data.labels)

    def blank(self, data: Data) -> Data:
        """`data` without labels and with a private input of zeros."""
        inputs = list(data.inputs)
        inputs[self.position] = torch.zeros_like(inputs[self.position])
        return Data(tuple(inputs))

    def edge(self, data: Data, program: nn.Module | None = None) -> tuple[Tensor, ...]:
        """Private crossings of at most one batch, rows `[n, *sample_shape]` on the device; gradients flow through.

        Args:
            data: the inputs.
            program: runs in place of the edge half.
        """
        if self.traced.mixed_at is not None and len(data) > 1:
            return _concatenated([self.edge(one, program) for one in data.batches(1)])
        crossed = (program or self.halves.edge.graph_module)(*self._arguments(data))  # type: ignore[operator]
        rows = []
        for at in self._private:
            layout = self.cut.crossing[at].layout
            assert layout is not None  # Defense refuses private tensors without one
            rows.append(to_samples(crossed[at], layout)[: len(data)])
        return tuple(self.transforms.apply_rows(rows, NO_RANDOMNESS))

    def dead_gradients(self, data: Data) -> dict[str, tuple[str, ...]]:
        """Private crossings whose gradients do not tell how they differ between the inputs `data`, and where these end.

        A crossing of integers is one of them unless it is the same for all inputs.
        """
        few = data.few_batches(self.batch_size, fixed=not self.traced.dynamic_batch)
        with interruptible():
            found = dead_gradients(self.traced, [self.cut], [self._arguments(batch) for batch in few])
        few_rows = self.clean_rows(data.take(torch.arange(min(FEW, len(data)))))
        for at, row in zip(self._private, few_rows, strict=True):
            crossing = self.cut.crossing[at]
            if not crossing.is_floating and bool((row != row[:1]).any()):
                found.setdefault(crossing.name, (crossing.dtype,))
        return found

    def _arguments(self, data: Data) -> list[Tensor]:
        return graph_arguments(self.traced, data, batch_size=self.batch_size, device=self.device)

    @torch.no_grad()
    def clean_rows(self, data: Data) -> tuple[Tensor, ...]:
        """Undefended private crossings of any number of inputs, `[n, *sample_shape]` each, on the CPU."""

        def run(some: slice) -> tuple[Tensor, ...]:
            check_time()
            return tuple(rows.cpu() for rows in self.edge(data.part(some)))

        return _concatenated(list(self.batch.over(len(data), run)))

    def cloud(self, rows: Sequence[Tensor]) -> Tensor:
        """The model's first floating output for private crossings alone `[n, *sample_shape]`.

        Raises:
            CollabplanError: public tensors cross as well, or no output is floating.
        """
        if len(self._private) < len(self.cut.crossing):
            raise CollabplanError("public tensors cross here, so the cloud half cannot be run on private ones alone")
        if self.traced.mixed_at is not None and len(rows[0]) > 1:
            return torch.cat([self.cloud(one) for one in zip(*(torch.split(row, 1) for row in rows), strict=True)])
        tensors = []
        for row, crossing in zip(self.transforms.receive_rows(rows), self.cut.crossing, strict=True):
            assert crossing.layout is not None
            tensors.append(from_samples(row, crossing.layout).to(getattr(torch, crossing.dtype)))
        outputs = self.halves.cloud.graph_module(*tensors)  # type: ignore[operator]
        for output in outputs if isinstance(outputs, (tuple, list)) else (outputs,):
            if isinstance(output, Tensor) and output.is_floating_point():
                return output
        raise CollabplanError("the model has no floating output that a shadow could be trained through")

    def release(
        self, data: Data, generator: torch.Generator, *, queries: int = 1, copies: CopyKind | None = None
    ) -> ObservedReleases:
        """Release each input `queries` times, and fuse the releases.

        Keyed masks repeat for an exact repeat. A near-duplicate is another input and gets another mask.

        Args:
            data: the inputs.
            generator: of fresh masks, of noise and of near-duplicates; on the CPU.
            queries: releases of each input.
            copies: all releases but the first are of near-duplicates of this kind; None repeats the input exactly.
        """
        rows = self.clean_rows(data)
        if copies is None or queries == 1:
            return self.release_rows(rows, data, generator, queries=queries)
        return self.release_frames(
            self.frames(rows, data, generator, queries, copies), generator, still=not copies.shift
        )

    def frames(
        self, rows: Sequence[Tensor], data: Data, generator: torch.Generator, count: int, copies: CopyKind
    ) -> Iterator[tuple[Sequence[Tensor], Data]]:
        """`data` with its undefended activations `rows`, and `count` - 1 near-duplicates of it with theirs."""
        yield rows, data
        pixels = self.pixels(data)
        for _ in range(count - 1):
            copy = self.with_pixels(data, near_copy(pixels, generator, copies))
            yield self.clean_rows(copy), copy

    def release_frames(
        self,
        frames: Iterable[tuple[Sequence[Tensor], Data]],
        generator: torch.Generator,
        defense: Defense | None = None,
        *,
        still: bool,
    ) -> ObservedReleases:
        """Release frames of the same scenes once each, and fuse them; the first frame's release is also kept apart.

        Args:
            frames: each the undefended activations of n inputs, and these inputs.
            generator: of fresh masks and of noise; on the CPU.
            defense: replaces the real one.
            still: no frame is shifted.
        """
        defense = defense or self.defense
        fused, first = FusedReleases(defense), None
        for rows, data in frames:
            release = self._once(rows, data, generator, defense)
            fused.add(release)
            if first is None:
                first = fused.observed(self.blank(data))
        assert first is not None  # there is at least one frame
        return replace(fused.observed(first.public), first=first, still=still)

    def release_rows(
        self, rows: Sequence[Tensor], data: Data, generator: torch.Generator, *, queries: int = 1,
        defense: Defense | None = None,
    ) -> ObservedReleases:  # fmt: skip
        """Release undefended activations `[n, *sample_shape]` of `data`; `defense` may replace the real one."""
        defense = defense or self.defense
        if not defense.repeats:
            queries = 1  # every release is the same
        fused = FusedReleases(defense)
        if defense.only_drops and defense.record.dropout is not None:
            # A number that was seen once is known, and q fresh masks miss it as often as one mask of rate p^q does.
            rarer = defense.record.dropout.model_copy(update={"rate": defense.rate**queries})
            fused.add(self._once(rows, data, generator, replace(defense, record=defense.record.replacing(rarer))))
            return replace(fused.observed(self.blank(data)), queries=queries)
        for _ in range(queries):
            fused.add(self._once(rows, data, generator, defense))
        return fused.observed(self.blank(data))

    def captured(self, observed: Sequence[Sequence[Tensor]], data: Data) -> ObservedReleases:
        """What a real device released, in place of what this one would.

        Args:
            observed: what `Defense.observed` read of each release: per private crossing `[n, *sample_shape]`.
            data: the n inputs; their public ones are kept.
        """
        fused = FusedReleases(self.defense)
        for rows in observed:
            fused.add(tuple(row.float() for row in rows))
        return fused.observed(self.blank(data))

    def _once(
        self, rows: Sequence[Tensor], data: Data, generator: torch.Generator, defense: Defense
    ) -> tuple[Tensor, ...]:
        keyed = defense.record.masks == "keyed" and defense.randomizes
        source = Keyed(self._secret, CONTEXT, self.pixels(data)) if keyed else Simulated(generator)
        return tuple(row.float() for row in defense.observed(defense.release(rows, source)))


def _concatenated(parts: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Rows of successive runs, one after the other."""
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))
