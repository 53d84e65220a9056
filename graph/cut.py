"""A cut: a one-way partition of the graph, named by the tensors that cross it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import fx

from ..records import Crossing, CutKind, Layout, canonical_json
from .units import Mask, Units, crossing_record


@dataclass(frozen=True, eq=False)
class Cut:
    """A one-way partition of the graph: the edge computes some units and all that they depend on.

    Attributes:
        name: the names of what crosses, or the kind where everything runs on one side.
        id: a hash of the names, shapes and dtypes of what crosses. It does not depend on node numbers, so it is the
            same in another process and under another version of torch.
        kind: `cloud-only`, `proper` or `edge-only`.
        crossing: the tensors that cross, private ones first.
        depth: orders cuts from the input to the output.
        units: the unit graph that is cut.
        edge: by unit, does the edge compute it?
    """

    name: str
    id: str
    kind: CutKind
    crossing: tuple[Crossing, ...]
    depth: int
    units: Units = field(repr=False)
    edge: Mask = field(repr=False)

    @classmethod
    def of(cls, graph: Units, edge: Mask, crosses: Mask, depth: int) -> Cut:
        """The cut whose edge computes the down-set `edge`.

        Args:
            edge: by unit, closed under ancestors.
            crosses: by tensor, does it cross?
            depth: its place among other cuts.
        """
        records = graph.crossing_records
        crossing = [records[index] for index in np.flatnonzero(crosses)]
        kind: CutKind = "proper"
        if edge[-1]:
            kind = "edge-only"
        elif not edge[graph.input_count : -1].any():
            kind = "cloud-only"
        name = " + ".join(record.name for record in crossing) if kind == "proper" else kind
        crossing += _public_crossings(graph, edge)
        return cls(name, _identity(kind, crossing), kind, tuple(crossing), depth, graph, edge)

    @property
    def searchable(self) -> bool:
        """True where every private crossing can be rearranged to one row per sample."""
        return all(crossing.public or crossing.layout is not None for crossing in self.crossing)

    @property
    def sends_raw_input(self) -> bool:
        """True where a private input crosses as it is: leakage 1 by definition."""
        return any(crossing.raw_input for crossing in self.crossing)

    @property
    def payload_bytes(self) -> int:
        """Bytes that cross per sample, in the model's own dtypes."""
        return sum(crossing.sample_elements * crossing.element_bytes for crossing in self.crossing)


def _public_crossings(graph: Units, edge: Mask) -> list[Crossing]:
    """The public inputs that the cloud half needs, in the model's order."""
    cloud = [*np.flatnonzero(~edge[:-1]), graph.count - 1]  # the output is always assembled in the cloud half
    needed: frozenset[fx.Node] = frozenset().union(*(graph.needs_public[unit] for unit in cloud))
    by_name = {spec.name: spec for spec in graph.traced.tensor_inputs}
    found = []
    for node in graph.traced.flat.graph.nodes:
        if node in needed:
            batch_dim = by_name[node.meta["input"]].batch_dim
            layout = None if batch_dim is None else Layout(batch_dim=batch_dim)
            found.append(crossing_record(node, node.meta["input"], layout, public=True))
    return found


def _identity(kind: CutKind, crossing: Sequence[Crossing]) -> str:
    content = sorted([c.name, c.dtype, list(c.sample_shape), c.public] for c in crossing)
    return hashlib.sha256(canonical_json([kind, content]).encode()).hexdigest()[:12]
