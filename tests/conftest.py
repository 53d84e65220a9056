"""Fixtures that several floors share: small crossings, a traced residual network, target files."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.graph import TracedGraph, trace
from collabplan.records import Crossing, Layout
from torch import Tensor, nn

# Under pytest's importlib mode a test folder is not on the path.
sys.path.insert(0, str(Path(__file__).parent / "support"))
from defense_records import defense_record
from target_files import NET

SEED = 20
"""Of torch's global generator; another than that of the `generator` fixture, so that data and masks are unrelated."""


def pytest_collection() -> None:
    """Data that a test file draws while it is imported are the same in every run."""
    torch.manual_seed(SEED)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before a test's fixtures: no test depends on the tests that its worker ran before it."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def crossing_of(rows: Tensor, name: str = "t", **fields: Any) -> Crossing:
    dtype = str(rows.dtype).removeprefix("torch.")
    return Crossing(name=name, node=name, dtype=dtype, sample_shape=tuple(rows.shape[1:]), layout=Layout(), **fields)


@pytest.fixture
def crossing() -> Callable[..., Crossing]:
    return crossing_of


@pytest.fixture
def defend() -> Callable[..., Defense]:
    """A calibrated defense over tensors `[N, ...]`."""

    def make(*rows: Tensor, **spec: Any) -> Defense:
        crossed = tuple(crossing_of(row, f"t{position}") for position, row in enumerate(rows))
        return Defense(defense_record(**spec), crossed).calibrate(rows)

    return make


@pytest.fixture
def cut_of() -> Callable[..., Any]:
    """What `estimate_leakage` reads of a cut."""

    def make(defense: Defense, kind: str = "proper") -> Any:
        return SimpleNamespace(kind=kind, crossing=defense.crossing)

    return make


class Residual(nn.Module):
    """Two convolutions with a skip over the second, then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.classifier = nn.Linear(4 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        h = torch.relu(self.second(h) + h)
        return self.classifier(nn.functional.avg_pool2d(h, 2).flatten(1))


@pytest.fixture
def traced() -> TracedGraph:
    torch.manual_seed(0)
    return trace(Residual(), torch.randn(2, 1, 8, 8))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def target(here: Path) -> Callable[..., Path]:
    """Write a target file: the small network, and what a test adds."""

    def write(extra: str = "", *, name: str = "model.py", base: str = NET) -> Path:
        path = here / name
        path.write_text(base + extra)
        return path

    return write


def pytest_collection_finish() -> None:
    """What was imported lives as long as the run: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
