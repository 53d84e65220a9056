"""Exports graphs for other engines and tools: ONNX and `.pt2`. collabplan writes these files and never reads them.

By default an exported graph names source lines and folders of the machine that made it, and a `.pt2` file holds the
inputs that it was traced with. Here the former are removed, and the latter are zeros.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.export import Dim, ExportedProgram

from ..graph.exporting import quiet
from ..graph.sizes import symbolic
from ..records import CollabplanError, write_bytes
from ..records.extras import require_modules

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")

_ORIGIN_KEYS = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")
"""What torch notes about the origin of a node: names of classes, source lines and files."""


def require_format(kind: Format) -> None:
    """Refuse a format if a package that writes it is not installed. Raises CollabplanError."""
    if kind == "onnx":
        require_modules("onnx", "onnxscript")


def export_half(graph: fx.GraphModule, kind: Format, file: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write a flat graph for another engine. It takes and returns tensors alone, and keeps a free batch size.

    Args:
        graph: of a half, or of the whole model.
        kind: the format.
        file: where to write.
        inputs, outputs: their names in order, for ONNX. Constants among the outputs are left out, and so are their
            names.

    Raises:
        CollabplanError: torch cannot export this graph, or the file cannot be written.
    """
    with _refusals(f"{file.parent.name}/{file.name}", f"leave out --format {kind}: the bundle runs without it"):
        program = _exported(_bare(graph))
        data = _onnx(program, inputs, outputs).SerializeToString() if kind == "onnx" else _pt2(program)
    write_bytes(file, data)


def onnx_with_nodes(graph: fx.GraphModule, inputs: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """A flat graph as an ONNX model whose nodes keep the names of the graph's.

    Args:
        graph: of a whole model, or of a half.
        inputs: names of its inputs, in order.

    Returns:
        The `onnx.ModelProto`; and by the name of a node of `graph`, the ONNX node that makes its result, which has that
        name. Where the exporter made several ONNX nodes of one, the others are called `name.1`, `name.2`. Nothing is
        fused, so that each node has its own.

    Raises:
        CollabplanError: torch cannot export this graph, or the packages of the extra `onnx` are not installed.
    """
    require_format("onnx")
    with _refusals("the ONNX file", "leave out --format onnx"):
        bare = _bare(graph)
        program = _exported(bare)
        _mark_origins(bare, program)
        model = _onnx(program, inputs, [], named=True)
    names = {node.name for node in bare.graph.nodes}
    return model, {node.name: node for node in model.graph.node if node.name in names}


@contextlib.contextmanager
def _refusals(what: str, otherwise: str) -> Iterator[None]:
    """Turns whatever torch raises within into one line, and keeps what it prints to itself."""
    try:
        with quiet(), torch.no_grad():
            yield
    except Exception as error:
        lines = str(error).strip().splitlines()
        said = f"{type(error).__name__}: {lines[0] if lines else ''}"
        raise CollabplanError(f"{what} cannot be made ({said}); {otherwise}") from error


def _bare(graph: fx.GraphModule) -> fx.GraphModule:
    """The same graph without notes on the origin of its nodes, returning its tensors alone.

    Weights are copied, because a `.pt2` file holds the whole memory of a view, in which other weights may lie.
    """
    bare = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            bare.output(_distinct_outputs(bare, node.args[0], copies))
            continue
        copies[node] = bare.node_copy(node, lambda source: copies[source])
        copies[node].meta = {"val": node.meta.get("val")} if node.op == "placeholder" else {}
    module = fx.GraphModule(graph, bare)
    for parameter in module.parameters():
        parameter.data = parameter.detach().clone()
    for name, buffer in list(module.named_buffers()):
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, buffer.clone())
    return module


def _distinct_outputs(graph: fx.Graph, leaves: Sequence[Any], copies: Mapping[fx.Node, fx.Node]) -> tuple[fx.Node, ...]:
    """The tensors among the outputs; those that are inputs or returned twice are cloned, for a name of their own."""
    outputs: list[fx.Node] = []
    for leaf in leaves:
        if isinstance(leaf, fx.Node):
            again = leaf.op == "placeholder" or copies[leaf] in outputs
            outputs.append(_copied(graph, copies[leaf]) if again else copies[leaf])
    return tuple(outputs)


def _copied(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """A clone of a node: ONNX gives each tensor one name."""
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
        for key in _ORIGIN_KEYS:
            node.meta.pop(key, None)
    return program


def _pt2(program: ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _mark_origins(graph: fx.GraphModule, program: ExportedProgram) -> None:
    """Write the name of each node of `graph` on the node that torch made of it, where its ONNX exporter keeps it.

    The exported program has the same operators in the same order, beside checks of sizes. Its own names differ.
    """
    ours, theirs = _calls(graph.graph), _calls(program.graph)
    matched = difflib.SequenceMatcher(None, _targets(ours), _targets(theirs), autojunk=False)
    for block in matched.get_matching_blocks():
        for at in range(block.size):
            name = ours[block.a + at].name
            theirs[block.b + at].meta["nn_module_stack"] = {name: (name, _ORIGIN)}


def _calls(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "call_function"]


def _targets(nodes: Sequence[fx.Node]) -> list[str]:
    return [str(node.target) for node in nodes]


_ORIGIN = "collabplan.node"
"""The class of the module that each marked node seems to stand in."""


def _onnx(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], *, named: bool = False) -> Any:
    """The `onnx.ModelProto` of a program; `named`: marked nodes keep their names, and are not fused with others."""
    made = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=list(inputs),
        output_names=list(outputs),
        optimize=not named,
    )
    assert made is not None
    if named:
        _fold(made.model)
    model: Any = made.model_proto
    if named:
        _name_nodes(model.graph.node)
    model.ClearField("metadata_props")
    _clear_origins(model.graph)
    for function in model.functions:
        _clear_origins(function)
    return model


def _fold(model: Any) -> None:
    """Compute what is constant in a model, which fuses nothing."""
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)


def _name_nodes(nodes: Any) -> None:
    """Give ONNX nodes the names that `_mark_origins` wrote. Of several from one node, the last makes its result."""
    made: dict[str, list[Any]] = {}
    for node in nodes:
        notes = {each.key: each.value for each in node.metadata_props}
        if _ORIGIN in notes.get("pkg.torch.onnx.class_hierarchy", ""):
            name = ast.literal_eval(notes["pkg.torch.onnx.name_scopes"])[0]
            made.setdefault(name, []).append(node)
    for name, several in made.items():
        several[-1].name = name
        for at, node in enumerate(several[:-1], start=1):
            node.name = f"{name}.{at}"


def _clear_origins(graph: Any) -> None:
    """Remove what the exporter notes about the origin of nodes and values, subgraphs included."""
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
                    _clear_origins(inner)
