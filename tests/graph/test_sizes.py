"""Only the batch's own symbol counts samples; a size that depends on values is no batch."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from collabplan.graph import candidate_cuts, output_spec, require_fixed_outputs, same_values, split, trace
from collabplan.graph.program_document import encode
from collabplan.records import CutError
from torch import Tensor, nn


class Kept(nn.Module):
    """Rows kept by a boolean mask; `finish` makes the output of them."""

    def __init__(self, finish: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.finish = finish
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        rows = self.last(hidden[hidden[:, 0] > 0.2])
        if self.finish == "pooled":
            return rows.sum(0).unsqueeze(0).expand(x.shape[0], 2)
        if self.finish == "divided by their number":
            return rows.sum(0) / (rows.shape[0] + 1) + x[:, :2]
        if self.finish == "beside a sum over all":
            return rows.sum(0) + hidden[:, :2]
        assert self.finish == "returned"
        return rows


class Leading(nn.Module):
    """A row more than the batch: the batch cannot be read off such a tensor by division."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 8)
        self.row = nn.Parameter(torch.randn(1, 8))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.relu(self.last(torch.cat([self.row, self.first(x)])))
        return rows[1:] * torch.full((x.shape[0], 1), 2.0)


class Fixed(nn.Module):
    """Fixed to a batch of 3, with rows kept by a mask."""

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.relu(x).view(3, 4)
        return rows[rows[:, 0] > 0.2].sum(0).expand(3, 4)


MODELS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "pooled": (Kept("pooled"), (1, 3, 64)),
    "divided by their number": (Kept("divided by their number"), (1, 3, 64)),
    "beside a sum over all": (Kept("beside a sum over all"), (1, 3, 64)),
    "a row more": (Leading(), (1, 3, 64)),
    "fixed batch": (Fixed(), (3,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_offered_cut_composes_whatever_sizes_depend_on_values(name):
    model, batches = MODELS[name]
    traced = trace(model, torch.randn(batches[0], 4), batch_dims=0)
    cuts = candidate_cuts(traced)
    assert any(cut.kind == "proper" for cut in cuts)
    for cut in cuts:
        halves = split(traced, cut)
        for batch in batches:
            x = torch.randn(batch, 4, generator=torch.Generator().manual_seed(batch))
            with torch.no_grad():
                assert same_values(halves.cloud(*halves.edge(x)), model(x)), f"{cut.name} at batch {batch}"


def test_a_tensor_whose_size_depends_on_values_never_crosses():
    traced = trace(Kept("pooled"), torch.randn(1, 4))
    names = {crossing.name for cut in candidate_cuts(traced) for crossing in cut.crossing if cut.kind == "proper"}
    assert names == {"first", "relu", "select", "gt"}


class TestRaggedOutput:
    shown: ClassVar[str] = r"returns a tensor \[\?, 2\] whose size depends on values"

    def test_is_noted_when_traced_and_refused_when_planned(self):
        traced = trace(Kept("returned"), torch.randn(1, 4))
        assert any("no plan can be made" in note and "topk" in note for note in traced.notes)
        with pytest.raises(CutError, match=self.shown):
            require_fixed_outputs(traced)

    def test_is_no_batch_in_the_signature(self):
        traced = trace(Kept("returned"), torch.randn(1, 4))
        document, _ = encode(traced.flat, traced.module.output_structure)  # type: ignore[arg-type]
        (tensor,) = output_spec(traced, document).tensors
        assert (tensor.batch_dims, tensor.free_dims) == ((), (0,))

    def test_sizes_that_follow_from_the_batch_are_no_ragged_output(self):
        require_fixed_outputs(trace(Leading(), torch.randn(1, 4)))
