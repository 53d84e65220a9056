"""One rule to sign off: effort, seeds, failures and targets."""

from __future__ import annotations

from typing import Any

import pytest
from collabplan.records import Interval, TierFigures
from collabplan.records.sign_off import missing_to_sign_off

NONE = Interval(value=0.0, low=0.0, high=0.1)


def figures(**changed: Any) -> TierFigures:
    made = {
        "threat": "white-box", "index": NONE, "index_attack": "ridge", "reidentification": NONE, "lower_bound": False,
        "conclusive": True, "target_count": 500, "fewest_targets": 100,
    }  # fmt: skip
    return TierFigures(**{**made, **changed})


def test_nothing_is_missing_at_standard_effort_with_three_seeds_and_targets_enough() -> None:
    assert missing_to_sign_off("standard", 3, figures()) == ()
    assert missing_to_sign_off("thorough", 5, figures(target_count=1000)) == ()


@pytest.mark.parametrize(
    ("effort", "seeds", "changed", "says"),
    [
        ("quick", 3, {}, "standard effort or more"),
        ("standard", 2, {}, "3 attacker seeds instead of 2"),
        ("standard", 3, {"conclusive": False, "failed": ("likelihood",)}, "FAILED likelihood"),
        ("standard", 3, {"target_count": 499}, "500 targets instead of 499"),
        ("standard", 3, {"fewest_targets": 32}, "100 targets of every attack instead of 32"),
    ],
)
def test_what_is_missing_is_said(effort: Any, seeds: int, changed: dict[str, Any], says: str) -> None:
    (missing,) = missing_to_sign_off(effort, seeds, figures(**changed))
    assert says in missing
