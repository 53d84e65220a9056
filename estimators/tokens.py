"""Private tokens: inputs whose numbers are names that the model looks something up by.

A squared error means nothing for a name; what counts is whether it is recovered exactly (`token_recovery.py`). Whether
an input holds tokens is decided by what the graph does with it, whatever its dtype. Followed through views, casts and
integer arithmetic, tokens end as the index of a lookup (`embedding`, `index_select`, `gather`, `weight[ids]`) or are
expanded to ones and zeros (`one_hot`). Integers that end as numbers, such as the bytes of a picture, are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from ..graph import TracedGraph, differ_by_sample
from ..graph.free_views import FREE_VIEWS
from ..graph.weights import fetched
from ..records import CollabplanError
from ..targets.data import Data

aten = torch.ops.aten

SAME_IDS = FREE_VIEWS | {aten._to_copy.default, aten.to.dtype}
"""Operators that leave every id as it is: rearrangements and casts. Only then are a table's rows those of the ids."""

SAME_TABLE = {aten.detach.default, aten.alias.default, aten.clone.default, aten._to_copy.default, aten.to.dtype}

LOOKUPS = {
    "embedding": 1, "embedding_bag": 1, "_embedding_bag": 1, "_embedding_bag_forward_only": 1,
    "index": 1, "_unsafe_index": 1, "index_select": 2, "gather": 2, "take_along_dim": 1, "one_hot": 0,
    "scatter": 2, "scatter_add": 2, "scatter_reduce": 2, "index_put": 1, "index_add": 2,
}  # fmt: skip
"""The argument that is the index, by operator."""

CODE_WIDTH = 64
"""Length of the random vector of a token without a row in a table."""


@dataclass(frozen=True, eq=False)
class TokenInput:
    """One private input of tokens.

    Attributes:
        name: the input's.
        position: which of the model's tensor inputs it is.
        ids: `[N, L]` int64.
        table: `[V, E]` float32, the rows that the ids index; None if the model looks them up in another way.
        counted: `[N, L]` bool, False for padding, which nobody needs to guess.
    """

    name: str
    position: int
    ids: Tensor
    table: Tensor | None
    counted: Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    def take(self, indices: Tensor) -> TokenInput:
        """The tokens of the samples at `indices` `[M]`."""
        return replace(self, ids=self.ids[indices], counted=self.counted[indices])

    @property
    def constant(self) -> bool:
        """True if all samples hold the same tokens, padding aside: then there is nothing to recover."""
        same = (self.ids == self.ids[:1]) & (self.counted == self.counted[:1])
        return bool((same | ~(self.counted | self.counted[:1])).all())

    def vectors(self, candidates: Tensor) -> Tensor:
        """The vector of each id in `[C]`, `[C, E]` float32: its row of the table, else random numbers."""
        if self.table is not None:
            return self.table[candidates]
        codes = torch.randn(len(candidates), CODE_WIDTH, generator=torch.Generator().manual_seed(0))
        return codes.div_(CODE_WIDTH**0.5)

    @property
    def embedded(self) -> Tensor:
        """The sequences as their tokens' vectors side by side, scaled to [0, 1]: `[N, L * E]` float32."""
        candidates, places = self.ids.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        rows = self.vectors(candidates)[places].reshape(len(self), -1)
        least, greatest = rows.aminmax()
        span = greatest - least
        # By rounding, the greatest may be 1 + 1e-7.
        return ((rows - least) / torch.where(span > 0, span, torch.ones_like(span))).clamp_(0, 1)


def token_inputs(data: Data, traced: TracedGraph) -> tuple[TokenInput, ...]:
    """The private inputs of `data` that are tokens.

    Raises:
        CollabplanError: ids outside the table, or that are no whole numbers.
    """
    found = []
    specs = traced.tensor_inputs
    for position, (tensor, spec, own) in enumerate(zip(data.inputs, specs, differ_by_sample(specs), strict=True)):
        if spec.public or not own:
            continue
        use = _lookup(traced, position)
        if use is not None:
            found.append(_token_input(spec.name, position, tensor, use))
    return tuple(_without_padding(each, data) for each in found)


def holds_tokens(traced: TracedGraph, position: int) -> bool:
    """True if the model looks something up by its tensor input number `position`."""
    return _lookup(traced, position) is not None


