"""Small models, and plans for a cut of theirs without a search: the figures in them are made up, the rest is real."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from collabplan.defenses import Defense, ProjectionMatrices
from collabplan.estimators import EdgeActivations, fit_projection
from collabplan.graph import Cut, TracedGraph, candidate_cuts, split, trace
from collabplan.records import (
    Accuracy,
    Budgets,
    Candidate,
    DefenseRecord,
    DeviceIdentity,
    Interval,
    Latency,
    LatencyParts,
    Leakage,
    Link,
    Plan,
    TargetIdentity,
    TensorFile,
    collect_provenance,
)
from collabplan.targets import Data
from defense_records import defense_record
from torch import Tensor, nn


class SkipNet(nn.Module):
    """A skip connection: two tensors cross inside the block. Returns a dict with a number and a None in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        stem = torch.relu(self.stem(x))
        features = self.norm(torch.relu(self.block(stem)) + stem)
        return {"logits": self.head(features.flatten(1)), "batch": x.shape[0], "nothing": None}


class ByNumber(nn.Module):
    """Returns a dictionary with numbers for keys, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> dict[int, Any]:
        found = self.second(torch.tanh(self.first(x)))
        return defaultdict(list, {3: found, 1: {None: found.sum(dim=1)}})


class TwoHeads(nn.Module):
    """Returns a tuple, one part of which is made early."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        early = torch.tanh(self.first(x))
        late = torch.tanh(self.second(early))
        return early.mean(dim=1), [self.third(late), late.sum(dim=1, keepdim=True)]


class Tokens(nn.Module):
    """Token ids, and a public mask that the cloud needs too. One weight (of the embedding) may be tied to the head."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = torch.relu(self.mix(self.embedding(ids)))
        logits: Tensor = self.head(hidden * mask[:, :, None])
        return logits


class FixedBatch(nn.Module):
    """Runs at the batch size of its example alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(torch.relu(self.first(x)).reshape(3, 6))
        return logits


class OneMemory(nn.Module):
    """All parameters are views of one tensor, as some training frameworks leave them."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.randn(72)
        self.first, self.second = nn.Parameter(flat[:36].view(6, 6)), nn.Parameter(flat[36:].view(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.first) @ self.second


def images(batch: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch)),)


def rows(batch: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 6, generator=torch.Generator().manual_seed(batch)),)


def tokens(batch: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 11, (batch, 4), generator=generator), torch.ones(batch, 4)


@dataclass(frozen=True, eq=False)
class Made:
    """A model, its trace, and a plan for one of its cuts."""

    model: nn.Module
    traced: TracedGraph
    cut: Cut
    plan: Plan
    inputs: Callable[[int], tuple[Tensor, ...]]
    projection: ProjectionMatrices | None = None


def make(
    model: nn.Module,
    inputs: Callable[[int], tuple[Tensor, ...]],
    choose: Callable[[list[Cut]], Cut],
    *,
    batch: int = 1,
    public: tuple[str, ...] = (),
    spec: DefenseRecord | None = None,
) -> Made:
    """A plan of `model` for the cut that `choose` takes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape))
    traced = trace(model.eval(), inputs(batch), public_inputs=public)
    cut = choose(candidate_cuts(traced))
    spec, projection = spec or defense_record(dropout="element", rate=0.5), None
    if spec.projection is not None:
        whole = spec.projection.rank or 0
        found = fit_projection(EdgeActivations(traced), cut, Data(inputs(32)), torch.Generator(), whole=whole)
        projection = found.narrowed(spec.projection)
    return Made(model, traced, cut, plan_of(traced, cut, inputs(batch), spec, projection), inputs, projection)


def plan_of(
    traced: TracedGraph,
    cut: Cut,
    inputs: tuple[Tensor, ...],
    spec: DefenseRecord,
    projection: ProjectionMatrices | None = None,
) -> Plan:
    """A plan for `cut`, its defense calibrated on `inputs`."""
    with torch.no_grad():
        defense = Defense.for_cut(spec, cut)
        defense = defense if projection is None else defense.with_matrices(projection)
        defense = defense.calibrate(split(traced, cut).edge(*inputs))
    candidate = _candidate(cut, defense)
    device = DeviceIdentity(device="cpu", name="a processor", threads=1)
    return Plan(
        headline="made up",
        target=TargetIdentity(spec="/home/somebody/secret-project/model.py:Net", file="/home/somebody/model.py"),
        model=traced.identity,
        cut_id=cut.id,
        cut_name=cut.name,
        cut_kind=cut.kind,
        crossing=cut.crossing,
        defense=defense.record,
        projection=None if projection is None else TensorFile(file="", sha256=projection.sha256),
        batch=1,
        chosen=candidate,
        searched=candidate,
        budgets=Budgets(),
        link=Link(bandwidth_bps=1e6, rtt_ms=1.0),
        edge_device=device,
        cloud_device=device,
        front=(),
        baselines=(),
        trials=1,
        study="search-1",
        provenance=collect_provenance(command=("/home/somebody/bin/collabplan", "optimize", "-o", "plans/plan.json")),
    )


def _candidate(cut: Cut, defense: Defense) -> Candidate:
    nothing = Interval(value=0.0, low=0.0, high=0.0)
    parts = LatencyParts(edge_ms=1, defense_ms=0, serialisation_ms=0, transfer_ms=0, cloud_ms=0, download_ms=0)
    return Candidate(
        cut_id=cut.id,
        cut_name=cut.name,
        cut_kind=cut.kind,
        defense=defense.record.unfitted,
        latency=Latency(p50_ms=nothing, p95_ms=1.0, parts=parts),
        accuracy=Accuracy(metric="top-1", accuracy=nothing, undefended=0.0, drop=nothing, sample_count=1, draws=1),
        leakage=Leakage(index=nothing, status="estimated", sample_count=1),
        payload_bytes=defense.payload_bytes(),
        edge_peak_bytes=0,
        edge_parameter_count=0,
        meets_budgets=True,
    )


def crossing(*nodes: str) -> Callable[[list[Cut]], Cut]:
    """Takes the cut that these nodes cross, public inputs aside."""

    def choose(cuts: list[Cut]) -> Cut:
        return next(c for c in cuts if tuple(x.node for x in c.crossing if not x.public) == nodes)

    return choose


def middle(cuts: list[Cut]) -> Cut:
    """Takes the proper cut in the middle."""
    proper = [cut for cut in cuts if cut.kind == "proper"]
    return proper[len(proper) // 2]


def first(cuts: list[Cut]) -> Cut:
    """Takes the cloud-only cut."""
    return cuts[0]


def last(cuts: list[Cut]) -> Cut:
    """Takes the edge-only cut."""
    return cuts[-1]
