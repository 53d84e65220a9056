"""Layers whose best linear reconstruction is known, and what `collabplan leakage` says about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from collabplan.graph import Cut, TracedGraph, candidate_cuts, trace
from collabplan.records import DefenseRecord, Leakage
from collabplan.targets import Data, InputScaling
from collabplan.workflows.leakage_run import LeakageRun, LeakageSettings
from torch import Tensor, nn

SIDE = 8
PIXELS = SIDE * SIDE
SCALING = InputScaling.from_range(0, 1)


def linear(outputs: int) -> nn.Module:
    layer = nn.Linear(PIXELS, outputs)
    nn.init.orthogonal_(layer.weight)
    return nn.Sequential(nn.Flatten(), layer)


def convolution(outputs: int, stride: int = 1, *after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, outputs, 3, stride, padding=1), *after, nn.Flatten())


MAPS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: convolution(4),
    "strided": lambda: convolution(2, 2),
    "average pooling": lambda: convolution(4, 1, nn.AvgPool2d(2)),
    "orthogonal": lambda: linear(PIXELS),
    "narrow": lambda: linear(16),
    "wide": lambda: linear(150),
}


@cache
def images(kind: str) -> Tensor:
    """`[n, 1, SIDE, SIDE]` in [0, 1]: white noise or digits."""
    source = torch.Generator().manual_seed(1)
    if kind == "noise":
        return torch.rand(2000, 1, SIDE, SIDE, generator=source)
    from sklearn.datasets import load_digits

    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    return digits[torch.randperm(len(digits), generator=source)]


def cut_behind(first: nn.Module, example: Tensor) -> tuple[TracedGraph, Cut]:
    """A network that starts with `first`, cut behind it."""
    outputs = first(example).shape[1]
    traced = trace(nn.Sequential(first, nn.Linear(outputs, 10)).eval(), (example,))
    proper = [cut for cut in candidate_cuts(traced, 1) if cut.kind == "proper"]
    return traced, max((c for c in proper if c.crossing[0].sample_elements == outputs), key=lambda cut: cut.depth)


def estimated(
    traced: TracedGraph, cut: Cut, data: Tensor, records: Sequence[DefenseRecord], folder: Path
) -> list[tuple[DefenseRecord, Leakage]]:
    """Calibrated defenses with their leakage."""
    settings = LeakageSettings(tuple(records), ("ridge",), 0, 10**9)
    run = LeakageRun(traced, (cut,), Data((data,)), SCALING, settings, 64, folder)
    (found,) = run.measure(lambda *_: None).values()
    return [(row.defense, row.leakage) for row in found.rows]


def best_linear(first: nn.Module, every: Tensor, rate: float, std: float) -> float:
    """The index of the optimal linear reconstruction of the releases of a linear map, averaged over masks."""
    with torch.no_grad():
        matrix = (first(torch.eye(PIXELS).reshape(-1, 1, SIDE, SIDE)) - first(torch.zeros(1, 1, SIDE, SIDE))).double()
    covariance, source, found = torch.cov(every.flatten(1).T.double()), torch.Generator().manual_seed(3), []
    for _ in range(8):
        kept = matrix[:, torch.rand(matrix.shape[1], generator=source) >= rate]
        covered = kept.T @ covariance @ kept + std**2 * torch.eye(kept.shape[1])
        told = covariance @ kept @ torch.linalg.solve(covered, kept.T @ covariance)
        found.append(float(told.trace() / covariance.trace()))
    return sum(found) / len(found)
