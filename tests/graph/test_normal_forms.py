"""Which calls change nothing, and which operators stand for others."""

from __future__ import annotations

import torch
from collabplan.graph.normal_forms import changes_nothing, fill_place, replacement
from torch import Tensor, fx

aten = torch.ops.aten


def call(target: object, before: Tensor, after: Tensor) -> fx.Node:
    graph = fx.Graph()
    x = graph.placeholder("x")
    x.meta["val"] = before
    made = graph.call_function(target, (x,))  # type: ignore[arg-type]
    made.meta["val"] = after
    return made


def test_a_copy_of_the_same_layout_changes_nothing() -> None:
    x = torch.zeros(2, 3)
    assert changes_nothing(call(aten.clone.default, x, x.clone()))
    assert changes_nothing(call(aten.detach.default, x, x.detach()))


def test_another_dtype_shape_or_stride_is_a_change() -> None:
    x = torch.zeros(2, 3)
    assert not changes_nothing(call(aten._to_copy.default, x, x.double()))
    assert not changes_nothing(call(aten.view.default, x, x.view(6)))
    assert not changes_nothing(call(aten.contiguous.default, x.T, x.T.contiguous()))


def test_an_operator_that_computes_is_never_superfluous() -> None:
    assert not changes_nothing(call(aten.relu.default, torch.zeros(2), torch.zeros(2)))


def test_views_become_reshapes_and_lazy_signs_are_computed() -> None:
    assert replacement(aten.view.default) is aten.reshape.default
    assert replacement(aten._conj.default) is aten.conj_physical.default
    assert replacement(aten._neg_view.default) is aten.neg.default
    assert replacement(aten.relu.default) is aten.relu.default


def test_the_filling_argument_has_its_place() -> None:
    assert fill_place(aten.new_full.default) == 2
    assert fill_place(aten.full_like.default) == 1
