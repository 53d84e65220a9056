"""What the device does to the crossing tensors before they leave: dropout, then the quantizer.

Released **unscaled**: the device sends `mask * h` and the cloud half multiplies by `1 / (1 - rate)`.
Scaling before the wire (`torch.nn.Dropout`) would lift the signal over the quantizer's fixed step, and
mutual information at a fixed noise floor would then *rise* with the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..graph import Cut, from_samples, to_samples
from ..records import CollabplanError, Crossing, CutError, DefenseSpec, Layout, TensorRange

SMALLEST_STEP = torch.finfo(torch.float32).tiny
"""Below it float32 cannot divide by the step."""


@dataclass(frozen=True, slots=True)
class Quantizer:
    """A static affine quantizer with 2^bits levels, one of which is exactly zero.

    A dropped element is therefore exactly zero on the wire, and quantizing commutes with dropping.
    Codes are uint8 up to 8 bits and int32 above; `payload_bytes` counts them packed to `bits`.
    """

    step: float
    zero_point: int
    bits: int

    @classmethod
    def from_range(cls, low: float, high: float, bits: int) -> Quantizer:
        """The finest such quantizer that covers [low, high]. With one bit only the side of zero that reaches further.

        Raises:
            CollabplanError: ends that are not finite or not in order.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise CollabplanError(f"a quantizer needs a finite range with low <= high, got [{low}, {high}]")
        low, high, last = min(low, 0.0), max(high, 0.0), 2**bits - 1
        if low == high:
            return cls(1.0, 0, bits)
        if last == 1:
            return cls(max(high, -low, SMALLEST_STEP), 0 if high >= -low else 1, bits)
        zero_point = round(-low / (high - low) * last)
        if low < 0:
            zero_point = max(zero_point, 1)
        if high > 0:
            zero_point = min(zero_point, last - 1)
        ends = [-low / zero_point] if zero_point else []
        ends += [high / (last - zero_point)] if zero_point < last else []
        return cls(max(*ends, SMALLEST_STEP), zero_point, bits)

    def quantize(self, values: Tensor) -> Tensor:
        """Codes of `values`, any shape; what lies outside the range is clipped to its end."""
        wide = values if values.dtype == torch.float64 else values.float()
        codes = (wide / self.step).round_().add_(self.zero_point).clamp_(0, 2**self.bits - 1)
        return codes.to(torch.uint8 if self.bits <= 8 else torch.int32)

    def signed(self, codes: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Codes counted from zero: the wire value in units of the step, exact in `dtype`."""
        return codes.to(dtype) - self.zero_point

    def dequantize(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """The values that `codes` stand for, in `dtype`."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return (self.signed(codes, wide) * self.step).to(dtype)


@dataclass(frozen=True)
class Defense:
    """A defense bound to the tensors that cross one cut.

    Dropout and quantizer act on private floating tensors. A raw private input is quantized like the
    rest, as any honest cloud-only client would, but never dropped: its leakage is 1 whatever is done
    to it. Public and integer tensors pass as they are. A *channel* is an index of the sample's first
    dimension, as `torch.nn.Dropout1d/2d/3d` have it: a feature map of `[C, H, W]`, a token of
    `[tokens, features]`; in a plain vector it is an element.

    Tensors go in and come out in the graph's own layout, one per crossing and in its order.
    """

    spec: DefenseSpec
    crossing: tuple[Crossing, ...]

    def __post_init__(self) -> None:
        for crossing in self.crossing:
            if not crossing.public and crossing.layout is None:
                raise CutError(
                    f"{crossing.name} cannot be divided into samples, so no defense can act on it; choose another cut"
                )

    @classmethod
    def for_cut(cls, spec: DefenseSpec, cut: Cut) -> Defense:
        """`spec` at `cut`. The outputs of the edge-only cut pass as they are: there is no cut to defend."""
        if cut.kind == "edge-only":
            spec = DefenseSpec(dropout="none", rate=0.0, bits=None)
        return cls(spec, cut.crossing)

    @property
    def rate(self) -> float:
        """Probability that an element or channel is dropped; 0 without dropout."""
        return 0.0 if self.spec.dropout == "none" else self.spec.rate

    def acts_on(self, crossing: Crossing) -> bool:
        """True for private floating tensors."""
        return crossing.is_floating and not crossing.public

    def drops(self, crossing: Crossing) -> bool:
        """True for the tensors that dropout acts on."""
        return self.rate > 0 and self.acts_on(crossing) and not crossing.raw_input

    @cached_property
    def private(self) -> Defense:
        """The same defense over the private crossings alone, taking one row per sample in place of their layout."""
        kept = [c.model_copy(update={"layout": Layout()}) for c in self.crossing if not c.public]
        return Defense(self.spec, tuple(kept))

    @cached_property
    def quantizers(self) -> tuple[Quantizer | None, ...]:
        """One per crossing; None where tensors cross in their own dtype.

        Raises:
            CollabplanError: a tensor has no range yet.
        """
        if self.spec.bits is None:
            return (None,) * len(self.crossing)
        ranges = {found.node: found for found in self.spec.ranges}
        made: list[Quantizer | None] = []
        for crossing in self.crossing:
            if not self.acts_on(crossing):
                made.append(None)
                continue
            if crossing.node not in ranges:
                raise CollabplanError(
                    f"the quantizer has no range for {crossing.name}; call `calibrate` on sample rows"
                )
            found = ranges[crossing.node]
            made.append(Quantizer.from_range(found.low, found.high, self.spec.bits))
        return tuple(made)

    def calibrate(self, tensors: Sequence[Tensor]) -> Defense:
        """The same defense with each quantizer's range taken from `tensors` (least and greatest value).

        Raises:
            CollabplanError: NaN or infinity in a tensor.
        """
        ranges = []
        for crossing, tensor in zip(self.crossing, self._require_all(tensors), strict=True):
            if not self.acts_on(crossing):
                continue
            low, high = (float(end) for end in tensor.detach().aminmax())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise CollabplanError(
                    f"activations at {crossing.name} hold NaN or infinity; check the weights and the data"
                )
            ranges.append(TensorRange(node=crossing.node, low=low, high=high))
        return Defense(self.spec.model_copy(update={"ranges": tuple(ranges)}), self.crossing)

    def release(self, tensors: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        """What leaves the device: dropped out unscaled, then integer codes (or floats without a quantizer).

        Masks are fresh and independent per sample and tensor. Shapes are those of `tensors`.
        """
        released = []
        for crossing, quantizer, tensor in zip(self.crossing, self.quantizers, self._require_all(tensors), strict=True):
            kept = self._drop(crossing, tensor, generator) if self.drops(crossing) else tensor
            released.append(kept if quantizer is None else quantizer.quantize(kept))
        return tuple(released)

    def receive(self, released: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the cloud half reads: dequantized and multiplied by 1 / (1 - rate), in the model's dtypes."""
        received = []
        for crossing, quantizer, tensor in zip(
            self.crossing, self.quantizers, self._require_all(released), strict=True
        ):
            values = tensor if quantizer is None else quantizer.dequantize(tensor, getattr(torch, crossing.dtype))
            received.append(values / (1 - self.rate) if self.drops(crossing) else values)
        return tuple(received)

    def simulate(self, tensors: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        """`receive(release(tensors))`: the defense as the cloud half feels it."""
        return self.receive(self.release(tensors, generator))

    def observed(self, released: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What an adversary on the wire or in the cloud reads: rows `[N, *sample_shape]`, dequantized, not rescaled.

        Only private crossings, in their order; integer ones as float32.
        """
        rows = []
        for crossing, quantizer, tensor in zip(
            self.crossing, self.quantizers, self._require_all(released), strict=True
        ):
            if crossing.public or crossing.layout is None:
                continue
            if quantizer is not None:
                tensor = quantizer.dequantize(tensor, getattr(torch, crossing.dtype))
            elif not crossing.is_floating:
                tensor = tensor.float()
            rows.append(to_samples(tensor, crossing.layout))
        return tuple(rows)

    def payload_bytes(self) -> int:
        """Bytes per sample on the wire, without framing; constant for a plan.

        Codes are packed to `bits`. Dropout does **not** reduce it: dropped elements travel as zeros. Leaving
        them out would need the mask on the wire or in the message's length, and entropy coding would make the
        size depend on the private input.
        """
        total = 0
        for crossing in self.crossing:
            if self.spec.bits is not None and self.acts_on(crossing):
                total += math.ceil(crossing.sample_elements * self.spec.bits / 8)
            else:
                total += crossing.sample_elements * crossing.element_bytes
        return total

    def mask(self, crossing: Crossing, rows: int, generator: torch.Generator) -> Tensor:
        """Fresh masks of kept elements, bool, `[rows, *sample_shape]` or `[rows, C, 1, ...]` for channels."""
        shape = [rows, *crossing.sample_shape]
        if self.spec.dropout == "channel":
            shape[2:] = [1] * len(shape[2:])
        return torch.rand(shape, generator=generator, device=generator.device) >= self.rate

    def _drop(self, crossing: Crossing, tensor: Tensor, generator: torch.Generator) -> Tensor:
        layout = crossing.layout
        assert layout is not None  # __post_init__ refuses private tensors without one
        rows = to_samples(tensor, layout)
        kept = self.mask(crossing, rows.shape[0], generator).to(rows.device)
        # `where` and not a product: infinity * 0 would be NaN, and negative numbers would leave as -0.0.
        return from_samples(torch.where(kept, rows, torch.zeros((), dtype=rows.dtype, device=rows.device)), layout)

    def _require_all(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        if len(tensors) != len(self.crossing):
            names = ", ".join(crossing.name for crossing in self.crossing)
            raise CollabplanError(f"expected {len(self.crossing)} tensors ({names}), got {len(tensors)}")
        return tensors
