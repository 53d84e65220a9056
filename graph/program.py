"""A half as data: `graph.json` (an allow-list of operators) and `weights.safetensors`. Loading executes nothing.

`torch.export.load` is never used on such a file: it unpickles sample inputs and evaluates expressions. Here
operators are looked up by name (`allowlist` says which), arguments are plain JSON values, and a loaded program is
interpreted instruction by instruction; no code is generated from the file.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..records import (
    ModelIdentity,
    RecordError,
    TraceError,
    canonical_json,
    hash_json,
    hash_tensors,
    output_key,
    write_bytes,
)
from .operators import function_of, name_of, require_constants
from .structures import InputSpec
from .weights import parameter_counts, stored_bytes, stored_tensors

FORMAT, VERSION = "collabplan.graph", 1
GRAPH_FILE, WEIGHTS_FILE = "graph.json", "weights.safetensors"

Json = dict[str, Any]

_AGAIN = "write the plan's halves again (`collabplan bundle` or `collabplan split`)"
_DAMAGE = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, OverflowError, SafetensorError,
)  # fmt: skip
"""What reading a damaged file may raise; RuntimeError (RecursionError too) for strides that no tensor has."""


class Program(nn.Module):
    """A graph read back from a file, interpreted. Takes flat tensors, returns the stored output structure."""

    def __init__(self, document: Json, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.document = document
        for index, spec in enumerate(document["tensors"]):
            tensor = tensors[spec["name"]]
            if spec["requires_grad"]:  # kept since matmul rounds differently by it
                self.register_parameter(f"tensor_{index}", nn.Parameter(tensor))
            else:
                self.register_buffer(f"tensor_{index}", tensor)
        self._calls = [_Call.of(node, last) for node, last in zip(document["nodes"], _last_uses(document), strict=True)]

    def forward(self, *inputs: Tensor) -> Any:
        """Run the program.

        Raises:
            RecordError: another number of inputs than the program takes.
        """
        names = self.document["inputs"]
        if len(inputs) != len(names):
            raise RecordError(f"the program takes {len(names)} tensors ({', '.join(names)}), got {len(inputs)}")
        values: dict[str, Any] = {f"i{index}": value for index, value in enumerate(inputs)}
        for held in (self._parameters, self._buffers):
            values.update((f"t{name[7:]}", tensor) for name, tensor in held.items())
        device = inputs[0].device if inputs else torch.device("cpu")
        for index, call in enumerate(self._calls):
            values[f"n{index}"] = call(values, device)
            for name in call.last_uses:
                del values[name]
        return _build(self.document["output"], values, device)


@dataclass(frozen=True, slots=True)
class _Call:
    """One node, read once: its constants in their places, and where what others computed goes."""

    function: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    references: list[tuple[int, str]]
    late: list[tuple[int | str, Any]]
    last_uses: list[str]

    @classmethod
    def of(cls, node: Json, last_uses: list[str]) -> _Call:
        """Raises RecordError or what `_DAMAGE` lists."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        references: list[tuple[int, str]] = []
        late: list[tuple[int | str, Any]] = []
        for at, value in enumerate(node["args"]):
            if isinstance(value, dict) and set(value) == {"ref"}:
                references.append((at, value["ref"]))
                args.append(None)
            else:
                args.append(_constant(at, value, late))
        for key, value in node["kwargs"].items():
            kwargs[key] = _constant(key, value, late)
        return cls(function_of(node["op"]), args, kwargs, references, late, last_uses)

    def __call__(self, values: Mapping[str, Any], device: torch.device) -> Any:
        args, kwargs = self.args.copy(), self.kwargs
        for at, name in self.references:
            args[at] = values[name]
        if self.late:
            kwargs = kwargs.copy()
            for place, value in self.late:
                if isinstance(place, int):
                    args[place] = _decode(value, values, device)
                else:
                    kwargs[place] = _decode(value, values, device)
        return self.function(*args, **kwargs)


def _constant(place: int | str, value: Any, late: list[tuple[int | str, Any]]) -> Any:
    """A value that is the same in every run; else None, and a note in `late`."""
    if not _varies(value):
        return _decode(value, {}, torch.device("cpu"))
    late.append((place, value))
    return None


def _varies(value: Any) -> bool:
    if isinstance(value, list):
        return any(_varies(item) for item in value)
    return isinstance(value, dict) and (
        not value.keys().isdisjoint(("ref", "device")) or any(_varies(item) for item in value.values())
    )


