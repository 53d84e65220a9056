"""What the tests of the command line share: target files as text, and what a command left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from collabplan.cli.main import main

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.stem(x))

def model():
    return Net()

example_inputs = (torch.zeros(1, 6),)
"""

DATA = """
input_range = (0.0, 1.0)

def _rows(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 6, generator=generator), torch.randint(0, 3, (count,), generator=generator)

def validation_data():
    return _rows(1, 120)

def attacker_data():
    return _rows(2, 60)
"""


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code and the two streams."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of a failure."""
        assert self.err.count("\n") == 1, f"not one line on stderr: {self.err!r}"
        return self.err.strip()

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Run = Callable[..., Ran]

PROFILE = ("profile", "model.py", "--seconds", "1", "--threads", "1")
SEARCH = ("--budget-ms", "5000", "--max-accuracy-drop", "1", "--trials", "3", "--draws", "1", "--no-audit")


def ran_in(folder: Path, *commands: tuple[str, ...]) -> Path:
    """`folder`, with the small network and its data in model.py, after commands that must succeed."""
    (folder / "model.py").write_text(NET + DATA)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in commands:
            with pytest.raises(SystemExit) as stop:
                main(command)
            assert stop.value.code == 0
    return folder
