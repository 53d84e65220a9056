"""The device that is attacked: the edge half and its defense, run on pixels in [0, 1].

Several releases of one input are fused as an attacker would: without noise every number that survived once is
known; with noise the mean counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..defenses.interface import NO_RANDOMNESS
from ..defenses.pipeline import Defense
from ..defenses.randomness import Keyed, Simulated
from ..defenses.transforms import Transforms
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
from ..records import CollabplanError, hash_tensors
from ..records.revisions import Part
from ..targets.data import FEW, Data, InputScaling

RELEASES = Part("releases")
"""Raise its revision whenever the same inputs and seed give attackers other releases."""

CONTEXT = b"audit"
SHIFT = 1
COPY_NOISE = 4 / 255
"""A near-duplicate is shifted by up to a pixel and has noise of this standard deviation."""


@dataclass(frozen=True, eq=False)
class ObservedReleases:
    """What was released for n inputs, the releases of each fused into one.

    Attributes:
        rows: per private crossing `[n, *sample_shape]` float32: the number where it was seen, 0 where it was not.
        seen: per private crossing `[n, *sample_shape]` bool, False where nothing but 0 was seen, which was dropped
            or is 0; None where nothing is dropped, or where noise hides what was.
        public: what else is known of the inputs: the model's arguments, the private one blank.
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
        """The inputs at `indices` `[m]`."""
        return ObservedReleases(
            tuple(row[indices] for row in self.rows),
            tuple(None if seen is None else seen[indices] for seen in self.seen),
            self.public.take(indices),
            self.queries,
        )


