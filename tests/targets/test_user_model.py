"""The model of a target is found by its name or because it is the only one, and refused if its weights are unusable."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets.user_code import TargetSpec
from collabplan.targets.user_model import find_model, require_usable_weights
from torch import nn


class Net(nn.Linear):
    """A model without arguments."""

    def __init__(self) -> None:
        super().__init__(2, 2)


def found(target: str = "model.py", **names: Any) -> tuple[nn.Module, str]:
    module = ModuleType("target")
    vars(module).update(names)
    for value in names.values():
        if isinstance(value, type):
            value.__module__ = "target"
    return find_model(module, TargetSpec.parse(target), None)


@pytest.mark.parametrize(
    ("names", "how"),
    [
        ({"model": Net()}, "Net, bound to `model`"),
        ({"model": Net}, "Net, built by the class `model`"),
        ({"model": lambda: Net()}, "Net, built by the function `model`"),
        ({"model": nn.DataParallel(Net())}, "Net, bound to `model`"),
        ({"net": Net()}, "Net, bound to `net` (the only model in the file)"),
        ({"Net": Net, "helper": len}, "Net, built by the class `Net` (the only model class in the file)"),
    ],
)
def test_the_model_is_found_and_the_choice_is_reported(names: dict[str, Any], how: str) -> None:
    model, reported = found(**names)
    assert isinstance(model, Net)
    assert reported == how


def test_a_named_attribute_is_taken_even_if_there_are_others() -> None:
    first, second = Net(), Net()
    assert found("model.py:second", first=first, second=second)[0] is second


@pytest.mark.parametrize(
    ("target", "names", "says"),
    [
        ("model.py", {"a": Net(), "b": Net()}, "defines no `model` .*it has a, b"),
        ("model.py", {}, "it defines nothing"),
        ("model.py:other", {"model": Net()}, "has no attribute 'other'; it has model"),
        ("model.py", {"model": 3}, "is of type int; a model is an nn.Module"),
        ("model.py", {"model": {"weight": torch.zeros(2)}}, r"holds weights alone \(a state_dict\)"),
        ("model.py", {"model": functools.partial(nn.Linear, 2)}, "needs the arguments out_features"),
        ("model.py", {"model": lambda: 3}, "returned int; a function must return an nn.Module"),
    ],
)
def test_what_is_no_model_is_refused_with_what_is_there(target: str, names: dict[str, Any], says: str) -> None:
    with pytest.raises(TargetError, match=says):
        found(target, **names)


def test_weights_with_nan_are_refused_and_counted() -> None:
    model = Net()
    with torch.no_grad():
        model.weight[0] = float("nan")
    with pytest.raises(TargetError, match="weight holds NaN or infinity in 2 of 4 numbers"):
        require_usable_weights(model)


def test_buffers_may_hold_infinity_but_not_nan() -> None:
    model = Net()
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    require_usable_weights(model)
    model.register_buffer("mean", torch.tensor([float("nan")]))
    with pytest.raises(TargetError, match="buffer mean holds NaN"):
        require_usable_weights(model)


@pytest.mark.parametrize(
    ("model", "says"), [(nn.LazyLinear(2), "uninitialised"), (nn.Linear(2, 2, device="meta"), "meta device")]
)
def test_weights_without_values_are_refused(model: nn.Module, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        require_usable_weights(model)
