"""Program files: what is loaded executes nothing, and damage is refused in one line."""

from __future__ import annotations

import enum
import json
import tracemalloc
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from collabplan.graph import candidate_cuts, load_program, save_program, split, trace
from collabplan.records import RecordError, TraceError
from torch import Tensor, nn


@pytest.fixture
def saved(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    traced = trace(model, torch.randn(1, 1, 4, 4))
    save_program(split(traced, candidate_cuts(traced)[0]).cloud, tmp_path)
    return tmp_path


def edit(folder, change):
    document = json.loads((folder / "graph.json").read_text())
    change(document)
    (folder / "graph.json").write_text(json.dumps(document))


def refused(folder, match):
    with pytest.raises(RecordError, match=match) as caught:
        load_program(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [b"[],", b"{},", b"0,"])
def test_a_graph_of_very_many_values_is_refused_before_it_is_read(saved, value):
    forged = b'{"nodes":[' + value * (22_000_000 // len(value)) + b"0]}"
    (saved / "graph.json").write_bytes(forged)
    tracemalloc.start()
    refused(saved, "more than 1,000,000 values")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(forged) + 2**20, "the file's bytes, and hardly more"


def test_operators_outside_the_list_are_refused(saved):
    for name in ("aten.from_file.default", "python.eval", "os.system", "aten.relu_.default", 7, "aten.add_.Tensor"):
        edit(saved, lambda document, name=name: document["nodes"][0].update(op=name))
        refused(saved, "not on the list")


@pytest.mark.parametrize(("tag", "value"), [("layout", "sparse_coo"), ("dtype", "qint8"), ("dtype", "nn")])
def test_tensors_that_are_not_dense_and_plain_are_refused(saved, tag, value):
    edit(saved, lambda document: document["nodes"][0]["kwargs"].update({tag: {tag: value}}))
    refused(saved, f"'{value}' is not a {tag}")


@pytest.mark.parametrize("value", [-7, 10**9, {"ref": "i0"}, {"layout": "strided"}, [1]])
def test_a_number_in_the_place_of_a_dtype_is_refused(saved, value):
    called = {"op": "aten.ones_like.default", "args": [{"ref": "i0"}], "kwargs": {"dtype": value}}
    edit(saved, lambda document: document["nodes"].append(called))
    refused(saved, r"takes a dtype as dtype")


def test_truncated_and_foreign_files_are_refused(saved):
    text = (saved / "graph.json").read_text()
    (saved / "graph.json").write_text(text[: len(text) // 2])
    refused(saved, "damaged")
    (saved / "graph.json").write_text("{}")
    refused(saved, "not a collabplan.graph file")
    (saved / "graph.json").unlink()
    refused(saved, r"lacks graph\.json")


def test_truncated_weights_are_refused(saved):
    data = (saved / "weights.safetensors").read_bytes()
    (saved / "weights.safetensors").write_bytes(data[:-20])
    refused(saved, "damaged")


def test_a_reference_to_nothing_is_refused(saved):
    edit(saved, lambda document: document["nodes"][0]["args"].__setitem__(0, {"ref": "n99"}))
    refused(saved, "no earlier node makes")


def test_other_weights_than_the_graph_names_are_refused(saved):
    edit(saved, lambda document: document["tensors"][0].update(shape=[1, 2]))
    refused(saved, "the graph says")


def test_the_wrong_number_of_inputs_is_refused(saved):
    with pytest.raises(RecordError, match="takes 1 tensors"):
        load_program(saved)(torch.zeros(1), torch.zeros(1))


def test_channels_last_weights_keep_their_strides(tmp_path):
    model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    traced = trace(model, torch.randn(1, 4, 6, 6))
    save_program(split(traced, candidate_cuts(traced)[0]).cloud, tmp_path)
    program = load_program(tmp_path)
    assert any(parameter.stride() == model.weight.stride() for parameter in program.parameters())


Pair = namedtuple("Pair", "left right")


class Name(enum.StrEnum):
    LEFT = "left"


@dataclass
class Found:
    boxes: Tensor
    masks: Tensor | None = None


torch.export.register_dataclass(Found, serialized_type_name="collabplan.tests.Found")


class Returns(nn.Module):
    """Returns its result in some structure."""

    def __init__(self, structure: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.structure = nn.Linear(3, 2), structure

    def forward(self, x: Tensor) -> Any:
        return self.structure(torch.relu(self.layer(x)))


def types(value: Any) -> Any:
    """The nesting of an output, with keys and their types."""
    if isinstance(value, dict):
        return {(type(key).__name__, key): types(part) for key, part in value.items()}
    return (type(value), [types(part) for part in value]) if isinstance(value, (list, tuple)) else type(value)


@pytest.mark.parametrize(
    ("structure", "plain"),
    [
        (lambda y: {0: y, 7: [y]}, None),
        (lambda y: {"z": y, 1: y, "a": y}, None),
        (lambda y: {None: y, True: (y,), 2.5: y, 2: y}, None),
        (lambda y: {("user", "likes", "film"): y, (1, (2,)): y}, None),
        (lambda y: {0: {"x": {1: {None: (y, [])}}}, "none": None}, None),
        (lambda y: [{}, [], (), {"n": 3, "inf": float("inf")}, y], None),
        (lambda y: defaultdict(list, {"p": y, 3: y}), lambda y: {"p": y, 3: y}),
        (lambda y: defaultdict(list, {3: y}), lambda y: {3: y}),
        (lambda y: OrderedDict([(2, y), ("a", y)]), lambda y: {2: y, "a": y}),
        (lambda y: {Name.LEFT: y}, lambda y: {"left": y}),
        (lambda y: Pair(y, {1: y}), lambda y: (y, {1: y})),
        (lambda y: Found(y), lambda y: {"boxes": y, "masks": None}),
    ],
)
def test_an_output_keeps_its_structure_and_the_types_of_its_keys(tmp_path, structure, plain):
    traced = trace(Returns(structure), torch.randn(2, 3))
    halves = split(traced, candidate_cuts(traced)[1])
    save_program(halves.cloud, tmp_path)
    got = load_program(tmp_path)(*halves.edge(torch.randn(2, 3)))
    wanted = (plain or structure)(torch.randn(2, 2))
    assert types(got) == types(wanted)
    assert not isinstance(wanted, dict) or list(got) == list(wanted)


def test_a_key_that_is_neither_text_nor_a_number_is_refused(tmp_path):
    traced = trace(Returns(lambda y: {torch.float32: y}), torch.randn(2, 3))
    with pytest.raises(TraceError, match=r"key torch\.float32"):
        save_program(traced.module, tmp_path)


@pytest.mark.parametrize("key", [{"ref": "i0"}, {}, [[{"dict": []}]], float("nan"), float("inf")])
def test_a_file_with_a_key_of_no_known_kind_is_refused(saved, key):
    edit(saved, lambda document: document.update(output={"dict": [[key, {"ref": "n0"}]]}))
    refused(saved, "key of no known kind")


def test_a_file_with_one_key_twice_or_half_a_pair_is_refused(saved):
    for pairs in ([[1, None], [True, None]], [["a", None], ["a", None]]):
        edit(saved, lambda document, pairs=pairs: document.update(output={"dict": pairs}))
        refused(saved, "one key twice")
    for damaged in ([["a"]], [1], {"a": 1}, "ab"):
        edit(saved, lambda document, pairs=damaged: document.update(output={"dict": pairs}))
        refused(saved, "damaged")
