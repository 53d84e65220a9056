"""Halves for other engines compute what the torch halves compute, and tell nothing of the machine that made them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundle_plans import (
    FixedBatch,
    Made,
    SkipNet,
    Tokens,
    TwoHeads,
    crossing,
    first,
    images,
    last,
    make,
    middle,
    rows,
    tokens,
)
from collabplan.records import CollabplanError
from collabplan.runtime import open_cloud, open_edge, write_bundle
from collabplan.runtime.exports import onnx_with_nodes
from torch import Tensor
from torch.utils import _pytree as pytree

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not installed (the extra [onnx])",
)
MODELS = {
    "two crossings": lambda: make(SkipNet(), images, crossing("relu", "conv2d_1")),
    "tokens and a mask": lambda: make(Tokens(), tokens, middle, public=("mask",)),
    "one batch size": lambda: make(FixedBatch(), rows, middle, batch=3),
    "cloud-only": lambda: make(SkipNet(), images, first),
}


Written = Callable[[str], tuple[Made, Path]]


@pytest.fixture(scope="module")
def bundle_for_onnx(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """One of the models with its bundle, written once. Read it only."""

    @functools.cache
    def write(name: str) -> tuple[Made, Path]:
        made, folder = MODELS[name](), tmp_path_factory.mktemp("onnx") / "b"
        write_bundle(made.plan, made.traced, made.cut, folder, formats=["onnx"])
        return made, folder

    return write


def run_onnx(file: Path, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    return [torch.as_tensor(value) for value in session.run(None, given)]


def leaves(output: object) -> list[Tensor]:
    return [torch.as_tensor(leaf) for leaf in pytree.tree_leaves(output) if leaf is not None]


@needs_onnx
@pytest.mark.parametrize("name", MODELS)
def test_onnx_halves_equal_the_torch_halves(name: str, bundle_for_onnx: Written) -> None:
    made, folder = bundle_for_onnx(name)
    edge = open_edge(folder)
    for batch in (1, 3) if edge.manifest.part.batch is None else (3,):
        inputs = made.inputs(batch)
        with torch.no_grad():
            expected = edge.program(*inputs)
            given, file = inputs, folder / "edge" / "half.onnx"
            for program in (None, open_cloud(folder).program) if edge.sends else (None,):
                if program is not None:
                    given, file = tuple(expected), folder / "cloud" / "half.onnx"
                    expected = program(*given)
                found = run_onnx(file, given)
                assert len(found) == len(leaves(expected))
                for mine, theirs in zip(found, leaves(expected), strict=True):
                    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4, check_dtype=True)


@needs_onnx
def test_an_onnx_half_names_its_tensors_and_nothing_of_this_machine(bundle_for_onnx: Written) -> None:
    import onnx

    _, folder = bundle_for_onnx("two crossings")
    graphs = {role: onnx.load(folder / role / "half.onnx").graph for role in ("edge", "cloud")}
    assert [node.name for node in graphs["edge"].input] == ["x"]
    assert [node.name for node in graphs["edge"].output] == ["relu", "conv2d_1"]
    assert [node.name for node in graphs["cloud"].input] == ["relu", "conv2d_1"]
    assert [node.name for node in graphs["cloud"].output] == ["output_0", "output_1"]
    for role in graphs:
        data = (folder / role / "half.onnx").read_bytes()
        for told in (b"site-packages", b"stack_trace", str(Path(__file__).parent).encode(), b"somebody"):
            assert told not in data


@needs_onnx
@pytest.mark.parametrize("name", ["two crossings", "tokens and a mask", "one batch size"])
def test_a_model_whose_nodes_keep_their_names_computes_the_same(name: str, tmp_path: Path) -> None:
    import onnx

    made = MODELS[name]()
    model, nodes = onnx_with_nodes(made.traced.flat, [spec.name for spec in made.traced.tensor_inputs])
    onnx.checker.check_model(model, full_check=True)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    inputs = made.inputs(made.traced.only_batch or 3)
    with torch.no_grad():
        expected = leaves(made.traced.flat(*inputs))
    for mine, theirs in zip(run_onnx(tmp_path / "model.onnx", inputs), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert all(nodes[node.name] is not None for node in value_nodes(made))
    assert [node.name for node in model.graph.node if node.name in nodes] == list(nodes)


@needs_onnx
def test_no_node_is_fused_with_another_so_that_each_keeps_its_own_name() -> None:
    class Normed(torch.nn.Sequential):
        """A convolution with the normalisation that exporters fold into it."""

    made = make(Normed(torch.nn.Conv2d(1, 2, 3, bias=False), torch.nn.BatchNorm2d(2)), images, first)
    model, nodes = onnx_with_nodes(made.traced.flat, ["x"])
    assert {name: node.op_type for name, node in nodes.items()} == {
        "conv2d": "Conv",
        "batch_norm": "BatchNormalization",
    }
    assert len(model.graph.node) == 2, "without the constants that the exporter spells out"
    told = model.SerializeToString()
    assert b"site-packages" not in told
    assert b"stack_trace" not in told


def value_nodes(made: Made) -> list[torch.fx.Node]:
    """The nodes of a graph that depend on its inputs' values."""
    graph = made.traced.flat.graph
    return [node for node in graph.nodes if node.op == "call_function" and made.traced.kinds[node.name] == "value"]


def test_without_its_packages_onnx_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    made = make(TwoHeads(), rows, last)
    with pytest.raises(
        CollabplanError, match=r"needs onnx, which is not installed; run: pip install 'collabplan\[onnx\]'"
    ):
        write_bundle(made.plan, made.traced, made.cut, tmp_path / "b", formats=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_a_pt2_half_computes_the_same_and_holds_no_input(tmp_path: Path) -> None:
    """Read here, by torch, because this test made it; collabplan never reads one."""
    made = MODELS["two crossings"]()
    write_bundle(made.plan, made.traced, made.cut, tmp_path / "b", formats=["pt2"])
    program = torch.export.load(tmp_path / "b" / "edge" / "half.pt2")
    assert not any(tensor.any() for tensor in program.example_inputs[0])
    with torch.no_grad():
        for mine, theirs in zip(
            program.module()(*images(3)), open_edge(tmp_path / "b").program(*images(3)), strict=True
        ):
            assert torch.equal(mine, theirs)