def attacked_input(traced: TracedGraph) -> int:
    """Which of the model's inputs attacks reconstruct.

    Raises:
        CollabplanError: none of them, or several.
    """
    specs = traced.tensor_inputs
    private = [at for at, own in enumerate(differ_by_sample(specs)) if own and not specs[at].public]
    tokens = [specs[at].name for at in private if holds_tokens(traced, at)]
    if tokens:
        raise CollabplanError(
            f"no attack on token inputs is built yet, and {', '.join(tokens)} holds tokens; the estimate for them is "
            "token recovery: run `collabplan leakage`. Keep the tokens private: text that is declared public is sent"
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


class AuditTarget:
    """One cut of one model under one defense.

    Args:
        traced: the model.
        cut: where it is divided.
        defense: calibrated, over the cut's crossings. Where it has a projection, or custom stages that draw nothing,
            the device ends in their codes: whatever is said of activations here is said of these.
        scaling: between pixels in [0, 1] and what the model reads.
        device: where the model runs; what is released is on the CPU.
        batch_size: inputs per forward pass.
        secret: of keyed masks.
        tuned: the cloud half's parameters where it was fine-tuned; whoever runs it has these.

    Raises:
        CollabplanError: no input, or several, that an attack could reconstruct.
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
        self.device = torch.device(device)
        self.batch_size = traced.samples_at_once(batch_size)
        self.position = attacked_input(traced)
        self.halves: Halves = split(traced, cut)
        self.tuned_hash = None if tuned is None else hash_tensors(tuned)
        if tuned is not None:
            self.halves = replace(self.halves, cloud=with_weights(self.halves.cloud, tuned))
        self._secret = secret
        self.secret_hash = hashlib.sha256(secret).hexdigest()
        self._kept = [at for at, crossing in enumerate(cut.crossing) if not crossing.public]
        private = tuple(cut.crossing[at] for at in self._kept)
        self.transforms = Transforms(defense.transforms.first(steady).stages, private)

    def pixels(self, data: Data) -> Tensor:
        """The private input in [0, 1], `[n, *shape]` float32."""
        return self.scaling.to_unit(data.inputs[self.position]).float()

    def with_pixels(self, data: Data, pixels: Tensor) -> Data:
        """`data` with its private input made of `pixels` `[n, *shape]` in [0, 1]; gradients flow through."""
        inputs = list(data.inputs)
        inputs[self.position] = self.scaling.from_unit(pixels).to(data.inputs[self.position].dtype)
        return Data(tuple(inputs), data.labels)

    def blank(self, data: Data) -> Data:
        """`data` without its private input and its labels."""
        inputs = list(data.inputs)
        inputs[self.position] = torch.zeros_like(inputs[self.position])
        return Data(tuple(inputs))

    def edge(self, data: Data, program: nn.Module | None = None) -> tuple[Tensor, ...]:
        """Private crossings of at most a batch, as rows `[n, *sample_shape]` on the device; gradients flow through.

        `program` takes the place of the edge half's own.
        """
        if self.traced.mixed_at is not None and len(data) > 1:
            return _stacked([self.edge(one, program) for one in data.batches(1)])
        crossed = (program or self.halves.edge.graph_module)(*self._arguments(data))  # type: ignore[operator]
        rows = []
        for at in self._kept:
            layout = self.cut.crossing[at].layout
            assert layout is not None  # Defense refuses private tensors without one
            rows.append(to_samples(crossed[at], layout)[: len(data)])
        return tuple(self.transforms.apply_rows(rows, NO_RANDOMNESS))

    def dead_gradients(self, data: Data) -> dict[str, tuple[str, ...]]:
        """Private crossings whose gradients do not tell how they move between the inputs `data`, and where these end.

        A crossing of integers is one of them, unless it is the same for all inputs.
        """
        few = data.few_batches(self.batch_size, fixed=not self.traced.dynamic_batch)
        found = dead_gradients(self.traced, [self.cut], [self._arguments(batch) for batch in few])
        for at, row in zip(self._kept, self.clean_rows(data.take(torch.arange(min(FEW, len(data))))), strict=True):
            crossing = self.cut.crossing[at]
            if not crossing.is_floating and bool((row != row[:1]).any()):
                found.setdefault(crossing.name, (crossing.dtype,))
        return found

    def _arguments(self, data: Data) -> list[Tensor]:
        """At most a batch as the graph takes it, filled up where the batch size is fixed; on the device."""
        arguments = []
        missing = 0 if self.traced.dynamic_batch else self.batch_size - len(data)
        for spec, tensor in zip(self.traced.tensor_inputs, data.inputs, strict=True):
            if spec.batch_dim is None:
                arguments.append(tensor[0].to(self.device))
                continue
            if missing > 0:
                tensor = torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])
            arguments.append(tensor.movedim(0, spec.batch_dim).to(self.device))
        return arguments

    @torch.no_grad()
    def clean_rows(self, data: Data) -> tuple[Tensor, ...]:
        """Undefended private crossings of any number of inputs, on the CPU."""
        return tuple(rows.cpu() for rows in _stacked([self.edge(batch) for batch in data.batches(self.batch_size)]))

    def cloud(self, rows: Sequence[Tensor]) -> Tensor:
        """The model's first floating output for private crossings alone `[n, *sample_shape]`.

        Raises:
            CollabplanError: public tensors cross as well, or no output is floating.
        """
        if len(self._kept) < len(self.cut.crossing):
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
        self, data: Data, generator: torch.Generator, *, queries: int = 1, near_copies: bool = False
    ) -> ObservedReleases:
        """Release each input `queries` times, the further ones of near-duplicates if wanted, and fuse them.

        Keyed masks repeat for an exact repeat. A near-duplicate is another input, and gets another mask.
        """
        rows = self.clean_rows(data)
        if not near_copies:
            return self.release_rows(rows, data, generator, queries=queries)
        fused = _Fused(self.defense)
        fused.add(self._once(rows, data, generator, self.defense))
        pixels = self.pixels(data)
        for _ in range(queries - 1):
            copy = self.with_pixels(data, near_copy(pixels, generator))
            fused.add(self._once(self.clean_rows(copy), copy, generator, self.defense))
        return fused.released(self.blank(data))

    def release_rows(
        self, rows: Sequence[Tensor], data: Data, generator: torch.Generator, *, queries: int = 1,
        defense: Defense | None = None,
    ) -> ObservedReleases:  # fmt: skip
        """The same for activations `[n, *sample_shape]` of `data`; `defense` may replace the real one."""
        defense = defense or self.defense
        if not defense.repeats:
            queries = 1  # the same thing comes out every time
        fused = _Fused(defense)
        if defense.only_drops and defense.record.dropout is not None:
            # What was seen once is known, and q fresh masks leave a number unseen as often as one of rate p^q does.
            rarer = defense.record.dropout.model_copy(update={"rate": defense.rate**queries})
            fused.add(self._once(rows, data, generator, replace(defense, record=defense.record.replacing(rarer))))
            return replace(fused.released(self.blank(data)), queries=queries)
        for _ in range(queries):
            fused.add(self._once(rows, data, generator, defense))
        return fused.released(self.blank(data))

    def captured(self, observed: Sequence[Sequence[Tensor]], data: Data) -> ObservedReleases:
        """What a real device released, in place of what this one would.

        Args:
            observed: release after release, what `Defense.observed` read of it: per private crossing
                `[n, *sample_shape]`.
            data: the n inputs, of which the public ones are kept.
        """
        fused = _Fused(self.defense)
        for rows in observed:
            fused.add(tuple(row.float() for row in rows))
        return fused.released(self.blank(data))

    def _once(
        self, rows: Sequence[Tensor], data: Data, generator: torch.Generator, defense: Defense
    ) -> tuple[Tensor, ...]:
        keyed = defense.record.masks == "keyed" and defense.randomizes
        source = Keyed(self._secret, CONTEXT, self.pixels(data)) if keyed else Simulated(generator)
        return tuple(row.float() for row in defense.observed(defense.release(rows, source)))


def _stacked(parts: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Rows of several runs, one after the other."""
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))


