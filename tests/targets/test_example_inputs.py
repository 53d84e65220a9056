"""Example inputs come from a file in each of its forms, or from options; anything else is one clear error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets.example_inputs import from_options, from_value, read_batch_dim, shape_text

X = torch.zeros(1, 3)


@pytest.mark.parametrize(
    ("value", "args", "names"),
    [
        (X, 1, ()),
        ((X, 2), 2, ()),
        ([X], 1, ()),
        ({"x": X, "scale": 1.5}, 0, ("x", "scale")),
        (((X,), {"mask": None}), 1, ("mask",)),
        ((X, {"mask": None}), 2, ()),
    ],
)
def test_each_form_gives_positional_and_keyword_arguments(value: Any, args: int, names: tuple[str, ...]) -> None:
    found = from_value(value)
    assert len(found.args) == args
    assert tuple(found.kwargs) == names


@pytest.mark.parametrize(("value", "says"), [((), "is empty"), (3, "of type int"), ({1: X}, "not strings")])
def test_other_values_are_refused_with_the_accepted_forms(value: Any, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        from_value(value)


def test_options_make_the_same_values_each_time() -> None:
    options = ["1x3", "1x4:int64", "mask=1x4:bool"]
    first, second = from_options(options), from_options(options)
    assert first.summary() == "float32 1x3, int64 1x4, mask=bool 1x4"
    assert all(torch.equal(a, b) for a, b in zip(first.args, second.args, strict=True))
    assert 0 <= float(first.args[0].min()) <= float(first.args[0].max()) < 1
    assert set(first.args[1].unique().tolist()) <= {0, 1}


def test_an_option_without_a_dtype_has_the_models() -> None:
    (tensor,) = from_options(["2x2"], torch.bfloat16).args
    assert tensor.dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["3,224"], "is not a shape; write for example 1x3x224x224"),
        (["1x3:float8"], "unknown dtype 'float8'"),
        (["1x0"], "dimension of size 0"),
        (["x=1x3", "1x3"], "give positional inputs first"),
    ],
)
def test_an_option_of_another_form_is_refused_with_an_example(options: list[str], says: str) -> None:
    with pytest.raises(TargetError, match=says):
        from_options(options)


@pytest.mark.parametrize(
    ("declared", "options", "expected"),
    [
        ({}, (), None),
        ({"batch_dim": 1}, (), 1),
        ({"batch_dim": None}, (), "none"),
        ({"batch_dim": {"x": 1, "mask": None}}, (), {"x": 1, "mask": None}),
        ({"batch_dim": 1}, ("0",), 0),
        ({}, ("none",), "none"),
        ({}, ("x=1", "mask=none"), {"x": 1, "mask": None}),
    ],
)
def test_the_batch_dimension_comes_from_options_before_the_file(
    declared: dict[str, Any], options: tuple[str, ...], expected: Any
) -> None:
    assert read_batch_dim(declared, options) == expected


@pytest.mark.parametrize(
    ("declared", "options", "says"),
    [
        ({"batch_dim": -1}, (), "batch_dim is -1"),
        ({"batch_dim": True}, (), "batch_dim is True"),
        ({}, ("1", "x=0"), "not both"),
        ({}, ("first",), "is not a dimension"),
    ],
)
def test_what_is_no_dimension_is_refused(declared: dict[str, Any], options: tuple[str, ...], says: str) -> None:
    with pytest.raises(TargetError, match=says):
        read_batch_dim(declared, options)


def test_shapes_read_as_they_are_typed() -> None:
    assert (shape_text((1, 3, 8)), shape_text(())) == ("1x3x8", "scalar")
