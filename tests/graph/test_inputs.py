"""A traced model is called as the model is: by position, by keyword, in any order, with defaults left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from collabplan.graph import candidate_cuts, same_values, split, trace
from collabplan.records import TraceError
from torch import Tensor, nn

A, B = torch.randn(3, 4), torch.randn(3, 4)


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0, mask: Tensor | None = None) -> Tensor:
        c = (a - 2 * b) * scale
        return c if mask is None else c * mask


class Wrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Two()

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.inner(*args, **kwargs)


class Batch(nn.Module):
    def forward(self, batch: dict[str, Any]) -> Tensor:
        return batch["a"] - 2 * batch["more"]["b"] + batch["more"]["c"]


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((A, B), {}),
    ((A,), {"b": B}),
    ((), {"a": A, "b": B}),
    ((), {"b": B, "a": A}),
    ((A, B, 1.0), {}),
    ((), {"mask": None, "b": B, "scale": 1.0, "a": A}),
]


@pytest.mark.parametrize("traced_as", CALLS, ids=range(len(CALLS)))
def test_every_way_to_call_the_model_calls_its_trace_and_its_halves(traced_as: Any) -> None:
    traced = trace(Two(), *traced_as)
    halves = split(traced, candidate_cuts(traced)[1])
    for args, kwargs in CALLS:
        assert torch.equal(traced.module(*args, **kwargs), Two()(A, B))
        assert torch.equal(halves.cloud(*halves.edge(*args, **kwargs)), Two()(A, B))


def test_another_value_than_the_default_is_not_dropped() -> None:
    traced = trace(Two(), (A, B))
    with pytest.raises(TraceError, match="call it with the same args and kwargs"):
        traced.module(A, B, scale=2.0)
    with pytest.raises(TraceError, match=r"fixed to 2\.0"):
        trace(Two(), (A, B, 2.0)).module(A, B)


@pytest.mark.parametrize("kwargs", [{"b": B}, {"mask": torch.ones(3, 4), "b": B}])
def test_a_wrapper_of_args_and_kwargs_keeps_the_batch_free(kwargs: dict[str, Any]) -> None:
    model = Wrapper()
    traced = trace(model, (A,), kwargs)
    assert traced.dynamic_batch
    assert [spec.name for spec in traced.tensor_inputs][1:] == list(kwargs)
    turned = dict(reversed(kwargs.items()))
    assert torch.equal(traced.module(A, **turned), model(A, **kwargs))
    doubled = {name: torch.cat([value, value]) for name, value in kwargs.items()}
    assert same_values(traced.module(torch.cat([A, A]), **doubled), model(torch.cat([A, A]), **doubled))


def test_keys_of_nested_dicts_come_in_any_order() -> None:
    traced = trace(Batch(), ({"a": A, "more": {"b": B, "c": A}},))
    assert torch.equal(traced.module({"more": {"c": A, "b": B}, "a": A}), A - 2 * B + A)
    with pytest.raises(TraceError, match="call it with the same args and kwargs"):
        traced.module({"a": A, "more": {"b": B}})


def test_keyword_only_and_variable_positional_arguments() -> None:
    class Only(nn.Module):
        def forward(self, *xs: Tensor, weight: Tensor) -> Tensor:
            return sum(xs) * weight

    traced = trace(Only(), (A, B), {"weight": A})
    assert traced.dynamic_batch
    assert torch.equal(traced.module(A, B, weight=A), (A + B) * A)
