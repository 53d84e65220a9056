"""Messages name the user's line, not a library's, and the remedy."""

from __future__ import annotations

import re

import torch
from collabplan.graph.refusals import first_line, first_place, fixed_batch, forward_line, place, untraceable
from torch import Tensor, nn

HERE = r"test_refusals\.py:\d+"


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def failure(message: str) -> Exception:
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


def library_failure() -> Exception:
    try:
        torch.ones(2) @ torch.ones(3)
    except RuntimeError as error:
        return error
    raise AssertionError("torch multiplies vectors of two lengths")


def test_an_error_is_one_line_with_torchs_explanation() -> None:
    assert first_line(failure("it fails\nExplanation: a cause.\nmore")) == "RuntimeError: it fails (a cause)"
    assert first_line(failure("")) == "RuntimeError"


def test_the_place_is_the_users_line_also_where_a_library_fails() -> None:
    assert re.search(rf" \(at .*{HERE}: torch\.ones\(2\) @", place(library_failure()))
    assert place(RuntimeError("never raised")) == ""
    assert first_place([RuntimeError("never raised"), library_failure()]) == place(library_failure())


def test_the_forward_of_a_library_has_no_line() -> None:
    assert forward_line(nn.Linear(2, 2)) == ""
    assert "def forward" in forward_line(Plain())


def test_the_failure_that_says_most_is_reported_with_its_remedy() -> None:
    told = str(untraceable(Plain(), [failure("something"), failure("Data-dependent expression")]))
    assert "its control flow or a size depends on tensor values" in told
    assert "torch.where" in told
    told = str(untraceable(Plain(), [failure("something")]))
    assert "RuntimeError: something" in told
    assert "plain tensor operations" in told


def test_code_that_fixes_the_batch_is_named() -> None:
    assert fixed_batch([failure("Constraints violated (batch)!")]).startswith("the code fixes it (at")
    assert fixed_batch([failure("something else")]).startswith("RuntimeError: something else (at")