def save_program(half: nn.Module, folder: Path) -> None:
    """Write a half as `graph.json` and `weights.safetensors` into `folder`, each atomically.

    Args:
        half: one of `split`'s halves, or the whole model (`TracedGraph.module`).

    Raises:
        TraceError: an operator outside the allow-list.
        CollabplanError: the folder cannot be written.
    """
    graph, structure = half.graph_module, getattr(half, "output_structure", None)
    assert isinstance(graph, fx.GraphModule)
    document, tensors = encode(graph, structure)
    folder = Path(folder)
    write_bytes(folder / WEIGHTS_FILE, save_tensors({name: _packed(tensor) for name, tensor in tensors.items()}))
    write_bytes(folder / GRAPH_FILE, (canonical_json(document) + "\n").encode())


def load_program(folder: Path) -> Program:
    """Read a half back. Nothing in the files is executed.

    Raises:
        RecordError: a file is missing, truncated, not ours, names an operator that is not allowed, or
            the weights are not those that the graph names.
    """
    folder = Path(folder)
    try:
        graph, weights = (folder / GRAPH_FILE).read_bytes(), (folder / WEIGHTS_FILE).read_bytes()
    except FileNotFoundError as error:
        raise RecordError(f"program {folder} lacks {Path(error.filename).name}; {_AGAIN}") from None
    except OSError as error:
        raise RecordError(f"program {folder} cannot be read ({error}); {_AGAIN}") from None
    return parse_program(graph, weights, folder)


def parse_program(graph: bytes, weights: bytes, folder: Path) -> Program:
    """The program that the bytes of `graph.json` and `weights.safetensors` hold; `folder` is for messages.

    Raises:
        RecordError: as `load_program` does.
    """
    try:
        document = json.loads(graph.decode("utf-8"))
        stored = load_tensors(weights)
        _require_format(document)
        tensors = {spec["name"]: _unpacked(spec, stored) for spec in document["tensors"]}
        _require_sound(document)
        return Program(document, tensors).eval()
    except RecordError as error:
        raise RecordError(f"program {folder}: {error}; {_AGAIN}") from None
    except _DAMAGE as error:
        said = " ".join(str(error).split())
        raise RecordError(f"program {folder} is damaged ({type(error).__name__}: {said}); {_AGAIN}") from None


def stored_outputs(leaves: Sequence[Any], structure: pytree.TreeSpec) -> Any:
    """A graph's outputs in the form that its program returns them in: in dicts, lists and tuples.

    Args:
        leaves: what the graph returns, in order.
        structure: the model's own nesting of them.
    """
    names = [{"ref": f"n{index}"} for index in range(len(leaves))]
    values = {f"n{index}": leaf for index, leaf in enumerate(leaves)}
    return _build(_structure(structure, iter(names)), values, torch.device("cpu"))