def marks_padding(tensor: Tensor, tokens: Sequence[TokenInput]) -> bool:
    """True for a mask `[N, L]` that marks the places of one id: it adds nothing to the tokens themselves."""
    flat = tensor.reshape(tensor.shape[0], -1)
    return any(flat.shape == each.ids.shape and _padding_of(flat, each.ids) is not None for each in tokens)


@dataclass(frozen=True, slots=True)
class _Lookup:
    table: Tensor | None
    padding: int | None


def _lookup(traced: TracedGraph, position: int) -> _Lookup | None:
    """How the placeholder at `position` is looked up; None if it never is."""
    placeholders = [node for node in traced.flat.graph.nodes if node.op == "placeholder"]
    same, derived = {placeholders[position]}, {placeholders[position]}
    found: _Lookup | None = None
    for node in traced.flat.graph.nodes:
        if node.op != "call_function":
            continue
        index = _index_of(node)
        if any(source in derived for source in index):
            direct = _direct(traced.flat, node) if index[0] in same else None
            if direct is not None:
                return direct
            found = _Lookup(None, None)
        if node.target in SAME_IDS and node.args[0] in same:
            same.add(node)
        if _is_integer(node) and any(source in derived for source in node.all_input_nodes):
            derived.add(node)
    return found


def _index_of(node: fx.Node) -> list[fx.Node]:
    """The nodes that are the index of `node`, if it is a lookup."""
    name = str(node.target).removeprefix("aten.").split(".")[0]
    if name not in LOOKUPS or len(node.args) <= LOOKUPS[name]:
        return []
    index = node.args[LOOKUPS[name]]
    listed = index if isinstance(index, (list, tuple)) else [index]
    return [each for each in listed if isinstance(each, fx.Node)]


def _direct(flat: fx.GraphModule, node: fx.Node) -> _Lookup | None:
    """The table of an `embedding` whose rows are those of the ids; None for another lookup."""
    if node.target is not aten.embedding.default:
        return None
    table = _constant(flat, node.args[0])
    padding = node.args[2] if len(node.args) > 2 else None
    known = isinstance(padding, int) and padding >= 0
    return None if table is None else _Lookup(table.cpu().float(), padding if known else None)  # type: ignore[arg-type]


def _is_integer(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and not (
        value.dtype == torch.bool or value.is_floating_point() or value.is_complex()
    )


def _constant(flat: fx.GraphModule, node: object) -> Tensor | None:
    """The parameter or buffer that `node` reads, through plain copies; None if it is computed."""
    while isinstance(node, fx.Node) and node.op == "call_function" and node.target in SAME_TABLE:
        node = node.args[0]
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    found = fetched(flat, str(node.target))
    return found.detach() if isinstance(found, Tensor) else None


def _token_input(name: str, position: int, tensor: Tensor, use: _Lookup) -> TokenInput:
    ids = tensor.cpu().reshape(tensor.shape[0], -1)
    whole = ids.long()
    if not bool((whole == ids).all()):
        raise CollabplanError(f"input {name!r} is looked up by whole numbers, and the data hold others; correct them")
    low, high = int(whole.min()), int(whole.max())
    if use.table is not None and (low < 0 or high >= len(use.table)):
        raise CollabplanError(f"ids of input {name!r} go from {low} to {high}, its embedding has {len(use.table)} rows")
    counted = torch.ones_like(whole, dtype=torch.bool) if use.padding is None else whole != use.padding
    return TokenInput(name, position, whole, use.table, counted)


def _without_padding(tokens: TokenInput, data: Data) -> TokenInput:
    """The same tokens; what another input marks as padding does not count."""
    for position, tensor in enumerate(data.inputs):
        flat = tensor.cpu().reshape(len(tokens), -1)
        if position == tokens.position or flat.shape != tokens.ids.shape:
            continue
        padding = _padding_of(flat, tokens.ids)
        if padding is not None:
            return replace(tokens, counted=tokens.counted & (tokens.ids != padding))
    return tokens


def _padding_of(mask: Tensor, ids: Tensor) -> int | None:
    """The one id whose places, and no others, a mask of two values marks; None for any other tensor `[N, L]`."""
    low, high = mask.min(), mask.max()
    if bool(low == high) or not bool(((mask == low) | (mask == high)).all()):
        return None
    for value in (low, high):
        marked = mask == value
        padding = ids[marked][0]
        others = ids[~marked]
        # Two ids or more on the other side: with one, either could be the padding.
        if bool((marked == (ids == padding)).all()) and bool(others.min() < others.max()):
            return int(padding)
    return None
