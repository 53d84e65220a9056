"""Where samples of a batch read each other, every figure is of each sample alone."""

from __future__ import annotations

import pytest
import torch
from collabplan.attacks.audit_target import AuditTarget
from collabplan.defenses import Defense
from collabplan.estimators import EdgeActivations
from collabplan.estimators.fisher import Sensitivity
from collabplan.graph import Cut, TracedGraph, candidate_cuts, trace
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from torch import Tensor, nn


class Adapting(nn.Module):
    """BatchNorm without running statistics, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4, track_running_stats=False)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.stem(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def traced() -> TracedGraph:
    return trace(Adapting().eval(), torch.rand(1, 3, 6, 6))


@pytest.fixture(scope="module")
def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.1, 1, 7)[:, None, None, None]
    return Data((torch.rand(7, 3, 6, 6, generator=generator) * scale,))


def named(traced: TracedGraph, name: str) -> Cut:
    return next(cut for cut in candidate_cuts(traced) if cut.name == name)


def test_activations(traced: TracedGraph, data: Data) -> None:
    activations, cut = EdgeActivations(traced, batch_size=64), named(traced, "edge-only")
    with torch.no_grad():
        alone = torch.cat([traced.module(sample[None]) for sample in data.inputs[0]])
        together = traced.module(data.inputs[0])
    assert not torch.allclose(alone, together, atol=1e-2)
    assert torch.equal(activations.rows(cut, data)[0], alone)
    swept = {each.name: rows for each, rows in activations.sweep(candidate_cuts(traced), data)}
    assert torch.equal(swept["edge-only"][0], alone)


def test_what_is_attacked_and_what_the_cloud_makes_of_it(traced: TracedGraph, data: Data) -> None:
    cut = named(traced, "norm")
    defense = Defense(defense_record(bits=None), cut.crossing)
    target = AuditTarget(traced, cut, defense, InputScaling.from_range(0, 1))
    pixels = data.inputs[0].clone().requires_grad_()
    rows = target.edge(target.with_pixels(data, pixels))
    (gradient,) = torch.autograd.grad(rows[0][2].square().sum(), pixels)
    assert [bool(each.any()) for each in gradient] == [False, False, True, False, False, False, False]
    assert torch.equal(rows[0].detach(), target.clean_rows(data)[0])
    with torch.no_grad():
        alone = torch.cat([traced.module(sample[None]) for sample in data.inputs[0]])
        assert torch.allclose(target.cloud(rows), alone, atol=1e-6)


def test_sensitivity_is_of_each_sample_alone(traced: TracedGraph, data: Data) -> None:
    scaling, cut = InputScaling.from_range(0, 1), named(traced, "norm")

    def of(part: Data) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        found = Sensitivity.of(EdgeActivations(traced), cut, part, scaling, generator=generator, probes=1)
        assert found is not None
        return found.traces[0]

    others = data.inputs[0].clone()
    others[1:] = others[1:].flip(1) * 3
    assert torch.equal(of(data)[:1], of(Data((others,)))[:1])
