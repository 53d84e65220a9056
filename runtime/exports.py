"""Halves for other engines: ONNX and `.pt2`. collabplan writes them and never reads them.

An exported graph carries, unless it is taken out, the source lines and folders of the machine that made it, and
`.pt2` files the inputs it was traced with: here the first are removed, and the second are zeros.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.export import Dim, ExportedProgram

from ..graph.exporting import quiet
from ..graph.sizes import symbolic
from ..records import CollabplanError, write_bytes

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")

_TOLD = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")
"""What export notes about a node's origin: names of classes, source lines and files."""


def require_format(kind: Format) -> None:
    """Refuse a format whose packages are not installed. Raises CollabplanError."""
    if kind == "onnx":
        lacking = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
        if lacking:
            raise CollabplanError(f"--format onnx needs {' and '.join(lacking)}: pip install 'collabplan[onnx]'")


def export_half(graph: fx.GraphModule, kind: Format, file: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write a flat graph for another engine. It takes and returns tensors alone, with the batch size as free as here.

    Args:
        graph: of a half, or of the whole model.
        inputs, outputs: their names in order, for ONNX; constants among the outputs are left out and not named.

    Raises:
        CollabplanError: torch cannot export this graph so, or the file cannot be written.
    """
    try:
        with quiet(), torch.no_grad():
            program = _exported(_bare(graph))
            data = _onnx(program, inputs, outputs) if kind == "onnx" else _pt2(program)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise CollabplanError(
            f"{file.parent.name}/{file.name} cannot be made ({type(error).__name__}: {lines[0] if lines else ''}); "
            f"leave out --format {kind}: the bundle runs without it"
        ) from error
    write_bytes(file, data)


def _bare(graph: fx.GraphModule) -> fx.GraphModule:
    """The same graph without notes on where nodes come from, returning its tensors alone.

    Weights are copied: a `.pt2` file holds the whole memory that a tensor is a view of, which may hold other weights.
    """
    bare = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            returned: list[fx.Node] = []
            for leaf in node.args[0]:
                if isinstance(leaf, fx.Node):
                    again = leaf.op == "placeholder" or made[leaf] in returned
                    returned.append(_copied(bare, made[leaf]) if again else made[leaf])
            bare.output(tuple(returned))
            continue
        made[node] = bare.node_copy(node, lambda source: made[source])
        made[node].meta = {"val": node.meta.get("val")} if node.op == "placeholder" else {}
    made_module = fx.GraphModule(graph, bare)
    for parameter in made_module.parameters():
        parameter.data = parameter.detach().clone()
    for name, buffer in list(made_module.named_buffers()):
        owner, _, last = name.rpartition(".")
        setattr(made_module.get_submodule(owner), last, buffer.clone())
    return made_module


def _copied(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """An output of its own for what is an input, or returned already: ONNX gives each of them one name."""
    return graph.call_function(torch.ops.aten.clone.default, (node,))


def _exported(graph: fx.GraphModule) -> ExportedProgram:
    batch: Any = Dim("batch")
    examples, shapes = [], []
    for node in graph.graph.nodes:
        if node.op != "placeholder":
            continue
        value: Tensor = node.meta["val"]
        sizes, dims = list(value.shape), {}
        for dim, size in enumerate(value.shape):
            expression = symbolic(size)
            if expression is None:
                continue
            groups = int(expression / next(iter(expression.free_symbols)))
            sizes[dim], dims[dim] = 2 * groups, batch if groups == 1 else groups * batch
        examples.append(torch.zeros([int(size) for size in sizes], dtype=value.dtype))
        shapes.append(dims)
        node.meta = {}
    program = torch.export.export(graph, tuple(examples), dynamic_shapes=tuple(shapes) if any(shapes) else None)
    for node in program.graph.nodes:
        for key in _TOLD:
            node.meta.pop(key, None)
    return program


def _pt2(program: ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _onnx(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    made = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=list(inputs), output_names=list(outputs), optimize=True
    )
    assert made is not None
    model: Any = made.model_proto
    model.ClearField("metadata_props")
    _forget(model.graph)
    for function in model.functions:
        _forget(function)
    data: bytes = model.SerializeToString()
    return data


def _forget(graph: Any) -> None:
    """Remove what the exporter notes about the origin of nodes and values."""
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")
    for item in (*graph.node, *graph.value_info, *getattr(graph, "input", ()), *getattr(graph, "output", ())):
        if hasattr(item, "ClearField") and not isinstance(item, str):
            item.ClearField("metadata_props")
            item.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _forget(inner)