class _Fused:
    """Releases of the same inputs, fused one by one."""

    def __init__(self, defense: Defense) -> None:
        self.defense = defense
        self.times: list[Tensor] | None = None
        self.sums: list[Tensor] = []
        self.count = 0

    def add(self, release: tuple[Tensor, ...]) -> None:
        """One more release, rows `[n, *sample_shape]` per private crossing."""
        self.count += 1
        seen = [row != 0 for row in release]
        if self.times is None:
            self.sums, self.times = list(release), list(seen)
            return
        self.sums = [total + row for total, row in zip(self.sums, release, strict=True)]
        self.times = [total.int() + row for total, row in zip(self.times, seen, strict=True)]

    def released(self, public: Data) -> ObservedReleases:
        """All of them as one."""
        assert self.times is not None  # something was added
        rows: list[Tensor] = []
        seen: list[Tensor | None] = []
        for total, times, crossing in zip(self.sums, self.times, self.defense.tail.crossing, strict=True):
            if self.defense.drops(crossing) and not self.defense.noises(crossing):
                rows.append(total if self.count == 1 else total / times.clamp(min=1))
                seen.append(times > 0)
            else:
                rows.append(total if self.count == 1 else total / self.count)
                seen.append(None)
        return ObservedReleases(tuple(rows), tuple(seen), public, self.count)


def near_copy(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Near-duplicates of `pixels` `[n, ...]` in [0, 1]: images are shifted by up to a pixel, all get a little noise."""
    if pixels.ndim == 4:
        shifts = torch.randint(-SHIFT, SHIFT + 1, (len(pixels), 2), generator=generator)
        down, right = shifts[:, :1] + torch.arange(pixels.shape[2]), shifts[:, 1:] + torch.arange(pixels.shape[3])
        down, right = down.clamp(0, pixels.shape[2] - 1), right.clamp(0, pixels.shape[3] - 1)
        at = torch.arange(len(pixels))[:, None, None]
        pixels = pixels.movedim(1, -1)[at, down[:, :, None], right[:, None, :]].movedim(-1, 1)
    noise = torch.randn(pixels.shape, generator=generator) * COPY_NOISE
    return (pixels + noise).clamp(0, 1)
