"""Sizes of a model that equal the batch of the trace do not fix the batch, and every size follows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from collabplan.graph import TracedGraph, candidate_cuts, same_values, split, trace
from collabplan.graph.sizes import symbolic
from torch import Tensor, nn


class Model(nn.Module):
    """Two linear layers over 8 features with something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.between, self.second = nn.Linear(8, 16), between, nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x))).tanh()


def keys_and_values(y: Tensor) -> Tensor:
    """Attention pooled over keys, as pvt_v2 and twins write it: the 2 of keys and values comes to the front."""
    batch, length, _ = y.shape
    keys, values = y.reshape(batch, -1, 2, 1, 8).permute(2, 0, 3, 1, 4).unbind(0)
    attended = nn.functional.scaled_dot_product_attention(values, keys, values)
    return attended.transpose(1, 2).reshape(batch, length, 8)


def two_groups_first(y: Tensor) -> Tensor:
    """Two groups of channels come to the front and are averaged."""
    return torch.relu(y.unflatten(-1, (2, 8)).permute(2, 0, 1, 3)).mean(0)


def sequence_first(y: Tensor) -> Tensor:
    """A sequence of two comes to the front and goes back."""
    return torch.relu(y[:, :2, :8].permute(1, 0, 2)).permute(1, 0, 2)


def heads_in_the_batch(y: Tensor) -> Tensor:
    """Two heads are folded into the batch."""
    batch, length, _ = y.shape
    heads = y[..., :8].view(batch, length, 2, 4).transpose(1, 2).reshape(batch * 2, length, 4)
    attended = torch.bmm(heads, heads.transpose(1, 2)).softmax(-1) @ heads
    return attended.view(batch, 2, length, 4).transpose(1, 2).reshape(batch, length, 8)


def windows_by_a_computed_batch(y: Tensor) -> Tensor:
    """Windows of two, and the batch counted from how many there are."""
    length = y.shape[1]
    windows = torch.relu(y[..., :8].reshape(-1, 2, 8))
    batch = windows.shape[0] // (length // 2)
    return windows.reshape(batch, length, 8)


def windows_by_an_exact_quotient(y: Tensor) -> Tensor:
    """The same as Swin's first code has it: by a quotient of floating numbers, made an integer."""
    length = y.shape[1]
    windows = torch.relu(y[..., :8].reshape(-1, 2, 8))
    batch = int(windows.shape[0] / (length / 2))
    return windows.reshape(batch, length, 8)


def batch_times_a_number(y: Tensor) -> Tensor:
    """Both halves of the channels as samples, halved again by a product with the batch."""
    batch = y.shape[0]
    doubled = torch.relu(torch.cat(y.split(8, -1)))
    return doubled[:batch] + doubled[batch : 2 * batch] * 0.5


def nearest_code(y: Tensor) -> Tensor:
    """A codebook: how torch computes the distances depends on how many rows there are."""
    codes = torch.linspace(-1, 1, 30 * 8).reshape(30, 8)
    rows = y[..., :8].reshape(-1, 8)
    return rows.reshape(-1, 4, 8) + codes[torch.cdist(rows, codes).argmin(1)].reshape(-1, 4, 8)


BETWEEN = [
    keys_and_values, two_groups_first, sequence_first, heads_in_the_batch, windows_by_a_computed_batch,
    windows_by_an_exact_quotient, batch_times_a_number, nearest_code,
]  # fmt: skip


def fixed(traced: TracedGraph) -> list[str]:
    """The tensors that depend on the input and carry no free size."""
    tensors = [node for node in traced.flat.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    values = [node for node in tensors if traced.kinds[node.name] == "value"]
    assert values
    return [node.name for node in values if all(symbolic(size) is None for size in node.meta["val"].shape)]


@pytest.mark.parametrize("between", BETWEEN, ids=lambda function: function.__name__)
def test_every_cut_gives_what_the_model_gives_at_every_batch(between: Callable[[Tensor], Tensor]):
    model = Model(between).eval()
    traced = trace(model, torch.randn(1, 4, 8))
    assert traced.dynamic_batch
    cuts = candidate_cuts(traced)
    assert len([cut for cut in cuts if cut.kind == "proper" and cut.searchable]) >= 2
    for batch in (1, 2, 3, 9):
        x = torch.randn(batch, 4, 8)
        with torch.no_grad():
            expected = model(x)
            for cut in cuts:
                halves = split(traced, cut)
                assert same_values(halves.cloud(*halves.edge(x)), expected)
    assert not fixed(traced)
