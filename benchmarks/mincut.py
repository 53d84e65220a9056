"""The latency-optimal plan beside the exact minimum cut and the best cut of the chain, on a network with branches.

The network is profiled on this machine at batch 1. For every link and every slowdown of a sweep the planner states its
problem, and three predictions are compared, all by the planner's own formulas:

* the planner's latency-optimal cut;
* the least that any down-set of the graph costs, its sides by the same node breakdown: by the branch and bound over
  minimum cuts, which says whether it is proven;
* the reference: the best *chain* cut, which one tensor crosses. It is what a planner has that cuts between layers.

Two profiles are planned with: with the breakdown's times at every cut, where planner and minimum cut must agree to
rounding; and as measured, where a candidate's own time may contradict its nodes and the planner believes it. There the
difference to the minimum by nodes is reported without a bar.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from typing import Any

import torch
from collabplan.graph import Cut, TracedGraph, candidate_cuts, trace
from collabplan.planner import Problem, SearchOptions
from collabplan.planner.baselines import baseline_cuts
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.fastest import fastest_cut
from collabplan.planner.space import Point
from collabplan.profilers import profile_model
from collabplan.profilers.breakdown import Breakdown
from collabplan.records import Budgets, Latency, Link, Profile, TargetIdentity
from collabplan.records.link import HEADER_BYTES
from collabplan.targets import Data, InputScaling
from report import bar, machine
from torch import Tensor, nn
from zoo import torchvision_module

BANDWIDTHS_MBPS = (0.25, 0.5, 1, 2, 3, 5, 8, 20, 100)
RTTS_MS = (15, 80)
SLOWDOWNS = (1, 2, 3, 5, 8, 12, 20, 30)


class Inception(nn.Module):
    """Branches of 1x1, 1x1-3x3, 1x1-3x3 and pooling-1x1, joined along the channels (Szegedy et al., CVPR 2015)."""

    def __init__(self, channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int) -> None:
        super().__init__()
        self.one = convolution(channels, one, 1)
        self.three = nn.Sequential(convolution(channels, reduce3, 1), convolution(reduce3, three, 3))
        self.five = nn.Sequential(convolution(channels, reduce5, 1), convolution(reduce5, five, 3))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(channels, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


def convolution(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Module:
    """A convolution with its normalisation and ReLU."""
    layer = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())


def inception_like() -> nn.Module:
    """Stem, some blocks and head with the widths of GoogLeNet's table: `[N, 3, 224, 224]` to `[N, 1000]`."""
    return nn.Sequential(
        convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), convolution(64, 192, 3), nn.MaxPool2d(3, 2, 1),
        Inception(192, 64, 96, 128, 16, 32, 32), Inception(256, 128, 128, 192, 32, 96, 64), nn.MaxPool2d(3, 2, 1),
        Inception(480, 192, 96, 208, 16, 48, 64), Inception(512, 256, 160, 320, 32, 128, 128), nn.MaxPool2d(3, 2, 1),
        Inception(832, 256, 160, 320, 32, 128, 128), Inception(832, 384, 192, 384, 48, 128, 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000),
    )  # fmt: skip


def built(name: str) -> tuple[nn.Module, Tensor]:
    """The network of that name with random weights, and an input."""
    torch.manual_seed(0)
    if name == "googlenet":
        return torchvision_module().models.googlenet(weights=None, init_weights=False), torch.randn(2, 3, 224, 224)
    return inception_like(), torch.randn(2, 3, 224, 224)


def stated(traced: TracedGraph, profile: Profile) -> Problem:
    """A problem of which only costs are asked: its data is one batch of noise."""
    data = Data((traced.example_inputs[0],), torch.zeros(len(traced.example_inputs[0]), dtype=torch.int64))
    return Problem(
        traced=traced,
        cuts=tuple(candidate_cuts(traced)),
        edge_profile=profile,
        cloud_profile=profile,
        link=Link.assumed(),
        search=data,
        confirm=data,
        scaling=InputScaling.from_range(0, 1),
        budgets=Budgets(),
        target=profile.target,
    )


def along_the_nodes(profile: Profile, cuts: tuple[Cut, ...]) -> Profile:
    """The profile with the breakdown's times at every proper cut."""
    edge, cloud = Breakdown.of(profile, cuts, "edge"), Breakdown.of(profile, cuts, "cloud")
    by_id = {cut.id: cut for cut in cuts}
    rows = [
        row.model_copy(update={"edge": edge.timing(by_id[row.id]), "cloud": cloud.timing(by_id[row.id])})
        if row.kind == "proper"
        else row
        for row in profile.cuts
    ]
    return profile.model_copy(update={"cuts": tuple(rows)})


