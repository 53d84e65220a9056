"""An exported graph without in-place operators.

`run_decompositions({})` does this for any program by tracing it a second time, which takes longer than the export.
Here writes are rewritten on the graph: a write makes a new value, which is put back into the tensors that it is a
view of (`slice_scatter`). Other views of the same memory are taken again where they are read. The export's own tensors
show which of them share memory. A graph that holds anything else that a second trace would change is traced again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from .sizes import free_dims, symbolic
from .traced_graph import FixedBatchError

aten = torch.ops.aten

_REARRANGED = {
    aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int, aten.contiguous.default, aten.chunk.default,
    aten.narrow.default, aten.movedim.int, aten.movedim.intlist, aten.numpy_T.default, aten.to.dtype,
    aten.to.dtype_layout, aten.to.device, aten.expand_as.default, aten.view_as.default, aten.reshape_as.default,
}  # fmt: skip
"""Composite operators that may return a view, and need not be decomposed."""

_DROPOUTS = {aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default}

_SAME = {
    aten.alias.default, aten.detach.default, aten.contiguous.default, aten.to.dtype, aten.to.dtype_layout,
    aten.to.device, *_DROPOUTS,
}  # fmt: skip
"""Operators that, where the result shares memory with the argument, return the argument itself."""

_RESHAPED = {
    aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int, aten.squeeze.default,
    aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
}  # fmt: skip
"""Views of the same numbers in the same order."""

_PIECES = {aten.unbind.int, aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default}
"""Operators that return several views, side by side along a dimension."""

_WRITTEN_BACK: dict[Any, Callable[..., Any]] = {
    aten.slice.Tensor: aten.slice_scatter.default,
    aten.select.int: aten.select_scatter.default,
}
"""By view, the operator that puts a new view into the tensor that was viewed."""


class _TraceAgain(Exception):
    """The graph holds something that is not rewritten here."""


def functional(program: ExportedProgram, *, again: bool = False) -> ExportedProgram:
    """`program` as a graph that writes nowhere.

    Args:
        program: as `torch.export` made it.
        again: trace it a second time, whatever it holds.

    Raises:
        FixedBatchError: the second trace fixes a batch that was free.
    """
    if not again:
        try:
            rewritten = _Rewriter(program).graph
        except _TraceAgain:
            pass
        else:
            program.graph_module.graph = rewritten
            return program
    had_free_size = _has_free_size(program)
    traced_again: ExportedProgram = program.run_decompositions({})
    if had_free_size and not _has_free_size(traced_again):
        raise FixedBatchError("a write in place through a view fixes it while traced again")
    return traced_again


def _has_free_size(program: ExportedProgram) -> bool:
    return any(free_dims(node.meta.get("val")) for node in program.graph.nodes if node.op == "placeholder")


class _Rewriter:
    """Copies the program's graph.

    Attributes:
        now: by old node, the new node with its value at this point.
        viewed: by view, the node that it is a view of.
        sharing: by memory, the nodes that share it.
        merged: by memory that only the export has, the memory that the model has in its place.
        stale: views of what was written since they were taken.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.graph = fx.Graph()
        self.now: dict[fx.Node, fx.Node] = {}
        self.viewed: dict[fx.Node, fx.Node] = {}
        self.sharing: dict[int | None, list[fx.Node]] = {}
        self.merged: dict[int | None, int | None] = {}
        self.stale: set[fx.Node] = set()
        for node in program.graph.nodes:
            self._copy(node)

    def _copy(self, node: fx.Node) -> None:
        target: Any = node.target
        if node.op not in ("placeholder", "call_function", "output"):
            raise _TraceAgain
        if isinstance(target, torch._ops.HigherOrderOperator):
            raise _TraceAgain
        if target is aten._assert_tensor_metadata.default:
            return
        if isinstance(target, torch._ops.OpOverload):
            _require_known(node, target)
            if target._schema.is_mutable:
                self._write(node, target)
                return
        self._share(node)
        self.now[node] = self._read(node.args[0]) if _is_off(node) else self._copied(node)  # type: ignore[arg-type]

    def _copied(self, node: fx.Node) -> fx.Node:
        return self.graph.node_copy(node, self._read)

    def _share(self, node: fx.Node) -> None:
        """Record whose memory a node shares."""
        memory = _memory(node)
        if memory is None:
            return
        first = node.args[0] if node.args else None
        if isinstance(first, fx.Node):
            if _is_off(node):  # it has memory of its own in the export, but not in the model
                self.merged[memory] = self._memory(first)
            if self._memory(first) == self._memory(node):
                self.viewed[node] = first
            elif node.op == "call_function" and not isinstance(node.meta["val"], Tensor):
                return  # several new tensors: each `getitem` is one
        self.sharing.setdefault(self._memory(node), []).append(node)

    def _memory(self, node: fx.Node) -> int | None:
        memory = _memory(node)
        return self.merged.get(memory, memory)

    def _read(self, node: fx.Node) -> fx.Node:
        """The node's value now; a view of what was written since is taken again."""
        if node in self.stale:
            self.stale.discard(node)
            self.now[node] = self._read(self.viewed[node]) if shows_itself(node) else self._copied(node)
        return self.now[node]

    def _write(self, node: fx.Node, target: torch._ops.OpOverload) -> None:
        """`written = op(view, ...)` in place of `op_(view, ...)`."""
        view = node.args[0]
        if not isinstance(view, fx.Node):
            raise _TraceAgain
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._read)
        written = self.graph.create_node("call_function", _without_writing(node, target), args, kwargs, node.name)
        written.meta = copy.copy(node.meta)
        group = self.sharing[self._memory(view)]
        fresh = {view: written}
        while view in self.viewed:
            below = self.viewed[view]
            if below.target in _PIECES and below in self.viewed:
                pieces, below = below, self.viewed[below]
                fresh[below] = self._put_back(pieces, int(view.args[1]), fresh[view], below)  # type: ignore[arg-type]
            else:
                fresh[below] = self._written_back(view, fresh[view], below)
            view = below
        if view.op == "placeholder" or any(other not in self.viewed for other in group if other is not view):
            raise _TraceAgain
        self.stale.update(group)
        self.stale.difference_update(fresh)
        self.now.update(fresh)
        self.viewed[node] = node.args[0]  # type: ignore[assignment]
        group.append(node)
        self.now[node] = written

    def _written_back(self, view: fx.Node, value: fx.Node, below: fx.Node) -> fx.Node:
        """The tensor `below`, once `value` is written into its `view`."""
        if shows_itself(view):
            return value
        scatter = _WRITTEN_BACK.get(view.target)
        if scatter is not None:
            rest, kwargs = fx.map_arg((view.args[1:], view.kwargs), self._read)
            made = self.graph.call_function(scatter, (self._read(below), value, *rest), kwargs)
        elif view.target in _RESHAPED:
            made = self.graph.call_function(aten.view_as.default, (value, self._read(below)))
        elif view.target is aten.transpose.int:
            made = self.graph.call_function(aten.transpose.int, (value, *view.args[1:]))
        elif view.target is aten.permute.default:
            order: Any = view.args[1]
            back = sorted(range(len(order)), key=lambda place: order[place] % len(order))
            made = self.graph.call_function(aten.permute.default, (value, back))
        else:
            raise _TraceAgain
        made.meta = {**view.meta, "val": below.meta["val"]}
        return made

    def _put_back(self, pieces: fx.Node, index: int, value: fx.Node, below: fx.Node) -> fx.Node:
        """The tensor `below`, once `value` is written into one of its `pieces`."""
        at = 1 if pieces.target is aten.unbind.int else 2
        dim: Any = pieces.args[at] if len(pieces.args) > at else 0
        scatter: Any = aten.select_scatter.default
        place: tuple[Any, ...] = (dim, index)
        if pieces.target is not aten.unbind.int:
            sizes = [piece.shape[dim] for piece in pieces.meta["val"][: index + 1]]
            if any(symbolic(size) is not None for size in sizes):
                raise _TraceAgain
            place = (dim, sum(sizes[:-1]), sum(sizes))
            scatter = aten.slice_scatter.default
        made = self.graph.call_function(scatter, (self._read(below), value, *place))
        made.meta = {**pieces.meta, "val": below.meta["val"]}
        return made


