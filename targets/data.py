"""The samples that figures are measured on: the model's tensor inputs, batch first, and their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..graph.precision import widened
from ..records import CollabplanError, TargetError, hash_json, hash_rows

CHECKED = 64
"""Samples that are looked through at once."""

FEW = 8
"""As many samples as it takes to see whether anything happens."""


@dataclass(frozen=True, eq=False)
class Data:
    """N samples of a model's tensor inputs, in the traced graph's order.

    Attributes:
        inputs: each `[N, ...]`, the batch in dimension 0.
        labels: `[N, ...]`, or None if there are none.

    Raises:
        TargetError: there is no input or no sample, or the tensors disagree about N.

    Examples:
        >>> len(Data((torch.zeros(5, 3),)))
        5
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            raise TargetError("data without any tensor input; give one tensor per input of the model")
        tensors = [*self.inputs] if self.labels is None else [*self.inputs, self.labels]
        if any(tensor.ndim == 0 for tensor in tensors):
            raise TargetError("data holds a scalar tensor; every tensor needs the batch as its first dimension")
        lengths = [tensor.shape[0] for tensor in tensors]
        if len(set(lengths)) > 1:
            raise TargetError(f"data tensors disagree about the number of samples: {lengths} (inputs, then labels)")
        if lengths[0] == 0:
            raise TargetError("the dataset is empty; at least one sample is needed")

    def __len__(self) -> int:
        return self.inputs[0].shape[0]

    def take(self, indices: Tensor | Sequence[int]) -> Data:
        """The samples at `indices` (`[M]` of integers), in that order."""
        index = torch.as_tensor(indices, dtype=torch.long)
        labels = None if self.labels is None else self.labels[index]
        return Data(tuple(tensor[index] for tensor in self.inputs), labels)

    def few_batches(self, size: int, *, fixed: bool, few: int = FEW) -> list[Data]:
        """The first samples in batches of equal size, to look at differences: at least two batches, if there is data.

        Args:
            size: the samples of a batch.
            fixed: the model takes this batch size alone; otherwise smaller batches may be made.
            few: the samples of a batch that suffice.
        """
        if not fixed:
            size = min(size, few, max(len(self) // 2, 1))
        count = max(2, -(-few // size)) * size
        found = list(self.take(torch.arange(min(len(self), count))).batches(size))
        return found if fixed else [batch for batch in found if len(batch) == size]

    def batches(self, size: int) -> Iterator[Data]:
        """Successive slices of `size` >= 1 samples, as views. The last one may be shorter. Raises CollabplanError."""
        if size < 1:
            raise CollabplanError(f"a batch needs at least one sample, got size {size}")
        for start in range(0, len(self), size):
            yield self.part(slice(start, start + size))

    def part(self, some: slice) -> Data:
        """Successive samples, as a view."""
        return Data(tuple(tensor[some] for tensor in self.inputs), None if self.labels is None else self.labels[some])

    def splits(self, seed: int) -> tuple[Data, Data]:
        """Two random disjoint splits of equal size (search, confirm). The same seed gives the same splits.

        Raises:
            TargetError: there are fewer than two samples.
        """
        if len(self) < 2:
            raise TargetError("one sample cannot be divided into a search split and a confirm split; give more data")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        middle = len(self) // 2
        return self.take(order[:middle]), self.take(order[middle:])

    def sample_hashes(self) -> list[str]:
        """One content hash per sample, over all its inputs but not its label. Equal samples have equal hashes."""
        per_input = [hash_rows(tensor) for tensor in self.inputs]
        if len(per_input) == 1:
            return per_input[0]
        return [hash_json(parts)[:32] for parts in zip(*per_input, strict=True)]

    @cached_property
    def content_hash(self) -> str:
        """One hash over all samples and labels in their order. It is the key in caches and studies."""
        labels = None if self.labels is None else hash_rows(self.labels)
        return hash_json([self.sample_hashes(), labels])

    def require_finite(self) -> None:
        """Refuse NaN and infinity in the inputs. Raises TargetError, which names the input and the first sample."""
        for position, tensor in enumerate(self.inputs):
            if not tensor.is_floating_point():
                continue
            # Part by part: the check of the whole would hold as much as the data.
            parts = [torch.isfinite(part).reshape(len(part), -1).all(dim=1) for part in torch.split(tensor, CHECKED)]
            bad = ~torch.cat(parts)
            if bool(bad.any()):
                first = int(bad.nonzero()[0])
                raise TargetError(
                    f"input {position} holds NaN or infinity in {int(bad.sum())} of {len(self)} samples "
                    f"(the first is sample {first}); clean the data"
                )


@dataclass(frozen=True)
class InputScaling:
    """Maps a model's inputs to pixels in [0, 1] and back, so that errors compare across models.

    Attributes:
        low, high: the inputs for the pixels 0 and 1: one number for all channels, or one per channel (dimension 1).
        assumed: the range was read off the data and not declared.

    Raises:
        TargetError: `low` and `high` differ in length, or are not finite with low < high.

    Examples:
        >>> InputScaling.from_range(-1, 1).to_unit(torch.tensor([[0.0, 1.0]]))
        tensor([[0.5000, 1.0000]])
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    assumed: bool = False

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise TargetError(f"input range needs as many low as high ends, got {len(self.low)} and {len(self.high)}")
        for low, high in zip(self.low, self.high, strict=True):
            if not (torch.isfinite(torch.tensor([low, high])).all() and (low < high or (self.assumed and low == high))):
                raise TargetError(f"input range must be finite with low < high, got ({low}, {high})")

    @classmethod
    def from_range(cls, low: float, high: float) -> InputScaling:
        """The model reads values in [low, high]."""
        return cls((float(low),), (float(high),))

    @classmethod
    def from_mean_std(cls, mean: Sequence[float], std: Sequence[float]) -> InputScaling:
        """The model reads (pixel - mean) / std, per channel, with pixels in [0, 1]."""
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise TargetError("mean and std need one entry per channel each, and every std above 0")
        pairs = list(zip(mean, std, strict=True))
        return cls(tuple(-m / s for m, s in pairs), tuple((1 - m) / s for m, s in pairs))

    @classmethod
    def from_data(cls, *tensors: Tensor) -> InputScaling:
        """An assumed range: from the least to the greatest value in floating `tensors`, each `[N, ...]`.

        A single table of features `[N, F]` gets one range per feature, because features differ in unit. Anything else
        gets one range for all.

        Raises:
            TargetError: none of the tensors is floating.
        """
        floating = [tensor for tensor in tensors if tensor.is_floating_point()]
        if not floating:
            raise TargetError("an input range can be read off floating inputs only; declare `input_range`")
        if len(floating) == 1 and floating[0].ndim == 2:
            low, high = floating[0].double().aminmax(dim=0)
            return cls(tuple(low.tolist()), tuple(high.tolist()), assumed=True)
        low_end = min(float(tensor.min()) for tensor in floating)
        high_end = max(float(tensor.max()) for tensor in floating)
        return cls((low_end,), (high_end,), assumed=True)

    def to_unit(self, x: Tensor) -> Tensor:
        """The pixels of inputs `x` `[N, C, ...]`: the same shape, float32 or wider, clamped to [0, 1].

        Raises:
            TargetError: the range is per channel, and `x` has another number of channels.
        """
        return ((widened(x) - self._broadcast(self.low, x)) / self.spans(x)).clamp(0.0, 1.0)

    def from_unit(self, pixels: Tensor) -> Tensor:
        """The inputs for `pixels` `[N, C, ...]` in [0, 1]: the inverse of `to_unit`. Gradients pass through.

        Raises:
            TargetError: as `to_unit`.
        """
        return self._broadcast(self.low, pixels) + pixels * self.spans(pixels)

    def spans(self, x: Tensor) -> Tensor:
        """How far an input moves when its pixel goes from 0 to 1, in a shape that broadcasts to `x` `[N, C, ...]`.

        Raises:
            TargetError: as `to_unit`.
        """
        low, high = (self._broadcast(ends, x) for ends in (self.low, self.high))
        return torch.where(high > low, high - low, torch.ones_like(high))

    def share_outside(self, x: Tensor, tolerance: float = 0.02) -> float:
        """The share of values that lie outside [0, 1] by more than `tolerance`, before clamping.

        If it is more than a few per cent, the declared range is not the one that the model was trained with.
        """
        low, high = (self._broadcast(ends, x) for ends in (self.low, self.high))
        margin = tolerance * (high - low)
        outside = (x < low - margin) | (x > high + margin)
        return float(outside.double().mean())

    def _broadcast(self, ends: tuple[float, ...], x: Tensor) -> Tensor:
        values = torch.tensor(ends, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32, device=x.device)
        if len(ends) == 1:
            return values[0]
        if x.ndim < 2 or x.shape[1] != len(ends):
            raise TargetError(
                f"the input range has {len(ends)} channels, an input of shape {tuple(x.shape)} does not; "
                "declare one range for all channels, or one entry per channel (dimension 1)"
            )
        return values.reshape(-1, *[1] * (x.ndim - 2))
