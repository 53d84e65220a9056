"""Crossing tensors come back to one row per sample, in whatever order the model folded the batch."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import candidate_cuts, from_samples, split, to_samples, trace
from collabplan.records import Layout
from torch import Tensor, nn


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(batch_dim=1),
        Layout(groups=4),
        Layout(groups=4, batch_major=False),
        Layout(batch_dim=1, groups=2, batch_major=False),
    ],
)
def test_from_samples_inverts_to_samples(layout):
    tensor = torch.arange(12 * 12 * 2.0).reshape(12, 12, 2)
    rows = to_samples(tensor, layout)
    assert rows.shape[0] == 12 // layout.groups
    assert torch.equal(from_samples(rows, layout), tensor)


class Windows(nn.Module):
    """Folds four windows into the batch: sample-major, or window-major."""

    def __init__(self, major: bool) -> None:
        super().__init__()
        self.major = major
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        folded = x if self.major else x.transpose(0, 1)
        mixed = torch.relu(self.linear(folded.reshape(batch * 4, 3)))
        back = mixed.reshape(batch, 4, 3) if self.major else mixed.reshape(4, batch, 3).transpose(0, 1)
        return back.sum(1)


@pytest.mark.parametrize("major", [True, False])
def test_folded_batches_are_told_apart(major):
    traced = trace(Windows(major), torch.randn(1, 4, 3))
    cut = next(cut for cut in candidate_cuts(traced) if cut.name == "linear")
    record = cut.crossing[0]
    assert record.layout == Layout(groups=4, batch_major=major)
    assert record.sample_shape == (4, 3)
    edge = split(traced, cut).edge
    x = torch.randn(3, 4, 3)
    changed = x.clone()
    changed[1] += 1
    rows, others = (to_samples(edge(batch)[0], record.layout) for batch in (x, changed))
    assert [torch.equal(a, b) for a, b in zip(rows, others, strict=True)] == [True, False, True]


def test_a_tensor_that_mixes_samples_cannot_be_searched():
    class Mixing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            similarity = torch.tanh(x @ x.T)
            return similarity @ x

    cuts = candidate_cuts(trace(Mixing(), torch.randn(2, 3)))
    mixed = [cut for cut in cuts if cut.name in ("x + matmul", "x + tanh")]
    assert len(mixed) == 2
    assert not any(cut.searchable for cut in mixed)
