"""Options for a target's inputs are kept in its identity, so that a plan loads the same target again."""

from __future__ import annotations

import pytest
from collabplan.targets.input_options import InputOptions


@pytest.mark.parametrize(
    "options",
    [
        InputOptions(),
        InputOptions(("1x3x8x8",)),
        InputOptions(("1x128:int64", "mask=1x128"), ("x=1", "mask=none")),
    ],
)
def test_what_an_identity_keeps_comes_back_as_it_was(options: InputOptions) -> None:
    assert InputOptions.kept_in(options.options) == options


def test_options_that_were_not_given_are_not_kept() -> None:
    assert InputOptions.given(None, None).options == {}
    assert InputOptions.given(["1x3"], None).options == {"input": "1x3"}


def test_each_option_that_was_given_replaces_the_kept_one() -> None:
    kept = InputOptions(("1x3",), ("1",))
    assert InputOptions(("2x3",)).or_else(kept) == InputOptions(("2x3",), ("1",))
    assert InputOptions().or_else(kept) == kept
