"""The document `graph.json` of a program: made from a graph, and checked before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..records import ModelIdentity, RecordError, hash_json, hash_tensors
from .naming import dtype_name
from .operators import function_of, name_of, require_constants
from .program_format import Json, encode_structure, encode_value, references, require_decodable, require_structure
from .traced_graph import InputSpec
from .weights import parameter_counts, stored_bytes, stored_tensors

FORMAT, VERSION = "collabplan.graph", 1
GRAPH_FILE, WEIGHTS_FILE = "graph.json", "weights.safetensors"


def encode(module: fx.GraphModule, structure: pytree.TreeSpec | None) -> tuple[Json, dict[str, Tensor]]:
    """A graph as a JSON document with numbered values, and the tensors that it names.

    Inputs are called `i0`, `i1`..., stored tensors `t0`, `t1`..., and results of nodes `n0`, `n1`...

    Args:
        module: the graph.
        structure: the nesting of its outputs; None: a flat tuple.

    Raises:
        TraceError: an operator or argument that the format does not hold.
    """
    names: dict[fx.Node, str] = {}
    inputs: list[str] = []
    nodes: list[Json] = []
    tensors = stored_tensors(module)
    positions = {name: position for position, name in enumerate(tensors)}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            names[node] = f"i{len(inputs)}"
            inputs.append(str(node.meta.get("input", node.target)))
        elif node.op == "get_attr":
            names[node] = f"t{positions[node.target]}"
        elif node.op == "call_function":
            names[node] = f"n{len(nodes)}"
            args = [encode_value(value, names) for value in node.args]
            kwargs = {key: encode_value(value, names) for key, value in sorted(node.kwargs.items())}
            nodes.append({"op": name_of(node.target), "args": args, "kwargs": kwargs})
    output = module.graph.output_node().args[0]
    leaves = [encode_value(value, names) for value in output]  # type: ignore[union-attr]
    document = {
        "format": FORMAT,
        "schema_version": VERSION,
        "inputs": inputs,
        "tensors": [_describe(name, tensor) for name, tensor in tensors.items()],
        "nodes": nodes,
        "output": {"tuple": leaves} if structure is None else encode_structure(structure, iter(leaves)),
    }
    return document, tensors


def _describe(name: str, tensor: Tensor) -> Json:
    return {
        "name": name,
        "dtype": dtype_name(tensor.dtype),
        "shape": list(tensor.shape),
        "stride": list(tensor.stride()) if _is_permuted(tensor) else None,
        "requires_grad": tensor.requires_grad,
    }


def _is_permuted(tensor: Tensor) -> bool:
    """True for a dense tensor that is not row-major (channels-last weights). Kernels round differently by strides."""
    return not tensor.is_contiguous() and torch.empty_like(tensor).stride() == tensor.stride()


def identify(flat: fx.GraphModule, inputs: Sequence[InputSpec], name: str) -> ModelIdentity:
    """The hashes of structure (canonical graph) and weights of a traced model.

    Args:
        flat: the traced graph.
        inputs: every flattened input.
        name: of the model's class.

    Raises:
        TraceError: an operator outside the allow-list.
    """
    document, tensors = encode(flat, None)
    for spec in document["tensors"]:
        del spec["requires_grad"]  # freezing a parameter does not make another model
    document["shapes"] = [
        [spec.name, _free_shape(spec), str(spec.dtype), spec.batch_dim, repr(spec.constant)] for spec in inputs
    ]
    return ModelIdentity(
        name=name,
        structure_hash=hash_json(document),
        weights_hash=hash_tensors(tensors),
        torch_version=torch.__version__,
        parameter_count=sum(parameter_counts(flat).values()),
        parameter_bytes=sum(map(stored_bytes, tensors.values())),
    )


def _free_shape(spec: InputSpec) -> list[int | None] | None:
    if spec.shape is None:
        return None
    return [None if dim == spec.batch_dim else size for dim, size in enumerate(spec.shape)]


def require_format(document: Any) -> None:
    """Refuse what is no document of this format and version. Raises RecordError."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"{GRAPH_FILE} is not a {FORMAT} file")
    if document.get("schema_version") != VERSION:
        raise RecordError(f"{GRAPH_FILE} has schema version {document.get('schema_version')!r}, expected {VERSION}")


def require_sound(document: Json) -> None:
    """Refuse a document in which a value is read before an allowed operator has made it.

    Raises:
        RecordError: an unknown name, operator, constant or nesting. Damaged content raises what Python raises for it.
    """
    known = {f"i{index}" for index in range(len(document["inputs"]))}
    known |= {f"t{index}" for index in range(len(document["tensors"]))}
    for index, node in enumerate(document["nodes"]):
        function_of(node["op"])
        require_constants(node["op"], node["args"], node["kwargs"])
        arguments = _arguments(node)
        require_decodable(arguments)
        for name in references(arguments):
            if name not in known:
                raise RecordError(f"node {index} ({node['op']}) reads {name!r}, which no earlier node makes")
        known.add(f"n{index}")
    require_structure(document["output"])
    for name in references(document["output"]):
        if name not in known:
            raise RecordError(f"the output reads {name!r}, which no node makes")


def unpack(spec: Json, stored: Mapping[str, Tensor]) -> Tensor:
    """One tensor of the document, from those of the weights file.

    Raises:
        RecordError: it is absent, or has another dtype or shape than the document says.
    """
    name = spec["name"]
    if name not in stored:
        raise RecordError(f"{WEIGHTS_FILE} lacks tensor {name!r}")
    tensor = stored[name]
    if dtype_name(tensor.dtype) != spec["dtype"] or list(tensor.shape) != spec["shape"]:
        raise RecordError(f"tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, the graph says {spec}")
    if spec["stride"] is None:
        return tensor
    permuted = torch.empty_permuted(tensor.shape, _order(spec["stride"]), dtype=tensor.dtype)
    return permuted.copy_(tensor)


def _order(stride: Sequence[int]) -> list[int]:
    return sorted(range(len(stride)), key=lambda dim: (-int(stride[dim]), dim))


def last_uses(document: Json) -> list[list[str]]:
    """By node, the values that no later node reads, so that a run holds only what is live."""
    kept = set(references(document["output"]))
    last: dict[str, int] = {}
    for index, node in enumerate(document["nodes"]):
        last[f"n{index}"] = index
        for name in references(_arguments(node)):
            last[name] = index
    ends: list[list[str]] = [[] for _ in document["nodes"]]
    for name, index in last.items():
        if name not in kept and not name.startswith("t"):
            ends[index].append(name)
    return ends


def _arguments(node: Json) -> list[Any]:
    return [node["args"], list(node["kwargs"].values())]