def identify(flat: fx.GraphModule, inputs: Sequence[InputSpec], name: str) -> ModelIdentity:
    """Hashes of structure (canonical graph) and weights of a traced model.

    Raises:
        TraceError: an operator outside the allow-list.
    """
    document, tensors = encode(flat, None)
    for spec in document["tensors"]:
        del spec["requires_grad"]  # freezing a parameter does not make another model
    document["shapes"] = [
        [
            spec.name,
            None if spec.shape is None else _free_shape(spec),
            str(spec.dtype),
            spec.batch_dim,
            repr(spec.constant),
        ]
        for spec in inputs
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


# writing ----------------------------------------------------------------------------------------------


def encode(module: fx.GraphModule, structure: pytree.TreeSpec | None) -> tuple[Json, dict[str, Tensor]]:
    """A graph as a JSON document with numbered values, and the tensors it names.

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
            args = [_encode(value, names) for value in node.args]
            kwargs = {key: _encode(value, names) for key, value in sorted(node.kwargs.items())}
            nodes.append({"op": name_of(node.target), "args": args, "kwargs": kwargs})
    output = module.graph.output_node().args[0]
    leaves = [_encode(value, names) for value in output]  # type: ignore[union-attr]
    document = {
        "format": FORMAT,
        "schema_version": VERSION,
        "inputs": inputs,
        "tensors": [_describe(name, tensor) for name, tensor in tensors.items()],
        "nodes": nodes,
        "output": {"tuple": leaves} if structure is None else _structure(structure, iter(leaves)),
    }
    return document, tensors


def _describe(name: str, tensor: Tensor) -> Json:
    return {
        "name": name,
        "dtype": _dtype_name(tensor.dtype),
        "shape": list(tensor.shape),
        "stride": list(tensor.stride()) if _is_permuted(tensor) else None,
        "requires_grad": tensor.requires_grad,
    }


def _is_permuted(tensor: Tensor) -> bool:
    """Dense, but in another order than row-major (channels-last weights): worth keeping, kernels differ by it."""
    return not tensor.is_contiguous() and torch.empty_like(tensor).stride() == tensor.stride()


def _packed(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _encode(value: Any, names: Mapping[fx.Node, str]) -> Any:
    if isinstance(value, fx.Node):
        return {"ref": names[value]}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [_encode(item, names) for item in value]
    for kind, key in ((torch.dtype, "dtype"), (torch.layout, "layout"), (torch.memory_format, "memory_format")):
        if isinstance(value, kind):
            return {key: str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": None}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, slice):
        return {"slice": [_encode(part, names) for part in (value.start, value.stop, value.step)]}
    raise TraceError(f"the graph holds an argument of type {type(value).__name__}, which a program file cannot hold")


def _structure(spec: pytree.TreeSpec, leaves: Any) -> Any:
    """The output's nesting in dicts, lists and tuples: classes of libraries need not exist where it is loaded.

    Whatever has keys becomes a dict (a `defaultdict`, an ordered one, a registered dataclass, whose fields that are
    None come last), a named tuple a tuple.
    """
    if spec.is_leaf():
        return next(leaves)
    children = [_structure(child, leaves) for child in spec.children()]
    keys = _keys(spec)
    if keys is None:
        return {"list" if spec.type is list else "tuple": children}
    pairs = [[_key(key), child] for key, child in zip(keys, children, strict=True)]
    return {"dict": pairs + [[name, None] for name in _absent(spec)]}


def _keys(spec: pytree.TreeSpec) -> list[Any] | None:
    """The keys of a dictionary's children, or the names of a registered class's; None where there are none."""
    context, count = spec.context, spec.num_children
    if spec.type is defaultdict:
        return list(context[1])  # beside its factory
    keyed = isinstance(spec.type, type) and issubclass(spec.type, Mapping)  # of a named tuple it is a function
    if keyed and isinstance(context, (list, tuple)) and len(context) == count:
        return list(context)
    if isinstance(context, (list, tuple)) and context and isinstance(context[0], (list, tuple)):
        context = context[0]
    matches = isinstance(context, (list, tuple)) and len(context) == count
    return list(context) if matches and context and all(isinstance(key, str) for key in context) else None


def _absent(spec: pytree.TreeSpec) -> list[str]:
    """The fields of a dataclass (as `torch.export.register_dataclass` keeps them) that were None."""
    context = spec.context
    both = dataclasses.is_dataclass(spec.type) and isinstance(context, list) and len(context) == 2
    return [str(name) for name in context[1]] if both else []


def _key(key: Any) -> Any:
    """A dictionary's key in JSON, for `output_key`. Raises TraceError."""
    if key is None or isinstance(key, bool):
        return key
    if isinstance(key, str):
        return str.__str__(key)  # of an enumeration, its value
    if isinstance(key, tuple):
        return [_key(part) for part in key]
    for kind in (int, float):
        if isinstance(key, kind) and math.isfinite(key):
            return kind(key)
    raise TraceError(
        f"the model returns a dictionary with the key {key!r} ({type(key).__name__}), which a program file cannot "
        "hold; use text or numbers, or tuples of these"
    )


# reading ----------------------------------------------------------------------------------------------


def _require_format(document: Any) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RecordError(f"{GRAPH_FILE} is not a {FORMAT} file")
    if document.get("schema_version") != VERSION:
        raise RecordError(f"{GRAPH_FILE} has schema version {document.get('schema_version')!r}, expected {VERSION}")


def _unpacked(spec: Json, stored: Mapping[str, Tensor]) -> Tensor:
    name = spec["name"]
    if name not in stored:
        raise RecordError(f"{WEIGHTS_FILE} lacks tensor {name!r}")
    tensor = stored[name]
    if _dtype_name(tensor.dtype) != spec["dtype"] or list(tensor.shape) != spec["shape"]:
        raise RecordError(f"tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, the graph says {spec}")
    if spec["stride"] is None:
        return tensor
    permuted = torch.empty_permuted(tensor.shape, _order(spec["stride"]), dtype=tensor.dtype)
    return permuted.copy_(tensor)


def _order(stride: Sequence[int]) -> list[int]:
    return sorted(range(len(stride)), key=lambda dim: (-int(stride[dim]), dim))


def _require_sound(document: Json) -> None:
    """Every value is made before it is read, by an allowed operator."""
    known = {f"i{index}" for index in range(len(document["inputs"]))}
    known |= {f"t{index}" for index in range(len(document["tensors"]))}
    for index, node in enumerate(document["nodes"]):
        function_of(node["op"])
        require_constants(node["op"], node["args"], node["kwargs"])
        _require_decodable([node["args"], list(node["kwargs"].values())])
        for name in _references([node["args"], list(node["kwargs"].values())]):
            if name not in known:
                raise RecordError(f"node {index} ({node['op']}) reads {name!r}, which no earlier node makes")
        known.add(f"n{index}")
    _require_structure(document["output"])
    for name in _references(document["output"]):
        if name not in known:
            raise RecordError(f"the output reads {name!r}, which no node makes")


def _require_decodable(value: Any) -> None:
    """Every tagged value is one that `_decode` knows."""
    if isinstance(value, list):
        for item in value:
            _require_decodable(item)
    elif isinstance(value, dict):
        ((tag, content),) = value.items()
        if tag in _TAGS:
            _TAGS[tag](content)
        elif tag == "slice":
            slice(*content)
            _require_decodable(content)
        elif tag == "complex":
            complex(*content)
        elif tag not in ("ref", "device"):
            raise RecordError(f"{tag!r} is no kind of argument")


def _require_structure(structure: Any) -> None:
    """The output is nested as `_build` builds it."""
    tag = next(iter(structure)) if isinstance(structure, dict) and len(structure) == 1 else None
    if tag == "dict":
        if len({output_key(key) for key, _ in structure[tag]}) < len(structure[tag]):
            raise RecordError("the output has one key twice")
        for _, child in structure[tag]:
            _require_structure(child)
    elif tag in ("list", "tuple"):
        for child in structure[tag]:
            _require_structure(child)
    else:
        _require_decodable(structure)


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        if set(value) == {"ref"}:
            return [value["ref"]]
        return [name for item in value.values() for name in _references(item)]
    if isinstance(value, list):
        return [name for item in value for name in _references(item)]
    return []


def _last_uses(document: Json) -> list[list[str]]:
    """By node, the values that no later node reads, so that a run holds only what is live."""
    kept = set(_references(document["output"]))
    last: dict[str, int] = {}
    for index, node in enumerate(document["nodes"]):
        last[f"n{index}"] = index
        for name in _references([node["args"], list(node["kwargs"].values())]):
            last[name] = index
    ends: list[list[str]] = [[] for _ in document["nodes"]]
    for name, index in last.items():
        if name not in kept and not name.startswith("t"):
            ends[index].append(name)
    return ends


_TAGS: dict[str, Callable[[str], Any]] = {
    "dtype": lambda name: _torch_constant(name, torch.dtype),
    "layout": lambda name: _torch_constant(name, torch.layout),
    "memory_format": lambda name: _torch_constant(name, torch.memory_format),
    "float": lambda text: {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[text],
}


def _decode(value: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(value, list):
        return [_decode(item, values, device) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "ref":
        return values[content]
    if tag == "device":
        return device
    if tag == "complex":
        return complex(*content)
    if tag == "slice":
        return slice(*(_decode(part, values, device) for part in content))
    return _TAGS[tag](content)


_CONSTANTS: dict[type, dict[str, Any]] = {
    torch.dtype: {n: v for n, v in vars(torch).items() if isinstance(v, torch.dtype) and not n.startswith("q")},
    torch.layout: {"strided": torch.strided},
    torch.memory_format: {n: v for n, v in vars(torch).items() if isinstance(v, torch.memory_format)},
}
"""Looked up here and not by `getattr(torch, name)`, which imports modules for some names. No sparse or quantized
tensors: kernels that check dense ones look less closely at these."""


def _torch_constant(name: str, kind: type) -> Any:
    if name not in _CONSTANTS[kind]:
        raise RecordError(f"{name!r} is not a {kind.__name__}")
    return _CONSTANTS[kind][name]


def _build(structure: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(structure, dict) and set(structure) == {"dict"}:
        return {output_key(key): _build(child, values, device) for key, child in structure["dict"]}
    if isinstance(structure, dict) and set(structure) == {"list"}:
        return [_build(child, values, device) for child in structure["list"]]
    if isinstance(structure, dict) and set(structure) == {"tuple"}:
        return tuple(_build(child, values, device) for child in structure["tuple"])
    return _decode(structure, values, device)
