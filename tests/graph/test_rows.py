"""Rules of operators tell whether samples of a batch stay apart, where a run might not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from collabplan.graph import samples, trace
from collabplan.graph.comparing import alike
from collabplan.graph.rows import walk
from collabplan.records import TraceError
from torch import Tensor, nn


class Calls(nn.Module):
    """A forward given as a function of the module and its inputs."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def _trimmed(self: Any, ids: Tensor) -> Tensor:
    longest = (ids != 0).sum(1).max()
    return self.table(ids) * (torch.arange(5) < longest)[None, :, None]


def _where_any(test: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda _, y: torch.where(test(y).any(), torch.zeros_like(y), y)


def _first_written(_: Any, y: Tensor) -> Tensor:
    y = 2 * y
    y[0] = 0
    return y


NUMBERS = torch.linspace(-1, 1, 18).reshape(3, 6)
MIXED: dict[str, Callable[..., Any]] = {
    "places": lambda _, y: y + torch.arange(y.shape[0])[:, None],
    "places from one": lambda _, y: y * torch.arange(1, y.shape[0] + 1)[:, None],
    "places in fours": lambda _, y: y + (torch.arange(y.shape[0]) // 4)[:, None],
    "places between 0 and 1": lambda _, y: y + torch.linspace(0, 1, y.shape[0])[:, None],
    "rolled by two": lambda _, y: y - 0.5 * y.roll(2, 0),
    "rolled flat": lambda _, y: y.roll(6),
    "from the third": lambda _, y: y + y[2:].sum(0),
    "the first": lambda _, y: y - y[:1],
    "the root of their number": lambda _, y: y * int(y.shape[0] ** 0.5),
    "a quarter of their number": lambda _, y: y * max(1, y.shape[0] // 4),
    "a number that starts late": lambda _, y: torch.where(torch.tensor(y.shape[0]) > 10, 2 * y, y),
    "the first written": _first_written,
    "ranks": lambda _, y: y.sum(1).argsort().argsort(),
    "the next one's sign": lambda _, y: torch.cat([y[1:], 0 * y[:1]]) > 0,
    "any that is not a number": _where_any(torch.isnan),
    "any that is large": _where_any(lambda y: y.abs() > 1e3),
    "above the mean": lambda _, y: y[:, 2] > y[:, 2].mean(),
    "the greatest alone": lambda _, y: y * (y[:, :1] >= y[:, 0].max()),
    "a triangle": lambda _, y: torch.triu(torch.ones(y.shape[0], y.shape[0]), 3) @ y + y,
    "a Gram matrix": lambda _, y: torch.einsum("bi,ci->bc", y, y),
    "folded, then over all": lambda _, y: y.reshape(-1, 3) - y.reshape(-1, 3).amax(0),
    "another order of a fold": lambda _, y: torch.cat([y, y]).view(-1, 3) + y.repeat_interleave(4, 0)[:, :3].flip(0),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_a_probe_may_miss_is_told_by_rule(name: str) -> None:
    traced = trace(Calls(MIXED[name]), NUMBERS, batch_dims=0)
    assert traced.mixed_at is not None


def test_a_sequence_that_is_cut_to_the_longest_of_a_batch_is_mixed() -> None:
    traced = trace(Calls(_trimmed, table=nn.Embedding(20, 4)), torch.arange(1, 11).reshape(2, 5))
    assert traced.mixed_at is not None


@pytest.mark.parametrize(
    "positions",
    [lambda self, x: x + self.table[: x.shape[0]], lambda _, x: x + torch.arange(x.shape[0])[:, None, None]],
    ids=["a table", "a count"],
)
def test_positions_along_the_first_dimension_ask_whether_it_is_time(positions: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = Calls(lambda self, x: self.head(positions(self, x)), table=torch.randn(100, 1, 8), head=nn.Linear(8, 3))
    with pytest.raises(TraceError, match="is dimension 0 time"):
        trace(model, torch.randn(5, 7, 8))
    assert trace(model, torch.randn(5, 7, 8), batch_dims=1).mixed_at is None


def _heads(self: Any, x: Tensor) -> Tensor:
    tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
    query, key, value = self.all(tokens).reshape(x.shape[0], 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = torch.softmax(query @ key.transpose(-2, -1) * 0.5, -1) @ value
    return self.head(self.norm(tokens + mixed.transpose(1, 2).reshape(x.shape[0], 5, 8))[:, 0])


def _windows(self: Any, x: Tensor) -> Tensor:
    rolled = x.roll((1, 1), (1, 2))
    windows = rolled.view(-1, 2, 2, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 8)
    scores = (windows @ windows.transpose(1, 2)).view(-1, 4, 4, 4) + self.mask[None]
    windows = torch.softmax(scores.view(-1, 4, 4), -1) @ windows
    return self.head(windows.view(-1, 2, 2, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, 8).mean((1, 2)))


def _masked(self: Any, ids: Tensor, mask: Tensor) -> Tensor:
    hidden = self.table(ids) + self.places(torch.arange(ids.shape[1])[None].expand(ids.shape[0], -1))
    causal = torch.arange(5)[None, :] <= torch.arange(5)[:, None]
    allowed = causal[None, None] & (mask[:, None, None, :] > 0)
    hidden = nn.functional.scaled_dot_product_attention(hidden[:, None], hidden[:, None], hidden[:, None], allowed)
    last = mask.sum(1) - 1
    return self.head(hidden[:, 0][torch.arange(ids.shape[0]), last])


def _recurrent(self: Any, x: Tensor) -> Tensor:
    return self.head(self.steps(x, (torch.zeros(1, x.shape[0], 8), torch.zeros(1, x.shape[0], 8)))[0][:, -1])


def _written(_: Any, x: Tensor) -> Tensor:
    x = 2 * x
    x[:, 1:, 2:] += 1
    x[:, 0] = 3
    return torch.where(x > 2, x, 0.5)


IDS = torch.arange(1, 11).reshape(2, 5)
APART: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[Tensor, ...]]] = {
    "heads and a class token": (
        _heads,
        {
            "token": torch.randn(1, 1, 8), "positions": torch.randn(1, 5, 8), "all": nn.Linear(8, 24),
            "head": nn.Linear(8, 3), "norm": nn.LayerNorm(8),
        },
        (torch.randn(1, 4, 8),),
    ),
    "shifted windows with a mask": (
        _windows, {"mask": torch.randn(4, 4, 4), "head": nn.Linear(8, 3)}, (torch.randn(1, 4, 4, 8),),
    ),
    "tokens, places and a mask": (
        _masked, {"table": nn.Embedding(20, 8), "places": nn.Embedding(5, 8), "head": nn.Linear(8, 3)},
        (IDS, torch.ones_like(IDS)),
    ),
    "an LSTM": (
        _recurrent, {"steps": nn.LSTM(4, 8, batch_first=True), "head": nn.Linear(8, 3)}, (torch.randn(1, 5, 4),),
    ),
    "images": (
        lambda self, x: self.layers(x),
        {
            "layers": nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4), nn.MaxPool2d(2),
                nn.PixelShuffle(2), nn.InstanceNorm2d(1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3),
            )
        },
        (torch.randn(1, 3, 8, 8),),
    ),
    "the batch's number undone": (lambda _, x: x * (x.numel() // x.shape[0]), {}, (torch.randn(1, 6),)),
    "zeros and ones for each": (
        lambda _, x: torch.cat([x, torch.zeros(x.shape[0], 2)], 1) * torch.ones(x.shape[0], 1), {},
        (torch.randn(1, 6),),
    ),
    "a pattern for each": (
        lambda self, x: (x.reshape(-1, 3) + self.pattern.repeat(x.shape[0], 1)).reshape(-1, 6),
        {"pattern": torch.randn(2, 3)}, (torch.randn(1, 6),),
    ),
    "a part written": (_written, {}, (torch.randn(1, 4, 6),)),
    "Einstein sums": (
        lambda self, x: torch.einsum("bij,bkj->bik", x, torch.einsum("bij,jk->bik", x, self.weight)),
        {"weight": torch.randn(6, 6)}, (torch.randn(1, 4, 6),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_samples_that_stay_apart_are_proven_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def probed(*_: Any) -> None:
        raise AssertionError("the model was run to find out")

    torch.manual_seed(0)
    function, parts, inputs = APART[name]
    traced = trace(Calls(function, **parts), inputs)
    assert traced.mixed_at is None
    assert walk(traced).proven
    monkeypatch.setattr(samples, "compare_batches", probed)
    found = samples.find_samples(traced, [node for node in traced.flat.graph.nodes if node.name in traced.layouts])
    assert found.layouts == traced.layouts


@pytest.mark.parametrize("name", APART)
def test_rules_and_runs_say_the_same_of_where_samples_lie(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    function, parts, inputs = APART[name]
    by_rule = trace(Calls(function, **parts), inputs)
    monkeypatch.setattr(samples, "by_rule", lambda *_: None)
    by_run = trace(Calls(function, **parts), inputs)
    assert (by_run.mixed_at, dict(by_run.layouts)) == (None, dict(by_rule.layouts))


@pytest.mark.parametrize(
    "function",
    [lambda _, x: torch.cdist(x, x + 1), lambda _, x: torch.cat([x, -x]).chunk(2)[1]],
    ids=["no rule", "a part of a fold"],
)
def test_what_no_rule_covers_is_tried_out(function: Callable[..., Tensor]) -> None:
    traced = trace(Calls(function), torch.randn(1, 4, 3))
    assert traced.mixed_at is None
    assert not walk(traced).proven


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_whole_numbers_are_compared_exactly(dtype: torch.dtype) -> None:
    row = torch.tensor([0, 1, 1]).to(dtype)
    assert alike(row, row.clone())
    assert not alike(row, row.flip(0))
    assert not alike(torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0]))
