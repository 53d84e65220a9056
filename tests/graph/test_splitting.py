"""The halves of every cut equal the model bit for bit, whatever the model."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import candidate_cuts, dead_gradients, load_program, same_values, save_program, split, trace
from collabplan.records import CutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_models import RandomModel, random_inputs
from torch import Tensor, nn

relaxed = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@relaxed
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 9), keyword=st.booleans())
def test_halves_of_random_models_compose_bit_for_bit(seed, steps, keyword):
    model = RandomModel(seed, steps).eval()
    x, extra = random_inputs(seed, 1)
    traced = trace(model, (x,), {"extra": extra}) if keyword else trace(model, (x, extra))
    for cut in candidate_cuts(traced):
        halves = split(traced, cut)
        for batch in (1, 3):
            x, extra = random_inputs(seed + batch, batch)
            with torch.no_grad():
                expected = model(x, extra)
                crossing = halves.edge(x, extra=extra) if keyword else halves.edge(x, extra)
                first, second = halves.cloud(*crossing), halves.cloud(*crossing)
                over_a_wire = halves.cloud(*(tensor.contiguous() for tensor in crossing))
            assert same_values(first, expected), cut.name
            assert same_values(second, expected), f"{cut.name}: the crossings were changed by the first run"
            assert same_values(over_a_wire, expected), f"{cut.name}: depends on strides"


@relaxed
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 6))
def test_saved_halves_compose_bit_for_bit(seed, steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    model = RandomModel(seed, steps).eval()
    traced = trace(model, random_inputs(seed, 2))
    inputs = random_inputs(seed + 1, 3)
    with torch.no_grad():
        expected = model(*inputs)
        for cut in candidate_cuts(traced, max_crossing=2):
            halves = split(traced, cut)
            save_program(halves.edge, folder / "edge")
            save_program(halves.cloud, folder / "cloud")
            edge, cloud = load_program(folder / "edge"), load_program(folder / "cloud")
            assert same_values(cloud(*edge(*inputs)), expected), cut.name


@relaxed
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 8))
def test_gradients_reach_the_inputs_even_through_no_grad_blocks(seed, steps):
    traced = trace(RandomModel(seed, steps), random_inputs(seed, 1))
    cuts = candidate_cuts(traced)
    assert dead_gradients(traced, cuts) == {}
    x, extra = (tensor.requires_grad_() for tensor in random_inputs(seed, 2))
    for cut in cuts:
        crossing = split(traced, cut).edge(x, extra)
        assert all(tensor.requires_grad for tensor in crossing)
        assert torch.autograd.grad(sum(tensor.sum() for tensor in crossing), x)[0].abs().sum() > 0


def test_a_cut_of_another_graph_is_refused():
    first, second = (trace(nn.Linear(3, 3), torch.randn(1, 3)) for _ in range(2))
    with pytest.raises(CutError, match="another traced graph"):
        split(first, candidate_cuts(second)[0])


def test_an_output_made_on_the_edge_crosses():
    class TwoOutputs(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            early = x * 2
            return early, torch.relu(early + 1)

    traced = trace(TwoOutputs(), torch.randn(1, 3))
    last = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"][-1]
    assert {crossing.name for crossing in last.crossing} == {"mul", "add"}
