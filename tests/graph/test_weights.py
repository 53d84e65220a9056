"""Parameters are counted by what the model holds, in whatever form; bytes by what a half's file stores."""

from __future__ import annotations

import json

import pytest
import torch
from collabplan.graph import candidate_cuts, split, trace
from collabplan.graph.halves import tunable, with_weights
from collabplan.graph.program import load_program, save_program
from collabplan.graph.program_document import GRAPH_FILE, WEIGHTS_FILE
from collabplan.graph.weights import module_parameter_count
from collabplan.profilers.memory import EdgeUse
from collabplan.profilers.nodes import collect_facts
from collabplan.profilers.placement import place
from torch import nn
from torch.nn.functional import linear


class Plain(nn.Module):
    """A convolution with normalisation, then two linear layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.body, self.head = nn.Linear(64, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.relu(self.body(self.stem(x).flatten(1))))


class Quantized(nn.Module):
    """A linear layer whose weights are 8-bit numbers in a buffer, with a scale a row."""

    def __init__(self, held="buffer"):
        super().__init__()
        weight, scale = torch.randint(-127, 128, (32, 16), dtype=torch.int8), torch.full((32, 1), 0.01)
        if held == "parameter":
            self.weight = nn.Parameter(weight, requires_grad=False)
        elif held == "buffer":
            self.register_buffer("weight", weight)
        else:
            self.weight = weight  # type: ignore[assignment]
        self.register_buffer("scale", scale)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(torch.relu(linear(x, self.weight.float() * self.scale)))


class Complex(nn.Module):
    """A filter of complex numbers in the frequency domain."""

    def __init__(self, frozen=False):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(9, dtype=torch.complex64), requires_grad=not frozen)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.fft.irfft(torch.fft.rfft(x) * self.filter, n=16))


class Tied(nn.Module):
    """An embedding that the output layer uses again, positions that the code computes, and indices."""

    def __init__(self):
        super().__init__()
        self.embedding, self.body = nn.Embedding(20, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("table", torch.linspace(0, 1, 40).reshape(5, 8), persistent=False)
        self.register_buffer("order", torch.arange(5).flip(0))

    def forward(self, ids):
        return self.head(torch.relu(self.body(self.embedding(ids)[:, self.order] + self.table)))


def frozen(model):
    return model.requires_grad_(False)


def by_cut(model, example):
    """The traced model; edge memory by cut; the cuts."""
    traced = trace(model.eval(), (example,))
    cuts = candidate_cuts(traced)
    with torch.inference_mode():
        use = EdgeUse(traced.flat, collect_facts(traced.flat, traced.example_inputs))
    return traced, {cut.id: use.memory(cut) for cut in cuts}, cuts


IMAGE, ROW, IDS = torch.rand(2, 1, 4, 4), torch.rand(2, 16), torch.randint(0, 20, (2, 5))
CASES = {
    "plain": (Plain, IMAGE, 4 * 9 + 4 + 2 * 4 + 64 * 16 + 16 + 16 * 3 + 3),
    "frozen": (lambda: frozen(Plain()), IMAGE, 4 * 9 + 4 + 2 * 4 + 64 * 16 + 16 + 16 * 3 + 3),
    "int8 buffers": (Quantized, ROW, 32 * 16 + 32 + 32 * 3 + 3),
    "int8 parameters": (lambda: frozen(Quantized("parameter")), ROW, 32 * 16 + 32 + 32 * 3 + 3),
    "complex": (Complex, ROW, 9 + 16 * 3 + 3),
    "frozen complex": (lambda: Complex(frozen=True), ROW, 9 + 16 * 3 + 3),
    "tied": (Tied, IDS, 20 * 8 + 8 * 8 + 8),
    "half precision": (
        lambda: Plain().to(torch.bfloat16),
        IMAGE.to(torch.bfloat16),
        4 * 9 + 4 + 2 * 4 + 64 * 16 + 16 + 16 * 3 + 3,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_what_the_model_holds(name):
    make, example, count = CASES[name]
    model = make()
    assert module_parameter_count(model) == count
    traced, memory, cuts = by_cut(model, example)
    assert traced.identity.parameter_count == count
    assert memory[cuts[-1].id].parameter_count == count
    assert memory[cuts[0].id].parameter_count == 0
    assert memory[cuts[-1].id].weight_bytes == traced.identity.parameter_bytes


@pytest.mark.parametrize("name", CASES)
def test_bytes_are_those_of_the_edge_half_file(name, tmp_path):
    make, example, _ = CASES[name]
    traced, memory, cuts = by_cut(make(), example)
    for at, cut in enumerate(cuts):
        save_program(split(traced, cut).edge, tmp_path / str(at))
        file = (tmp_path / str(at) / WEIGHTS_FILE).read_bytes()
        header = 8 + int.from_bytes(file[:8], "little")
        assert memory[cut.id].weight_bytes == len(file) - header


def test_weights_that_are_plain_tensors_count_and_constants_of_the_code_do_not():
    class Scaled(Quantized):
        def forward(self, x):
            return super().forward(x * torch.tensor(0.5))

    traced, _, _ = by_cut(Scaled("plain"), ROW)
    assert traced.identity.parameter_count == 32 * 16 + 32 + 32 * 3 + 3


def test_a_tied_tensor_counts_once_and_in_each_half_that_needs_it():
    traced, memory, cuts = by_cut(Tied(), IDS)
    cut = next(cut for cut in cuts if cut.kind == "proper" and memory[cut.id].parameter_count >= 160 + 64)
    assert memory[cut.id].parameter_count == 160 + 64 + 8
    cloud = split(traced, cut).cloud
    assert sum(value.numel() for value in tunable(cloud).values()) == 160


def test_counts_survive_another_dtype():
    traced = trace(frozen(Quantized("buffer")).eval(), (ROW,))
    placed = place(traced, torch.device("cpu"), "float16", 1)
    with torch.inference_mode():
        use = EdgeUse(placed.flat, collect_facts(placed.flat, placed.example_inputs))
    whole = use.memory(candidate_cuts(traced)[-1])
    assert whole.parameter_count == 32 * 16 + 32 + 32 * 3 + 3
    assert whole.weight_bytes == 32 * 16 + 2 * (32 + 32 * 3 + 3)


def test_a_frozen_model_stays_frozen_and_equal_bit_for_bit(tmp_path):
    model, free = frozen(Plain()).eval(), Plain().eval()
    free.load_state_dict(model.state_dict())
    traced, open_ = trace(model, (IMAGE,)), trace(free, (IMAGE,))
    assert traced.identity.structure_hash == open_.identity.structure_hash
    for cut in candidate_cuts(traced):
        halves = split(traced, cut)
        save_program(halves.cloud, tmp_path)
        assert not any(spec["requires_grad"] for spec in json.loads((tmp_path / GRAPH_FILE).read_text())["tensors"])
        assert torch.equal(load_program(tmp_path)(*halves.edge(IMAGE)), model(IMAGE))


def test_weights_of_a_frozen_cloud_half_can_be_exchanged():
    traced = trace(frozen(Plain()).eval(), (IMAGE,))
    cut = next(cut for cut in candidate_cuts(traced) if cut.kind == "proper")
    halves = split(traced, cut)
    doubled = with_weights(halves.cloud, {name: 2 * value for name, value in tunable(halves.cloud).items()})
    assert not torch.equal(doubled(*halves.edge(IMAGE)), halves.cloud(*halves.edge(IMAGE)))
    assert not any(parameter.requires_grad for parameter in doubled.parameters())