def compare(problem: Problem, exact_ms: float | None = None) -> dict[str, Any]:
    """Predicted medians in milliseconds under one link and slowdown; `exact_ms` None: the problem's own."""
    objectives = Evaluator(problem, SearchOptions())

    def latency(cut: Cut) -> Latency:
        return objectives.costs(objectives.space.undefended(cut.id)).latency

    def median_ms(cut: Cut) -> float:
        return latency(cut).p50_ms.value

    extra = None if objectives.extra is None else objectives.extra.cut
    optimal = baseline_cuts(problem.cuts, latency, extra)["latency-optimal"]
    exact, proven = fastest_cut(problem, Point(problem.cuts[0].id).defense)
    proper = [cut for cut in problem.cuts if cut.kind == "proper" and cut.searchable]
    chain = min((cut for cut in proper if len(cut.crossing) == 1), key=median_ms)
    return {
        "planner_ms": median_ms(optimal),
        "exact_ms": median_ms(exact) if exact_ms is None else exact_ms,
        "chain_ms": median_ms(chain),
        "candidates_ms": min(map(median_ms, proper)),
        "ends_ms": min(median_ms(problem.cuts[0]), median_ms(problem.cuts[-1])),
        "header_ms": HEADER_BYTES * 8e3 / problem.link.bandwidth_bps,
        "proven": proven,
        "extra": extra is not None,
        "chain": chain.name,
        "cut": optimal.name,
    }


def sweep(problem: Problem, smooth: Problem) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`compare` over all links and slowdowns, by the profile as measured and by its node times."""
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for mbps, rtt_ms, slowdown in itertools.product(BANDWIDTHS_MBPS, RTTS_MS, SLOWDOWNS):
        link = Link(bandwidth_bps=mbps * 1e6, rtt_ms=rtt_ms)
        here = {"mbps": mbps, "rtt_ms": rtt_ms, "slowdown": slowdown}
        rows[1].append(here | compare(replace(smooth, link=link, edge_slowdown=float(slowdown))))
        exact_ms = rows[1][-1]["exact_ms"]
        rows[0].append(here | compare(replace(problem, link=link, edge_slowdown=float(slowdown)), exact_ms))
    return rows


def gain(row: dict[str, Any]) -> float:
    """Share of the best chain cut's predicted latency that the planner's cut saves."""
    return 1 - float(row["planner_ms"]) / float(row["chain_ms"])


def report(model: str, kind: str, rows: list[dict[str, Any]]) -> None:
    """Three figures of one sweep."""
    equal = [
        row["exact_ms"] * (1 - 1e-6) <= row["planner_ms"] <= row["exact_ms"] * (1 + 1e-6) + row["header_ms"]
        for row in rows
    ]
    by_nodes = kind == "node times"
    bar(
        "mincut",
        f"{model}, {kind}: latency-optimal equals the exact minimum cut",
        sum(equal),
        f"of {len(rows)}",
        target=len(rows) if by_nodes else None,
        holds=all(equal) if by_nodes else None,
        most_above=round(max(row["planner_ms"] / row["exact_ms"] for row in rows) - 1, 4),
        most_below=round(1 - min(row["planner_ms"] / row["exact_ms"] for row in rows), 4),
        proven=sum(row["proven"] for row in rows),
        no_candidate=sum(row["extra"] for row in rows),
    )
    best = max(rows, key=gain)
    wins = sorted(gain(row) for row in rows if gain(row) > 1e-3)
    matters = [row for row in rows if gain(row) > 1e-3 and row["planner_ms"] < row["ends_ms"]]
    bar(
        "mincut",
        f"{model}, {kind}: latency-optimal beats the best chain cut by over 0.1 %",
        len(wins),
        f"of {len(rows)}",
        target="1 or more",
        holds=bool(wins),
        reference={"best chain cut of the best case": round(best["chain_ms"], 3), "unit": "ms"},
        median_gain=round(wins[len(wins) // 2], 4) if wins else None,
        most=round(gain(best), 4),
        best_case={key: round(value, 3) if isinstance(value, float) else value for key, value in best.items()},
        also_faster_than_cloud_only_and_edge_only=len(matters),
    )


def main() -> None:
    """Profile, sweep, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("inception-like", "googlenet"), default="googlenet")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    model, inputs = built(options.model)
    traced = trace(model.eval(), inputs)
    profile = profile_model(traced, target=TargetIdentity(spec=options.model), seconds=options.seconds)
    problem = stated(traced, profile)
    smooth = along_the_nodes(profile, problem.cuts)
    rows = sweep(problem, replace(problem, edge_profile=smooth, cloud_profile=smooth))
    report(options.model, "measured", rows[0])
    report(options.model, "node times", rows[1])
    machine(("torch", "scipy", "torchvision"))


if __name__ == "__main__":
    main()
