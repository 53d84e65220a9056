"""Outputs are compared bit for bit, up to rounding, or up to how kernels round by batch size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from collabplan.graph import close_values, same_values
from collabplan.graph.comparing import alike

X = torch.tensor([1.0, float("nan"), -2.0])


def test_nan_equals_nan_and_structures_are_compared_leaf_by_leaf() -> None:
    assert same_values({"a": [X, 3]}, {"a": [X.clone(), 3]})
    assert not same_values({"a": [X, 3]}, {"a": [X.clone(), 4]})


@pytest.mark.parametrize("other", [X + 1e-6, X.double(), X[:2], [X, X], None])
def test_another_value_dtype_shape_or_number_of_leaves_differs(other: Any) -> None:
    assert not same_values(X, other)


@pytest.mark.parametrize(
    ("dtype", "step", "close"),
    [
        (torch.float32, 1e-5, True), (torch.float32, 1e-2, False), (torch.bfloat16, 2e-2, True),
        (torch.bfloat16, 0.2, False), (torch.float16, 2e-3, True),
    ],
)  # fmt: skip
def test_close_is_up_to_the_precision_of_the_dtype(dtype: torch.dtype, step: float, close: bool) -> None:
    ones = torch.ones(4, dtype=dtype)
    assert close_values(ones, (ones.float() + step).to(dtype)) == close


def test_alike_allows_a_share_of_the_largest_number() -> None:
    row = torch.tensor([100.0, 0.0])
    assert alike(row, row + 0.5)
    assert not alike(row, row + 2.0)
    assert not alike(torch.tensor([1, 2]), torch.tensor([1, 3]))
    assert not alike(torch.tensor([float("nan"), 1.0]), torch.tensor([1.0, 1.0]))
    assert alike(torch.complex(row, row), torch.complex(row, row + 0.5))
