"""Quantization for the wire: static, affine, with a code that is exactly zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..graph.precision import widened
from ..records import CollabplanError, Crossing, QuantizerRecord
from .randomness import Randomness

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

    @property
    def last(self) -> int:
        """The greatest code."""
        return (1 << self.bits) - 1

    def position(self, values: Tensor) -> Tensor:
        """`values` in steps from zero, clipped to the codes' ends; float32 or wider, any shape."""
        return (widened(values) / self.step).clamp_(-self.zero_point, self.last - self.zero_point)

    def quantize(self, values: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Codes of `values`, any shape; what lies outside the range is clipped to its end.

        Args:
            uniform: numbers in [0, 1) of the same shape, for stochastic rounding: the code above is taken with the
                probability of the distance to the code below, so that the mean is kept. None: the nearest code.
        """
        steps = self.position(values)
        if uniform is None:
            steps = steps.round_()
        else:
            below = steps.floor()
            # A comparison, not floor(steps + uniform): float32 would round that sum up at grid points.
            steps = below + (uniform < steps - below)
        codes = steps.add_(self.zero_point).to(torch.int32)
        return codes.to(torch.uint8) if self.bits <= 8 else codes  # at once it takes four times as long

    def signed(self, codes: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Codes counted from zero: the wire value in units of the step, exact in `dtype`."""
        return codes.to(dtype, copy=True).sub_(self.zero_point)

    def dequantize(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """The values that `codes` stand for, in `dtype`."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return self.signed(codes, wide).mul_(self.step).to(dtype)


@dataclass(frozen=True, slots=True)
class QuantizerStage:
    """Integer codes on the wire. `quantizers` by node, calibrated."""

    name: ClassVar[str] = "quantizer"
    revision: ClassVar[int] = 1
    search_values: ClassVar[tuple[int, ...]] = (8, 4)
    nanoseconds: ClassVar[float] = 2.0
    rounding_nanoseconds: ClassVar[float] = 14.0
    """Per element on the device, and as much more for stochastic rounding: see `planner.latency`."""

    record: QuantizerRecord
    quantizers: Mapping[str, Quantizer]

    @property
    def random(self) -> bool:
        """True where rounding is stochastic."""
        return self.record.rounding == "stochastic"

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:
        """Codes: uint8 up to 8 bits, int32 above."""
        uniform = source.uniform(f"{crossing.node}/rounding", rows.shape).to(rows.device) if self.random else None
        return self.quantizers[crossing.node].quantize(rows, uniform)

    def receive(self, rows: Tensor, crossing: Crossing) -> Tensor:
        """The values that codes stand for, in the tensor's dtype."""
        return self.quantizers[crossing.node].dequantize(rows, getattr(torch, crossing.dtype))
