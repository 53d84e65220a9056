"""A real problem: a small network trained on digits, profiled."""

import pytest
import quick_sqlite  # noqa: F401
import torch
from collabplan.graph import candidate_cuts, trace
from collabplan.planner import Problem
from collabplan.profilers import profile_model
from collabplan.records import Budgets, Link, TargetIdentity
from collabplan.targets import Data, InputScaling
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    """A convolution, a skip connection and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.block = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(96, 10)

    def forward(self, x):
        stem = torch.relu(self.stem(x))
        return self.head((torch.relu(self.block(stem)) + stem).flatten(1))


@pytest.fixture(scope="session")
def problem():
    """A small CNN, trained on scikit-learn's digits, with its budgets."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(4):
            for at in range(0, 1400, 50):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images[at : at + 50]), labels[at : at + 50]).backward()
                optimizer.step()
    traced = trace(model.eval(), (images[:2],))
    target = TargetIdentity(spec="tests")
    profile = profile_model(traced, target=target, seconds=0.5)
    search, confirm = Data((images[1400:],), labels[1400:]).splits(0)
    return Problem(
        traced=traced,
        cuts=tuple(candidate_cuts(traced)),
        edge_profile=profile,
        cloud_profile=profile,
        link=Link(bandwidth_bps=20e6, rtt_ms=15.0),
        search=search,
        confirm=confirm,
        scaling=InputScaling.from_range(0, 1),
        budgets=Budgets(max_accuracy_drop=0.45, max_edge_parameters=900),
        target=target,
        train=Data((images[:1400],), labels[:1400]),
    )
