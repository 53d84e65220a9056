"""Samples that read each other are found, wherever and however weakly; those that do not are left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from collabplan.graph import trace
from collabplan.profilers.placement import resize
from collabplan.records import CollabplanError, TraceError
from torch import Tensor, nn
from torch.nn import functional

After = Callable[[Tensor], object]


class Images(nn.Module):
    """A small network for images; `after` acts on its logits `[N, 5]`."""

    def __init__(self, after: After = lambda y: y, *, norm: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), norm or nn.BatchNorm2d(4), nn.Linear(4, 5)
        self.after = after

    def forward(self, x: Tensor) -> object:
        hidden = torch.relu(self.norm(self.stem(x)))
        return self.after(self.head(hidden.mean((2, 3))))


MIXED: dict[str, After] = {
    "softmax over the batch": lambda y: y * torch.softmax(y.mean(1), 0)[:, None],
    "a weak average": lambda y: y + 1e-5 * y.mean(0),
    "the greatest of all": lambda y: y / y.abs().max(),
    "normalised along the batch": lambda y: functional.normalize(y, dim=0),
    "another order": lambda y: y.flip(0),
    "another order and back": lambda y: torch.tanh(y.flip(0)).flip(0),
    "those before": lambda y: y.cumsum(0),
    "those after": lambda y: y.flip(0).cumsum(0).flip(0),
    "sorted": lambda y: y.sort(0).values,
    "divided by their number": lambda y: y / y.shape[0],
    "pairs": lambda y: y @ y.T,
    "an average beside the answer": lambda y: (y, y.square().mean()),
}

APART: dict[str, After] = {
    "plain": lambda y: y,
    "softmax over classes": lambda y: torch.softmax(y, 1),
    "doubled and halved": lambda y: torch.cat([y, -y]).chunk(2)[1],
    "time first inside": lambda y: torch.relu(y.t() * 2).t(),
    "its number of rows": lambda y: (y, y.shape[0]),
}


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_read_each_other_are_told(name):
    traced = trace(Images(MIXED[name]), torch.zeros(1, 3, 6, 6))
    assert traced.mixed_at is not None
    assert traced.only_batch == 1
    assert any("samples of a batch read each other" in note and traced.mixed_at in note for note in traced.notes)


@pytest.mark.parametrize("name", APART)
def test_samples_that_stay_apart_are_no_suspects(name):
    assert trace(Images(APART[name]), torch.zeros(1, 3, 6, 6)).mixed_at is None


def test_statistics_of_the_batch_are_told_by_the_layer_that_takes_them():
    traced = trace(Images(norm=nn.BatchNorm2d(4, track_running_stats=False)), torch.randn(1, 3, 6, 6))
    assert traced.mixed_at is not None
    assert traced.mixed_at.startswith("norm (")
    for norm in (nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm([4, 6, 6])):
        assert trace(Images(norm=norm), torch.randn(1, 3, 6, 6)).mixed_at is None


class Text(nn.Module):
    """An encoder on token ids with a mask; `across` lets samples read each other's embeddings."""

    def __init__(self, *, across: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.across = across
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self.embedding(ids)
        if self.across:
            hidden = hidden - hidden.mean((0, 1))
        hidden = self.layer(hidden, src_key_padding_mask=mask == 0)
        kept = mask[..., None].float()
        return self.head((hidden * kept).sum(1) / kept.sum(1))


@pytest.mark.parametrize(
    "ids", [torch.zeros(1, 5, dtype=torch.long), torch.arange(15, 20)[None]], ids=["zeros", "last"]
)
@pytest.mark.parametrize("public", [(), ("mask",)], ids=["private mask", "public mask"])
@pytest.mark.parametrize("across", [False, True])
def test_tokens_and_masks(ids, public, across):
    traced = trace(Text(across=across), (ids, torch.ones_like(ids)), public_inputs=public)
    assert (traced.mixed_at is not None) == across


def test_ids_that_only_the_example_may_have_do_not_fail_the_trace():
    class OneType(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.types = nn.Embedding(1, 6)

        def forward(self, x: Tensor, types: Tensor) -> Tensor:
            return torch.tanh(x + self.types(types))

    traced = trace(OneType(), (torch.randn(1, 6), torch.zeros(1, dtype=torch.long)))
    assert traced.mixed_at is None


class FixedBatch(nn.Module):
    """Runs three samples alone."""

    def __init__(self, *, across: bool) -> None:
        super().__init__()
        self.across = across

    def forward(self, x: Tensor) -> Tensor:
        rows = 2 * x.reshape(3, 4)
        return torch.tanh(rows - rows.mean(0)) if self.across else torch.tanh(rows)


def test_a_fixed_batch_of_samples_that_read_each_other_is_never_filled_up():
    assert trace(FixedBatch(across=False), torch.randn(3, 4)).samples_at_once(64) == 3
    traced = trace(FixedBatch(across=True), torch.randn(3, 4), batch_dims=0)
    assert (traced.method, traced.only_batch) == ("static", 3)
    with pytest.raises(TraceError, match="only 3 together can run; give example inputs of one sample"):
        traced.samples_at_once(64)


def test_a_mixed_model_is_profiled_one_sample_at_a_time():
    traced = trace(Images(MIXED["those before"]), torch.randn(1, 3, 6, 6))
    assert traced.samples_at_once(64) == 1
    assert resize(traced, 1)[0].shape[0] == 1
    with pytest.raises(CollabplanError, match="profile with --batch 1"):
        resize(traced, 4)
