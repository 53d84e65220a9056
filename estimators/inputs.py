"""The private inputs as regression targets: principal components that keep every distance.

A change of orthonormal basis leaves each squared error as it is, so errors on all components are errors in
pixels, and N samples need at most N - 1 of them: 3 x 224 x 224 inputs cost no more than small ones.

Token ids are names: being one off means nothing. They are measured where the model itself gives them
distances, as the rows of its embedding table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ..graph import InputSpec, TracedGraph
from ..graph.units import FREE_VIEWS
from ..records import CollabplanError
from .data import Data, InputScaling

aten = torch.ops.aten

SAME_IDS = FREE_VIEWS | {aten._to_copy.default, aten.to.dtype}
"""What ids may pass through before they are looked up: rearrangements, and another integer type."""

SAME_TABLE = {aten.detach.default, aten.alias.default, aten.clone.default, aten._to_copy.default, aten.to.dtype}


def private_inputs(data: Data, traced: TracedGraph | Sequence[InputSpec], scaling: InputScaling) -> tuple[Tensor, ...]:
    """The private inputs of `data` in [0, 1], one `[N, d_i]` each, float32 or wider.

    Floating ones by `scaling`. Integer ones (`[N, L]` token ids) as rows of the embedding table of width E that the
    graph looks them up in, `[N, L * E]`, by the least and the greatest number among them; those that are never
    looked up are left out.

    Args:
        traced: the model; its `tensor_inputs` alone will do where no integer input is private.

    Raises:
        CollabplanError: a complex input; ids that the table does not have; or nothing is left (ids that are not looked
            up, or everything is public): no leakage index can be measured.
    """
    specs = traced.tensor_inputs if isinstance(traced, TracedGraph) else traced
    if len(specs) != len(data.inputs):
        raise CollabplanError(f"the model has {len(specs)} tensor inputs, the data {len(data.inputs)}")
    kept = []
    for position, (tensor, spec) in enumerate(zip(data.inputs, specs, strict=True)):
        if spec.public or spec.batch_dim is None:
            continue
        if tensor.is_complex():
            raise CollabplanError(
                f"the private input {spec.name!r} is complex, and leakage is measured of real ones; let the model take "
                "its pairs `[..., 2]` and begin with torch.view_as_complex"
            )
        if tensor.is_floating_point():
            kept.append(scaling.to_unit(tensor).reshape(len(data), -1))
            continue
        table = _embedding_table(traced, position) if isinstance(traced, TracedGraph) else None
        if table is not None:
            kept.append(_embedded(tensor, table, spec.name))
    if not kept:
        names = ", ".join(spec.name for spec in specs)
        raise CollabplanError(
            f"leakage needs a private input that is floating or looked up in an embedding, and among the inputs "
            f"({names}) there is none; make the target's model begin at its embeddings (`inputs_embeds`), or declare "
            "the inputs in public_inputs"
        )
    return tuple(kept)


def _embedding_table(traced: TracedGraph, position: int) -> Tensor | None:
    """`[ids, E]`: the first table that the placeholder at `position` is looked up in, or None."""
    placeholders = [node for node in traced.flat.graph.nodes if node.op == "placeholder"]
    same = {placeholders[position]}
    for node in traced.flat.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in SAME_IDS and node.args[0] in same:
            same.add(node)
        elif node.target is aten.embedding.default and node.args[1] in same:
            table = _constant(traced.flat, node.args[0])
            if table is not None:
                return table
    return None


def _constant(flat: fx.GraphModule, node: object) -> Tensor | None:
    """The parameter or buffer that `node` reads, through plain copies; None for one that is computed."""
    while isinstance(node, fx.Node) and node.op == "call_function" and node.target in SAME_TABLE:
        node = node.args[0]
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    found: object = flat
    for name in str(node.target).split("."):
        found = getattr(found, name)
    return found.detach() if isinstance(found, Tensor) else None


def _embedded(ids: Tensor, table: Tensor, name: str) -> Tensor:
    """Rows of `table` for `ids` `[N, ...]` in [0, 1]: `[N, L * E]` float32 or wider."""
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= table.shape[0]:
        raise CollabplanError(f"ids of input {name!r} go from {low} to {high}, its embedding has {table.shape[0]} rows")
    rows = table.cpu()[ids.cpu().long()].reshape(ids.shape[0], -1)
    rows = rows if rows.dtype == torch.float64 else rows.float()
    least, greatest = rows.aminmax()
    span = greatest - least
    # Rounding may leave the greatest at 1 + 1e-7.
    return ((rows - least) / torch.where(span > 0, span, torch.ones_like(span))).clamp_(0, 1)


@dataclass(frozen=True, eq=False)
class Components:
    """Each private input in its principal components: `[N, r_i]` float64, centred, most variance first.

    Build it once per data set and hand it to every `estimate_leakage`.
    """

    scores: tuple[Tensor, ...]

    @classmethod
    def of(cls, inputs: Tensor | Sequence[Tensor]) -> Components:
        """The components of inputs in [0, 1], each `[N, d]` (or `[N, ...]`, flattened).

        Raises:
            CollabplanError: values outside [0, 1], different N, or samples that are all the same.
        """
        tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not tensors or len({tensor.shape[0] for tensor in tensors}) != 1:
            raise CollabplanError("private inputs need at least one tensor, and the same number of samples in each")
        for tensor in tensors:
            if not bool(((tensor >= 0) & (tensor <= 1)).all()):
                raise CollabplanError("private inputs must lie in [0, 1] (and hold no NaN); use InputScaling.to_unit")
        scores = tuple(_scores(tensor.detach().cpu().reshape(tensor.shape[0], -1)) for tensor in tensors)
        scores = tuple(score for score in scores if score.shape[1])
        if not scores:
            raise CollabplanError(
                "all samples have the same private input, so there is nothing to reconstruct; give more varied data"
            )
        return cls(scores)

    def __len__(self) -> int:
        return self.scores[0].shape[0]

    def take(self, indices: Tensor) -> Components:
        """The samples at `indices` `[M]`, in the components of all."""
        return Components(tuple(score[indices] for score in self.scores))


def _scores(rows: Tensor) -> Tensor:
    """`[N, d]` -> `[N, r]` with the same pairwise distances; r = rank."""
    count, width = rows.shape
    low, high = rows.aminmax(dim=0)
    varying = rows[:, low < high]
    if varying.shape[1] == 0:
        return torch.zeros(count, 0, dtype=torch.float64)
    centred = varying.double() - varying.double().mean(dim=0) if width <= count else None
    if centred is not None:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        kept = values > 1e-10 * values[-1]
        scores: Tensor = (centred @ vectors[:, kept]).flip(1)
        return scores
    products = torch.zeros(count, count, dtype=torch.float64)
    for chunk in torch.split(varying, 4096, dim=1):
        shifted = chunk - chunk.mean(dim=0)
        products += shifted @ shifted.T
    values, vectors = torch.linalg.eigh(products)
    kept = values > 1e-10 * values[-1]
    rotated: Tensor = vectors[:, kept] * values[kept].sqrt()
    return rotated.flip(1)
