"""A half as data: `graph.json` (operators of an allow-list) and `weights.safetensors`. Loading executes nothing.

`torch.export.load` is never used on such a file: it unpickles sample inputs and evaluates expressions. Here
operators are looked up by name (`allowlist` says which), arguments are plain JSON values, and a loaded program is
interpreted instruction by instruction. No code is generated from the file.
"""

from __future__ import annotations

import json
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

from ..records import RecordError, canonical_json, write_bytes
from .operators import function_of
from .program_document import GRAPH_FILE, WEIGHTS_FILE, encode, last_uses, require_format, require_sound, unpack
from .program_format import Json, decode_structure, decode_value, encode_structure, is_reference, varies

_AGAIN = "write the plan's halves again (`collabplan bundle` or `collabplan split`)"
_DAMAGE = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, OverflowError, SafetensorError,
)  # fmt: skip
"""What reading a damaged file may raise: RuntimeError for impossible strides and for too deep a nesting."""


MOST_VALUES = 1_000_000
"""The most values of a graph: 40,000 nodes. A value may take a hundred bytes, its spelling takes three."""


class Program(nn.Module):
    """A graph read back from a file, interpreted. Takes flat tensors, returns the stored output structure.

    Args:
        document: a checked `graph.json`.
        tensors: by name, the tensors that it reads.
    """

    def __init__(self, document: Json, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.document = document
        for index, spec in enumerate(document["tensors"]):
            tensor = tensors[spec["name"]]
            if spec["requires_grad"]:  # kept since matmul rounds differently by it
                self.register_parameter(f"tensor_{index}", nn.Parameter(tensor))
            else:
                self.register_buffer(f"tensor_{index}", tensor)
        self._calls = [_Call.of(node, last) for node, last in zip(document["nodes"], last_uses(document), strict=True)]

    def forward(self, *inputs: Tensor) -> Any:
        """Run the program.

        Raises:
            RecordError: the number of inputs is not that of the program.
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
        return decode_structure(self.document["output"], values, device)


@dataclass(frozen=True, slots=True)
class _Call:
    """One node, decoded once.

    Attributes:
        args, kwargs: constants in their places, None where the value is known only during a run.
        references: places in `args` that take a result, and its name.
        late: places that take any other value that is known only during a run.
        last_uses: the values that no later node reads.
    """

    function: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    references: list[tuple[int, str]]
    late: list[tuple[int | str, Any]]
    last_uses: list[str]

    @classmethod
    def of(cls, node: Json, last_uses: list[str]) -> _Call:
        """Raises RecordError, or one of `_DAMAGE`."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        references: list[tuple[int, str]] = []
        late: list[tuple[int | str, Any]] = []
        for at, value in enumerate(node["args"]):
            if is_reference(value):
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
                    args[place] = decode_value(value, values, device)
                else:
                    kwargs[place] = decode_value(value, values, device)
        return self.function(*args, **kwargs)


def _constant(place: int | str, value: Any, late: list[tuple[int | str, Any]]) -> Any:
    """A value that is the same in every run; otherwise None, and an entry in `late`."""
    if not varies(value):
        return decode_value(value, {}, torch.device("cpu"))
    late.append((place, value))
    return None


def save_program(half: nn.Module, folder: Path) -> None:
    """Write a half as `graph.json` and `weights.safetensors` into `folder`, each atomically.

    Args:
        half: one of `split`'s halves, or the whole model (`TracedGraph.module`).
        folder: made when absent.

    Raises:
        TraceError: an operator outside the allow-list.
        CollabplanError: the folder cannot be written.

    Examples:
        >>> import tempfile
        >>> from collabplan.graph import load_program, save_program, trace
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(trace(torch.nn.ReLU(), torch.ones(1, 2)).module, Path(folder))
        ...     load_program(Path(folder))(torch.tensor([[-1.0, 2.0]])).tolist()
        [[0.0, 2.0]]
    """
    graph, structure = half.graph_module, getattr(half, "output_structure", None)
    assert isinstance(graph, fx.GraphModule)
    document, tensors = encode(graph, structure)
    packed = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    folder = Path(folder)
    write_bytes(folder / WEIGHTS_FILE, save_tensors(packed))
    write_bytes(folder / GRAPH_FILE, (canonical_json(document) + "\n").encode())


def load_program(folder: Path) -> Program:
    """Read a half back. Nothing in the files is executed.

    Args:
        folder: as `save_program` wrote it.

    Raises:
        RecordError: a file is missing, truncated, not ours, names an operator that is not allowed, or
            the weights are not those that the graph names.

    Examples:
        >>> import tempfile
        >>> from collabplan.graph import load_program, save_program, trace
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(trace(torch.nn.Flatten(), torch.ones(1, 2, 3)).module, Path(folder))
        ...     load_program(Path(folder))(torch.ones(4, 2, 3)).shape
        torch.Size([4, 6])
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
    """The program in the bytes of `graph.json` and `weights.safetensors`.

    Args:
        graph: the content of `graph.json`.
        weights: the content of `weights.safetensors`.
        folder: where they lie, for messages.

    Raises:
        RecordError: as `load_program` does.

    Examples:
        >>> from collabplan.graph import parse_program
        >>> parse_program(b"{}", b"", Path("halves/edge"))
        Traceback (most recent call last):
        collabplan.records.errors.RecordError: program halves/edge is damaged ...
    """
    if sum(map(graph.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise RecordError(f"program {folder}: {GRAPH_FILE} holds more than {MOST_VALUES:,} values; {_AGAIN}")
    try:
        document = json.loads(graph.decode("utf-8"))
        stored = load_tensors(weights)
        require_format(document)
        tensors = {spec["name"]: unpack(spec, stored) for spec in document["tensors"]}
        require_sound(document)
        return Program(document, tensors).eval()
    except RecordError as error:
        raise RecordError(f"program {folder}: {error}; {_AGAIN}") from None
    except _DAMAGE as error:
        said = " ".join(str(error).split())
        raise RecordError(f"program {folder} is damaged ({type(error).__name__}: {said}); {_AGAIN}") from None


def stored_outputs(leaves: Sequence[Any], structure: pytree.TreeSpec) -> Any:
    """A graph's outputs in the form in which its program returns them: in dicts, lists and tuples.

    Args:
        leaves: what the graph returns, in order.
        structure: the model's own nesting of them.

    Raises:
        TraceError: a key of a dictionary that a program file cannot hold.

    Examples:
        >>> from collabplan.graph import stored_outputs
        >>> stored_outputs([1, 2], pytree.tree_structure({"a": 0, "b": (0,)}))
        {'a': 1, 'b': (2,)}
    """
    names = [{"ref": f"n{index}"} for index in range(len(leaves))]
    values = {f"n{index}": leaf for index, leaf in enumerate(leaves)}
    return decode_structure(encode_structure(structure, iter(names)), values, torch.device("cpu"))
