"""By operator, where samples lie in its result: followed through one graph of many operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from collabplan.graph import trace
from collabplan.graph.row_calls import LOST, Own, Rows, agreed
from collabplan.graph.row_calls import Mixed as MixedError
from collabplan.graph.rows import Walked, walk
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

WEIGHT = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))


def attended(x: Tensor) -> Tensor:
    return scaled_dot_product_attention(x, x, x)


APART: dict[str, tuple[Callable[[Tensor], Tensor], Rows]] = {
    "pointwise": (lambda x: torch.relu(x) * 2, Rows(0)),
    "transposed": (lambda x: torch.relu(x.transpose(0, 1)), Rows(1)),
    "folded, sample by sample": (lambda x: torch.relu(x.reshape(-1, 6)), Rows(0, frozenset({4}))),
    "folded, group by group": (lambda x: torch.relu(x.transpose(0, 1).reshape(-1, 6)), Rows(0, frozenset({1}))),
    "unfolded again": (lambda x: torch.relu(x.reshape(-1, 6)).reshape(-1, 4, 6), Rows(0)),
    "windows": (lambda x: torch.relu(x.unfold(2, 3, 1)), Rows(0)),
    "a slice of another dimension": (lambda x: torch.relu(x[:, 1:3]), Rows(0)),
    "one entry of another dimension": (lambda x: torch.relu(x[:, 1]), Rows(0)),
    "pieces": (lambda x: torch.relu(x.split(2, dim=2)[1]), Rows(0)),
    "joined": (lambda x: torch.relu(torch.cat([x, x], 2)), Rows(0)),
    "batch after batch": (lambda x: torch.relu(torch.cat([x, x])), Rows(0)),
    "stacked": (lambda x: torch.relu(torch.stack([x, x])), Rows(1)),
    "padded": (lambda x: torch.relu(nn.functional.pad(x, (1, 1))), Rows(0)),
    "gathered": (lambda x: torch.relu(x.gather(2, x.argsort(2))), Rows(0)),
    "picked": (lambda x: torch.relu(x.index_select(1, torch.tensor([2, 0]))), Rows(0)),
    "reduced": (lambda x: torch.relu(x.mean(1)), Rows(0)),
    "softmax": (lambda x: torch.softmax(x, -1), Rows(0)),
    "scanned": (lambda x: torch.relu(x.cumsum(1)), Rows(0)),
    "linear": (lambda x: nn.functional.linear(x, WEIGHT), Rows(0)),
    "a product with itself": (lambda x: torch.relu(x @ x.transpose(1, 2)), Rows(0)),
    "an Einstein sum": (lambda x: torch.relu(torch.einsum("bij,jk->bik", x, WEIGHT)), Rows(0)),
    "attention": (lambda x: torch.relu(attended(x)), Rows(0)),
    "normalised": (lambda x: nn.functional.layer_norm(x, [6]), Rows(0)),
    "convolution": (lambda x: nn.functional.conv1d(x, torch.ones(2, 4, 3)), Rows(0)),
    "pooled": (lambda x: nn.functional.avg_pool1d(x, 2), Rows(0)),
    "a broadcast constant": (lambda x: torch.relu(x + torch.arange(4.0)[:, None]), Rows(0)),
}


class All(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [function(x) for function, _ in APART.values()]


@pytest.fixture(scope="module")
def walked() -> tuple[Walked, list[str]]:
    traced = trace(All(), torch.randn(2, 4, 6), batch_dims=0)
    leaves: Any = traced.flat.graph.output_node().args[0]
    return walk(traced), [leaf.name for leaf in leaves]


@pytest.mark.parametrize("name", APART)
def test_samples_stay_apart_and_lie_where_the_rule_says(walked: tuple[Walked, list[str]], name: str) -> None:
    verdict, outputs = walked
    assert verdict.mixed is None
    assert verdict.rows[outputs[list(APART).index(name)]] == APART[name][1]


def test_all_of_these_are_proven(walked: tuple[Walked, list[str]]) -> None:
    verdict, _ = walked
    assert verdict.proven
    assert LOST not in verdict.rows.values()


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "reduced over the batch": lambda x: x - x.mean(0),
    "one sample": lambda x: x - x[0],
    "the first samples": lambda x: x - x[:1],
    "a product over the batch": lambda x: x.flatten(1) @ x.flatten(1).T @ x.flatten(1),
    "attention over the batch": lambda x: attended(x.transpose(0, 1)).transpose(0, 1),
    "two orders meet": lambda x: torch.relu(x.reshape(-1, 6)) + torch.relu(x.transpose(0, 1).reshape(-1, 6)),
    "their places": lambda x: x + torch.arange(x.shape[0])[:, None, None],
    "their number": lambda x: x / x.shape[0],
}


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_read_each_other_are_found_at_the_operator(name: str) -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(MIXED[name](torch.tanh(x)))

    verdict = walk(trace(One(), torch.randn(2, 4, 6), batch_dims=0))
    assert verdict.mixed is not None
    assert not verdict.proven


def test_each_samples_own_row_of_a_table_keeps_samples_apart() -> None:
    class Chosen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x[torch.arange(x.shape[0]), x.sum(2).argmax(1)])

    verdict = walk(trace(Chosen(), torch.randn(2, 4, 6), batch_dims=0))
    assert verdict.proven
    assert Own(0) not in verdict.rows.values(), "the row numbers are a constant, not a result"
    assert Rows(0) in verdict.rows.values()


def test_orders_in_common_are_kept_and_none_is_a_mixture() -> None:
    assert agreed([frozenset({1, 4}), frozenset({4})]) == {4}
    with pytest.raises(MixedError):
        agreed([frozenset({1}), frozenset({4})])
