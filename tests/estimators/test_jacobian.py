"""Derivatives along directions are those of autograd, whatever operators the edge half has."""

from __future__ import annotations

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.estimators import EdgeActivations
from collabplan.estimators.fisher import dead_at
from collabplan.estimators.input_directions import InputDirections, input_directions, joint
from collabplan.estimators.inversion import LocalInversion
from collabplan.estimators.jacobian import EdgeJacobian
from collabplan.graph import TracedGraph, candidate_cuts
from collabplan.records import CollabplanError, DefenseRecord
from collabplan.targets import Data, InputScaling
from known_maps import cut_behind, images
from torch import Tensor, nn

SCALING = InputScaling.from_range(-1, 1)


def directions(traced: TracedGraph, data: Data) -> tuple[InputDirections, ...]:
    return input_directions(data, traced, SCALING, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [64, 7])
def test_it_is_the_jacobian_times_the_directions(traced: TracedGraph, batch: int) -> None:
    data = Data((2 * images("noise")[:300] - 1,))
    cut = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"][2]
    activations = EdgeActivations(traced, batch_size=batch)
    found = EdgeJacobian.of(activations, cut, data, SCALING, directions(traced, data), points=2)
    edge = activations.halves(cut).edge.graph_module
    wanted = [position for position, crossed in enumerate(cut.crossing) if not crossed.public]
    for sample, slopes in zip((0, 299), found.slopes, strict=True):
        x = data.inputs[0][sample : sample + 1]
        for position, slope in zip(wanted, slopes, strict=True):
            full = torch.autograd.functional.jacobian(lambda v, at=position: edge(v)[at].flatten(), x).flatten(1)
            expected = 2 * full @ found.directions[0].basis.T  # a pixel is two units of this input
            assert torch.allclose(slope.flatten(1), expected.T, atol=1e-4)


def test_wide_crossings_are_followed_along_fewer_directions(
    traced: TracedGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collabplan.estimators.jacobian.HELD_BYTES", 1000)
    data = Data((images("noise")[:300],))
    cut = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"][2]
    found = EdgeJacobian.of(EdgeActivations(traced), cut, data, SCALING, directions(traced, data))
    assert joint(found.directions) == 32
    for prior in found.directions[0].priors:
        assert float(prior.weights.sum()) + prior.known == pytest.approx(1.0)


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.round(20 * x.flatten(1))


def test_a_dead_gradient_is_refused() -> None:
    data = images("noise")[:60]
    dead, cut = cut_behind(Rounded(), data[:2])
    with pytest.raises(CollabplanError, match="local inversion is not computable here"):
        EdgeJacobian.of(EdgeActivations(dead), cut, Data((data,)), SCALING, directions(dead, Data((data,))))


def test_large_networks_are_followed_along_fewer_directions_and_tell_no_less(
    traced: TracedGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data((images("noise")[:300],))
    activations = EdgeActivations(traced)
    ways = directions(traced, data)
    for cut in [cut for cut in candidate_cuts(traced) if cut.kind == "proper"][1::2]:
        found = []
        for flops in (1e12, 1.0):
            monkeypatch.setattr("collabplan.estimators.jacobian.MOST_FLOPS", flops)
            jacobian = EdgeJacobian.of(activations, cut, data, SCALING, ways)
            defense = Defense.for_cut(DefenseRecord(), cut).calibrate(
                activations.to_graph(cut, activations.rows(cut, data))
            )
            found.append(LocalInversion(jacobian, defense.private.transforms, (), 0).index(defense.private))
        assert joint(jacobian.directions) == 16
        assert found[1].value >= found[0].value - 1e-6
        assert found[1].high >= found[0].high - 1e-6


def test_dead_gradients_are_found_once_for_all_cuts() -> None:
    data = images("noise")[:60]
    dead, cut = cut_behind(Rounded(), data[:2])
    activations = EdgeActivations(dead)
    proper = [each for each in candidate_cuts(dead) if each.kind == "proper"]
    shared = dead_at(activations, proper, Data((data,)))
    assert set(shared) >= {crossing.name for crossing in cut.crossing}
    with pytest.raises(CollabplanError, match="local inversion is not computable here"):
        EdgeJacobian.of(activations, cut, Data((data,)), SCALING, directions(dead, Data((data,))), dead=shared)
