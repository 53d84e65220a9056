"""Which model, on which machine, made by what: the identities that profiles and plans carry."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

from .base import Record
from .errors import MismatchError

DTYPE_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "uint16": 2, "uint32": 4, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of one number, by the name of its dtype."""


class Layout(Record):
    """How a crossing tensor becomes one row per sample.

    Dimension `batch_dim` has size `groups * batch`. With `batch_major`, a sample's groups are
    neighbours (index = sample * groups + group). Otherwise index = group * batch + sample.
    """

    batch_dim: int = Field(default=0, ge=0)
    groups: int = Field(default=1, ge=1)
    batch_major: bool = True


class Crossing(Record):
    """One tensor that crosses a cut.

    `sample_shape` is the shape of one sample (without batch) after `layout` is applied. Where
    `layout` is None the tensor cannot be divided into samples (the cut is profiled, never searched),
    and `sample_shape` is the whole shape at batch 1. `public` marks an input that the user declared
    harmless. `raw_input` marks a private input that crosses as it is (or an invertible view of it): its
    leakage is 1 by definition.
    """

    name: str
    node: str
    dtype: str
    sample_shape: tuple[int, ...]
    layout: Layout | None = Layout()
    public: bool = False
    raw_input: bool = False

    @field_validator("dtype")
    @classmethod
    def _known(cls, dtype: str) -> str:
        if dtype not in DTYPE_BYTES:
            raise ValueError(f"dtype {dtype!r} cannot cross; known are {', '.join(DTYPE_BYTES)}")
        return dtype

    @property
    def sample_elements(self) -> int:
        """The count of numbers in one sample."""
        return math.prod(self.sample_shape)

    @property
    def is_floating(self) -> bool:
        """True where a defense can act on it: it cannot drop out integers."""
        return self.dtype in {"float16", "bfloat16", "float32", "float64"}

    @property
    def is_quantized(self) -> bool:
        """True where a quantizer acts on it: private floating tensors, a raw input among them."""
        return self.is_floating and not self.public

    @property
    def is_defended(self) -> bool:
        """True where every stage acts on it: private floating tensors that are no raw input."""
        return self.is_quantized and not self.raw_input

    @property
    def is_complex(self) -> bool:
        """True for complex numbers, which are pairs of floating ones."""
        return self.dtype.startswith("complex")

    @property
    def element_bytes(self) -> int:
        """The bytes of one number in the model's dtype."""
        return DTYPE_BYTES[self.dtype]


CutKind = Literal["cloud-only", "proper", "edge-only"]


class ModelIdentity(Record):
    """The model that a plan is bound to: its structure (canonical graph.json), its weights, and the tracer's torch.

    `parameter_count` and `parameter_bytes` are those of the whole graph, counted as a profile counts a cut's edge half.
    """

    name: str
    structure_hash: str
    weights_hash: str
    torch_version: str
    parameter_count: int = Field(ge=0)
    parameter_bytes: int = Field(ge=0)

    def require_same(self, other: ModelIdentity, *, record: str, weights: bool = True) -> None:
        """Refuse another model than this one, and say what differs.

        Args:
            other: the model at hand.
            record: the record with this identity, for the message (`plan plan.json`).
            weights: False compares only the structure (two devices may profile in two dtypes).

        Raises:
            MismatchError: the structures differ (under another torch, perhaps of the same model), or the weights do.
        """
        if self.structure_hash != other.structure_hash:
            if self.torch_version != other.torch_version:
                raise MismatchError(
                    f"{record} was made under torch {self.torch_version}, this is torch {other.torch_version}, and the "
                    "graphs differ: install that torch, or profile and optimize again under this one"
                )
            raise MismatchError(
                f"{record} is for a model of another structure (recorded {self.structure_hash[:12]}, "
                f"here {other.structure_hash[:12]}): profile and optimize this model anew"
            )
        if weights and self.weights_hash != other.weights_hash:
            raise MismatchError(
                f"{record} is for other weights of the same structure (recorded {self.weights_hash[:12]}, here "
                f"{other.weights_hash[:12]}): privacy and accuracy were measured on those; optimize again"
            )


class TargetIdentity(Record):
    """The user's target as it was given, with the hash of its file, which shows a change."""

    spec: str
    file: str | None = None
    file_sha256: str | None = None
    options: dict[str, str] = Field(default_factory=dict)

    @property
    def max_crossing(self) -> int:
        """Most tensors that may cross one of its cuts, as its options say; 4 where they do not."""
        return int(self.options.get("max_crossing", "4"))


class DeviceIdentity(Record):
    """The machine that was measured."""

    device: str
    name: str
    threads: int
    load_average: float | None = None
    memory_bytes: int | None = None


class Provenance(Record):
    """How a record was made: versions, hardware, git state of the user's model, seed, command line."""

    created_utc: str
    collabplan_version: str
    python_version: str
    torch_version: str
    platform: str
    processor: str
    cores: int
    git_revision: str | None = None
    git_dirty: bool | None = None
    seed: int | None = None
    command: tuple[str, ...] = ()
