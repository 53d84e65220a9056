"""Models of this floor's tests, traced once."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import TracedGraph, trace
from torch import Tensor, nn


class Skip(nn.Module):
    """Two layers with a skip over the second, and a mask that is public."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        left, right = (self.second(hidden) + hidden).unflatten(1, (2, 3)).flatten(1).chunk(2, 1)
        return self.head(torch.cat([right, left], 1)) * mask


@pytest.fixture(scope="session")
def skip() -> TracedGraph:
    """`Skip`, traced with the mask as a public input."""
    return trace(Skip(), (torch.randn(2, 4), torch.ones(2, 1)), public_inputs=["mask"])


@pytest.fixture(scope="session")
def chain() -> TracedGraph:
    """Two linear layers with an activation between them."""
    torch.manual_seed(0)
    return trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(1, 3))
