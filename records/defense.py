"""What the device does to the crossing tensors before they leave."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Record

DropoutKind = Literal["none", "element", "channel"]
NoiseKind = Literal["none", "gaussian", "laplace"]
Rounding = Literal["nearest", "stochastic"]
MaskKind = Literal["fresh", "keyed"]
Kept = Annotated[float, Field(gt=0, le=1)] | Annotated[int, Field(ge=2)]
"""Directions that are released: a share of those at each position, or from 2 on so many of the whole tensor."""


class TensorRange(Record):
    """Static range of one crossing tensor on the wire: calibrated once, clipped to ever after."""

    node: str
    low: float
    high: float


class DefenseSpec(Record):
    """What the device does to the crossing tensors: directions, dropout (released unscaled), noise, then the quantizer.

    `kept` is the share of each position's directions that is released at all, or from 2 on the count of directions of
    the whole tensor, those that the cloud half uses most; `directions` is the hash of their matrices, which lie beside
    the plan and are no secret.

    `rate` is the probability that an element or channel is dropped. `noise_std` is the standard deviation of the
    added noise as a share of each tensor's calibrated range. `bits` is None where tensors cross in the model's own
    dtype. `ranges` names every floating private crossing once calibrated. `masks` are drawn afresh for each release,
    or *keyed*: the same input always gets the same mask and noise, so that repeated queries tell nothing new. No key
    and no seed is ever part of a record.
    """

    kept: Kept = 1.0
    directions: str | None = None
    dropout: DropoutKind = "none"
    rate: float = Field(default=0.0, ge=0, lt=1)
    masks: MaskKind = "fresh"
    noise: NoiseKind = "none"
    noise_std: float = Field(default=0.0, ge=0)
    bits: int | None = Field(default=8, ge=1, le=16)
    rounding: Rounding = "nearest"
    ranges: tuple[TensorRange, ...] = ()


def kept_in_words(kept: float) -> str:
    """`0.25 of the directions`, or `12 directions of the whole`."""
    return f"{kept:g} directions of the whole" if kept > 1 else f"{kept:g} of the directions"
