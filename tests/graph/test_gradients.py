"""A crossing that no gradient reaches is named, with the operator that stands in the way."""

from __future__ import annotations

import torch
from collabplan.graph import candidate_cuts, dead_gradients, trace
from torch import Tensor, nn


def test_an_argmax_on_the_way_is_named():
    class Hard(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.embedding(x.argmax(-1)))

    traced = trace(Hard(), torch.randn(1, 4))
    dead = dead_gradients(traced, candidate_cuts(traced))
    assert set(dead) >= {"embedding", "relu"}
    assert all("argmax" in blockers[0] for blockers in dead.values())


def test_an_integer_input_owes_no_gradient():
    traced = trace(nn.Sequential(nn.Embedding(4, 3), nn.ReLU()), torch.randint(0, 4, (1, 2)))
    assert dead_gradients(traced, candidate_cuts(traced)) == {}


def test_attention_has_a_live_gradient_though_its_fused_kernel_has_none():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    traced = trace(layer.eval(), torch.randn(1, 4, 8))
    assert dead_gradients(traced, candidate_cuts(traced)) == {}
