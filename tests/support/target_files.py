"""Target files as text: a small network, and data for it."""

from __future__ import annotations

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
