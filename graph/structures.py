"""What the graph floor hands out: the traced graph, cuts, and the two halves a cut makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ..records import Crossing, CutKind, Layout, ModelIdentity, TraceError

if TYPE_CHECKING:
    from .units import Units

NodeKind = Literal["value", "public", "shape", "constant"]


class FixedBatchError(TraceError):
    """The model can be traced, but not with a free batch: it does something else at another batch size."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One flattened input of the model.

    `shape` is the example's; dimension `batch_dim` is free where the trace is dynamic (None: this
    input has no batch). Inputs that are not tensors are fixed at trace time: `constant` holds them.
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
    """By input, whether each sample has its own: it has a batch, or none has one, and a call is a sample."""
    alone = all(spec.batch_dim is None for spec in specs)
    return [alone or spec.batch_dim is not None for spec in specs]


@dataclass(frozen=True, eq=False)
class TracedGraph:
    """A model as one flat, functional graph of ATen operators.

    Attributes:
        flat: the graph; its placeholders are the tensor inputs in order, its output a flat tuple.
        module: runs the model: takes its args and kwargs, returns its own output structure.
        inputs: every flattened input, tensors and constants.
        kinds: by node name, what the node's result depends on: private input *values*, *public*
            inputs alone, *shape*s only, or nothing (*constant*). All but value nodes are recomputed
            in the cloud half and never cross.
        identity: structure and weights hashes, for refusing a plan on another model.
        method: the tracer that managed it: `non-strict`, `strict`, or `static` (one batch size only).
        batch_symbol: counts samples in the shapes that nodes carry (`meta["val"]`); None where the batch is fixed.
            Other symbols there are sizes that depend on values.
        mixed_at: where samples of a batch first read each other; None: they stay apart.
        layouts: by node name, how each tensor that could cross comes back to one row per sample (None: it cannot).
        notes: what the user should know about this trace.
    """

    flat: fx.GraphModule
    module: nn.Module
    inputs: tuple[InputSpec, ...]
    example_inputs: tuple[Tensor, ...]
    kinds: Mapping[str, NodeKind]
    identity: ModelIdentity
    method: Literal["non-strict", "strict", "static"]
    traced_batch: int
    batch_symbol: sympy.Expr | None = None
    mixed_at: str | None = None
    layouts: Mapping[str, Layout | None] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def dynamic_batch(self) -> bool:
        """False where only the traced batch size can run."""
        return self.method != "static"

    @property
    def only_batch(self) -> int | None:
        """The one batch size that can be planned and served: that of a fixed trace, or 1 where samples read each other.

        None: any.
        """
        if not self.dynamic_batch:
            return self.traced_batch
        return None if self.mixed_at is None else 1

    def samples_at_once(self, wanted: int) -> int:
        """How many samples run together where `wanted` might, so that each gets the answer that it gets alone.

        Raises:
            TraceError: several can only run together, and read each other.
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


@dataclass(frozen=True, eq=False)
class Cut:
    """A one-way partition of the graph, named by the tensors that cross it.

    `id` depends on names, shapes and dtypes of what crosses, not on node numbering: it is the same
    in another process and under another version of torch. `depth` orders cuts from the input to the
    output. `units` and `edge` say which units the edge computes (closed under ancestors).
    """

    name: str
    id: str
    kind: CutKind
    crossing: tuple[Crossing, ...]
    depth: int
    units: Units = field(repr=False)
    edge: NDArray[np.bool_] = field(repr=False)

    @cached_property
    def edge_nodes(self) -> frozenset[str]:
        """The value nodes that the edge computes or could compute for free (views)."""
        return frozenset(name for name, unit in self.units.unit_of.items() if self.edge[unit] and name != "output")

    @property
    def searchable(self) -> bool:
        """True where every private crossing can be laid back to one row per sample."""
        return all(crossing.public or crossing.layout is not None for crossing in self.crossing)

    @property
    def sends_raw_input(self) -> bool:
        """True where a private input crosses as it is: leakage 1 by definition."""
        return any(crossing.raw_input for crossing in self.crossing)

    @property
    def payload_bytes(self) -> int:
        """Bytes that cross per sample, in the model's own dtypes."""
        return sum(crossing.sample_elements * crossing.element_bytes for crossing in self.crossing)


@dataclass(frozen=True, eq=False)
class Halves:
    """The two programs that a cut makes: `cloud(*edge(*args, **kwargs))` equals the model bit for bit.

    `edge` takes the model's args and kwargs and returns the crossing tensors in the order of
    `cut.crossing`; `cloud` takes those and returns the model's own output structure. Neither
    mutates its arguments.
    """

    cut: Cut
    edge: nn.Module
    cloud: nn.Module