def _is_off(node: fx.Node) -> bool:
    """A dropout that is switched off: it returns its argument."""
    return node.target in _DROPOUTS and node.args[2] is False


def shows_itself(view: fx.Node) -> bool:
    """True for the viewed tensor itself: written in place, or returned unchanged."""
    schema = getattr(view.target, "_schema", None)
    return view.target in _SAME or bool(schema and schema.is_mutable)


def _memory(node: fx.Node) -> int | None:
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        value = next((item for item in value if isinstance(item, Tensor)), None)
    if not isinstance(value, Tensor):
        return None
    try:
        memory: int = value.untyped_storage()._cdata
    except NotImplementedError:  # sparse, or one of many in a `vmap`
        raise _TraceAgain from None
    return memory


def _require_known(node: fx.Node, target: torch._ops.OpOverload) -> None:
    """Raises _TraceAgain for an operator that a second trace would change, unless it is a rearrangement."""
    if target in _REARRANGED or target in _DROPOUTS:
        return
    if target is aten.batch_norm.default:
        if node.args[5] and node.args[3] is not None:  # contrary to its schema, it writes its running statistics
            raise _TraceAgain
        return
    if torch.Tag.maybe_aliasing_or_mutating in target.tags:
        raise _TraceAgain
    name: str = target.name()  # type: ignore[no-untyped-call]
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    if composite and not target._schema.is_mutable and any(a.alias_info for a in target._schema.arguments):
        raise _TraceAgain


def _without_writing(node: fx.Node, target: torch._ops.OpOverload) -> Any:
    """The operator that returns what `target` writes."""
    arguments = target._schema.arguments
    written = [a.name for a in arguments if a.alias_info is not None and a.alias_info.is_write]
    packet = getattr(aten, target._schema.name.split("::")[1].removesuffix("_"), None)
    if written != ["self"] or torch.Tag.inplace_view in target.tags or packet is None:
        raise _TraceAgain
    takes = [(a.name, str(a.type)) for a in arguments]
    for overload in [getattr(packet, name) for name in packet.overloads()]:
        schema = overload._schema
        if not schema.is_mutable and [(a.name, str(a.type)) for a in schema.arguments] == takes:
            if _dtype_of(overload, node) == node.meta["val"].dtype:
                return overload
            break
    raise _TraceAgain


def _dtype_of(operator: Any, node: fx.Node) -> torch.dtype | None:
    """The dtype that an operator returns for the node's arguments: comparisons give booleans, sums of bytes int64."""

    def small(source: fx.Node) -> Any:
        value = source.meta["val"]
        return torch.zeros([1] * value.ndim, dtype=value.dtype) if isinstance(value, Tensor) else value

    try:
        made = operator(*fx.map_arg(node.args, small), **fx.map_arg(node.kwargs, small))
    except Exception:  # sizes among the arguments that do not fit tensors of one number
        return None
    return made.dtype if isinstance(made, Tensor) else None
