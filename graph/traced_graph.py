"""The traced graph: a model as one flat graph, with what is known about its inputs and its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, fx, nn

from ..records import Layout, ModelIdentity, TraceError

if TYPE_CHECKING:
    import sympy

NodeKind = Literal["value", "public", "shape", "constant"]
"""What a node's result depends on: private values, public inputs alone, shapes alone, or nothing."""

Method = Literal["non-strict", "strict", "static"]
"""The way of `torch.export` that reproduced the model; `static` runs at one batch size only."""

D = TypeVar("D")


class FixedBatchError(TraceError):
    """The model can be traced, but not with a free batch: it computes something else at another batch size."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One flattened input of the model.

    Attributes:
        name: the forward parameter, with `.key` for what is nested in it.
        shape: the example's shape; None for an input that is not a tensor.
        dtype: the example's dtype; None for an input that is not a tensor.
        batch_dim: the dimension that counts samples, free where the trace is dynamic; None: the input has no batch.
        public: the user declared it harmless to send.
        constant: the value of an input that is not a tensor. It is fixed at trace time.

    Examples:
        >>> InputSpec("x", (1, 3), torch.float32, batch_dim=0, public=False).is_tensor
        True
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    batch_dim: int | None
    public: bool
    constant: Any = None

    @property
    def is_tensor(self) -> bool:
        """False for an input that was fixed when the model was traced."""
        return self.dtype is not None


def differ_by_sample(specs: Sequence[InputSpec]) -> list[bool]:
    """By input, whether each sample has a value of its own.

    An input with a batch does. Where no input has a batch, one call is one sample, and all of them do.

    Args:
        specs: the inputs of one model.

    Examples:
        >>> image = InputSpec("image", (1, 3), torch.float32, batch_dim=0, public=False)
        >>> scale = InputSpec("scale", (), torch.float32, batch_dim=None, public=False)
        >>> differ_by_sample([image, scale]), differ_by_sample([scale])
        ([True, False], [True])
    """
    alone = all(spec.batch_dim is None for spec in specs)
    return [alone or spec.batch_dim is not None for spec in specs]


class Derived:
    """Results that are computed once from a graph and kept with it, one of each type."""

    def __init__(self) -> None:
        self._kept: dict[type, object] = {}

    def get(self, kind: type[D], make: Callable[[], D]) -> D:
        """The result of type `kind`, made by `make` on the first call."""
        if kind not in self._kept:
            self._kept[kind] = make()
        found = self._kept[kind]
        assert isinstance(found, kind)
        return found


@dataclass(frozen=True, eq=False)
class TracedGraph:
    """A model as one flat, functional graph of ATen operators.

    Attributes:
        flat: the graph. Its placeholders are the tensor inputs in order, its output a flat tuple.
        module: runs the model: takes its args and kwargs, returns its own output structure.
        inputs: every flattened input, tensors and constants.
        example_inputs: the tensors that it was traced with, in the order of the placeholders.
        kinds: by node name, what the node's result depends on. All but value nodes are recomputed in the cloud half
            and never cross.
        identity: hashes of structure and weights, for refusing a plan on another model.
        method: the way of `torch.export` that reproduced the model.
        traced_batch: the batch size of the trace.
        batch_symbol: counts samples in the shapes that nodes carry (`meta["val"]`); None where the batch is fixed.
            Other symbols there are sizes that depend on values.
        mixed_at: where samples of a batch first read each other; None: they stay apart.
        layouts: by node name, how each tensor that could cross becomes one row per sample (None: it cannot).
        notes: what the user should know about this trace.
        cache: what was derived from this graph. A changed copy (`dataclasses.replace`) starts with an empty one.
    """

    flat: fx.GraphModule
    module: nn.Module
    inputs: tuple[InputSpec, ...]
    example_inputs: tuple[Tensor, ...]
    kinds: Mapping[str, NodeKind]
    identity: ModelIdentity
    method: Method
    traced_batch: int
    batch_symbol: sympy.Expr | None = None
    mixed_at: str | None = None
    layouts: Mapping[str, Layout | None] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    cache: Derived = field(default_factory=Derived, init=False, repr=False)

    @property
    def dynamic_batch(self) -> bool:
        """False where only the traced batch size can run."""
        return self.method != "static"

    @property
    def only_batch(self) -> int | None:
        """The one batch size that can be planned and served; None: any.

        It is the traced one of a static trace, and 1 where samples read each other.
        """
        if not self.dynamic_batch:
            return self.traced_batch
        return None if self.mixed_at is None else 1

    def samples_at_once(self, wanted: int) -> int:
        """The number of samples to run together so that each gets the answer that it gets alone.

        Args:
            wanted: the number that the caller would like.

        Raises:
            TraceError: only several samples together can run, and they read each other.
        """
        if self.mixed_at is not None and self.only_batch != 1:
            raise TraceError(
                f"samples of a batch read each other, first at {self.mixed_at}, and only {self.traced_batch} together "
                "can run; give example inputs of one sample"
            )
        return self.only_batch or wanted

    @cached_property
    def tensor_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs that are tensors, in the order of `flat`'s placeholders."""
        return tuple(spec for spec in self.inputs if spec.is_tensor)
