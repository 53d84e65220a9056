"""Operators outside the list are decomposed; those on the list keep the model's own kernels."""

from __future__ import annotations

import torch
from collabplan.graph import trace
from collabplan.graph.allowlist import refusal
from torch import nn


def test_composites_that_are_not_on_the_list_are_taken_apart():
    class Chunked(nn.Module):
        def forward(self, x):
            first, second = torch.tanh(x).unsafe_chunk(2, 1)
            return nn.functional.rrelu(first) * second

    traced = trace(Chunked(), torch.randn(2, 6))
    assert all(refusal(node.target) is None for node in traced.flat.graph.nodes if hasattr(node.target, "_schema"))
    x = torch.randn(3, 6)
    assert torch.equal(traced.module(x), Chunked().eval()(x))


def test_operators_on_the_list_stay_whole():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.GELU(), nn.Linear(2, 2), nn.LayerNorm(2))
    nodes = trace(model, torch.randn(1, 1, 4, 4)).flat.graph.nodes
    names = [str(node.target) for node in nodes if node.op == "call_function"]
    assert [name.split(".")[1] for name in names] == ["conv2d", "group_norm", "gelu", "linear", "layer_norm"]
