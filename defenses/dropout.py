"""Dropout at the cut: elements or whole channels are set to zero, and released **unscaled**.

The device sends `mask * h` and the cloud multiplies by `1 / (1 - rate)`. Scaling before the wire (`torch.nn.Dropout`)
would lift the signal over the fixed noise floor, and mutual information would then *rise* with the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Crossing, DropoutRecord, Granularity
from .randomness import Randomness


@dataclass(frozen=True, slots=True)
class DropoutStage:
    """Masks are independent per sample and tensor.

    A *channel* is an index of the sample's first dimension, as `torch.nn.Dropout1d/2d/3d` have it: a feature map of
    `[C, H, W]`, a token of `[tokens, features]`; in a plain vector it is an element.
    """

    name: ClassVar[str] = "dropout"
    revision: ClassVar[int] = 1
    search_values: ClassVar[tuple[float, ...]] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    nanoseconds: ClassVar[dict[Granularity, float]] = {"element": 16.0, "channel": 1.5}
    """Per element on the device: see `planner.latency`."""

    record: DropoutRecord

    @property
    def rate(self) -> float:
        """Probability that an element or channel is dropped."""
        return self.record.rate

    @property
    def by_channel(self) -> bool:
        """True where whole channels fall together."""
        return self.record.granularity == "channel"

    @property
    def distance_factor(self) -> float | None:
        """By what dropout multiplies squared distances of what it acts on, in expectation, the mask in view.

        1 - rate for elements: over a wide tensor the average is the distance. None for channels: a few dropped
        channels are no average, so masks must be drawn.
        """
        return None if self.by_channel else 1.0 - self.rate

    def mask(self, crossing: Crossing, rows: int, source: Randomness) -> Tensor:
        """Masks of kept elements, bool, `[rows, *sample_shape]`, or `[rows, C, 1, ...]` for channels."""
        shape = [rows, *crossing.sample_shape]
        if self.by_channel:
            shape[2:] = [1] * len(shape[2:])
        return source.uniform(f"{crossing.node}/mask", shape) >= self.rate

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:
        """Zeros where the mask says so."""
        kept = self.mask(crossing, rows.shape[0], source).to(rows.device)
        # `where` and not a product: infinity * 0 would be NaN, and negative numbers would leave as -0.0.
        return torch.where(kept, rows, torch.zeros((), dtype=rows.dtype, device=rows.device))

    def receive(self, rows: Tensor, crossing: Crossing) -> Tensor:  # noqa: ARG002
        """Multiplied by 1 / (1 - rate)."""
        return rows / (1 - self.rate)
