"""`batch_dim` in the target file and `--batch-dim`: a model that takes time first goes the whole way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collabplan.records import Plan, TargetError, load
from collabplan.runtime.parts import open_cloud
from collabplan.runtime.server.server import CloudServer, ServeOptions
from collabplan.targets.example_inputs import read_batch_dim
from collabplan.targets.input_options import InputOptions
from collabplan.targets.target import load_target
from command_line import SEARCH, Run
from safetensors.torch import load_file

Write = Callable[..., Path]

SEQUENCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.steps, self.head = nn.Linear(6, 8), nn.LSTM(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.steps(torch.relu(self.embed(x)))[0][-1])

def model():
    return Net()

example_inputs = (torch.zeros(5, 1, 6),)
input_range = (0.0, 1.0)

def _rows(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 5, 6, generator=generator), torch.randint(0, 3, (count,), generator=generator)

def validation_data():
    return _rows(1, 120)

def attacker_data():
    return _rows(2, 60)
"""


@pytest.mark.parametrize("option", [(), ("--batch-dim", "x=1")], ids=["in the file", "on the command line"])
def test_time_first_from_profile_to_answers(run: Run, here: Path, target: Write, option: tuple[str, ...]) -> None:
    target(base=SEQUENCE if option else SEQUENCE + "\nbatch_dim = 1\n")
    made = run("profile", "model.py", *option, "--seconds", "0.3", "--threads", "1")
    assert made.code == 0, made.err
    planned = run("optimize", *SEARCH, "--max-edge-params", "60")
    assert planned.code == 0, planned.err
    plan = load(Plan, here / "plan.json")
    assert plan.target.options.get("batch_dim") == ("x=1" if option else None)
    for command in (("split", "plan.json", "-o", "halves"), ("bundle", "plan.json", "-o", "bundle")):
        assert "bit for bit" in (ran := run(*command)).out + ran.err
    assert plan.cut_kind != "edge-only"
    x = torch.rand(4, 5, 6)
    np.save(here / "x.npy", x.numpy())
    with CloudServer(open_cloud(here / "bundle"), "127.0.0.1:0", ServeOptions()) as server:
        for data in (("--data", "x.npy"), ("--model", "model.py", "--samples", "4")):
            asked = run(
                "infer",
                "bundle",
                "--cloud",
                server.address,
                *data,
                "--batch",
                "3",
                "--wire",
                "plan",
                "-o",
                "y.safetensors",
                "--force",
            )
            assert asked.code == 0, asked.err
            assert load_file(here / "y.safetensors")["output"].shape == (4, 3)


def test_time_first_without_a_word_is_asked_about_in_one_line(run: Run, target: Write) -> None:
    target(base=SEQUENCE)
    ran = run("profile", "model.py")
    assert ran.code == 2
    assert "is dimension 0 time? Then write batch_dim = 1 in the target file, or give --batch-dim 1" in ran.err


def test_data_has_samples_first_whatever_the_model_takes(target: Write) -> None:
    target(base=SEQUENCE + "\nbatch_dim = 1\nvalidation_data = (torch.rand(5, 30, 6), torch.zeros(30).long())\n")
    loaded = load_target("model.py")
    with pytest.raises(TargetError, match=r"samples of shape 30x6 .* takes 5x6 .*samples come first.*dimension 1"):
        loaded.load_data(loaded.trace())


GRAPH = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, edge_index):
        hidden = torch.relu(self.first(x))
        hidden = hidden + torch.zeros_like(hidden).index_add(0, edge_index[1], hidden[edge_index[0]])
        return self.last(hidden).mean(0, keepdim=True)

def model():
    return Net()

edges = torch.tensor([[0, 1, 2], [1, 2, 3]])
example_inputs = (torch.rand(4, 6), edges)
public_inputs = ["edge_index"]
input_range = (0.0, 1.0)
batch_dim = None

def _graphs(seed, count):
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.rand(count, 4, 6, generator=generator)
    return nodes, edges.expand(count, 2, 3), torch.randint(0, 3, (count,), generator=generator)

def validation_data():
    return _graphs(1, 60)

def attacker_data():
    return _graphs(2, 30)
"""


def test_a_graph_network_is_planned_one_graph_at_a_time(run: Run, target: Write) -> None:
    target(base=GRAPH)
    assert run("profile", "model.py", "--seconds", "0.3", "--threads", "1").code == 0
    planned = run("optimize", *SEARCH, "--max-edge-params", "60")
    assert planned.code == 0, planned.err
    split = run("split", "plan.json", "-o", "halves")
    assert "bit for bit" in split.out + split.err
    asked = run("verify", "plan.json", "--requests", "2")
    assert "came back bit for bit" in asked.out + asked.err


def test_leakage_of_single_calls_counts_their_private_numbers(run: Run, target: Write) -> None:
    target(base=GRAPH)
    told = run("leakage", "model.py", "--defense", "none")
    assert "60 samples of 24 private numbers" in told.out + told.err, told.err


@pytest.mark.parametrize(
    ("declared", "options", "found"),
    [
        ({}, (), None),
        ({"batch_dim": 1}, (), 1),
        ({"batch_dim": None}, (), "none"),
        ({"batch_dim": {"x": 1, "mask": None}}, (), {"x": 1, "mask": None}),
        ({"batch_dim": 1}, ("0",), 0),
        ({"batch_dim": 1}, ("none",), "none"),
        ({}, ("x=1", "mask=none"), {"x": 1, "mask": None}),
    ],
)
def test_what_is_said(declared: dict[str, Any], options: tuple[str, ...], found: Any) -> None:
    assert read_batch_dim(declared, options) == found


@pytest.mark.parametrize(
    ("declared", "options", "says"),
    [
        ({"batch_dim": "first"}, (), "batch_dim is 'first'; write the dimension"),
        ({"batch_dim": -1}, (), "batch_dim is -1"),
        ({"batch_dim": True}, (), "batch_dim is True"),
        ({"batch_dim": {"x": "1"}}, (), "batch_dim is {'x': '1'}"),
        ({}, ("x=first",), "--batch-dim 'x=first' is not a dimension; write 1, x=1 or mask=none"),
        ({}, ("1", "x=0"), "one dimension for all inputs, or NAME=DIM for each; not both"),
    ],
)
def test_what_cannot_be_said(declared: dict[str, Any], options: tuple[str, ...], says: str) -> None:
    with pytest.raises(TargetError, match=says):
        read_batch_dim(declared, options)


def test_options_are_kept_with_what_is_made_of_them() -> None:
    given = InputOptions.given(["5x1x6", "mask=5x5"], ["x=1", "mask=none"])
    assert InputOptions.kept_in(given.options) == given
    assert InputOptions().options == {}
    assert InputOptions((), ("0",)).or_else(given) == InputOptions(given.inputs, ("0",))
