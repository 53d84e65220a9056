"""The marks in all tables, and the one legend below them: what each that was printed means, in words."""

from __future__ import annotations

from collections.abc import Iterable

LOWER_BOUND, UNFINISHED, FAILED, SCATTERS, SURROGATE = "≥", "+", "?", "!", "~"
MARKS = {
    ">": "the chosen plan",
    "x": "misses a budget, or failed on the confirm split",
    "a": "leakage that attackers reached",
    "p": "leakage predicted from attacks on other candidates, with its 90 % interval",
    "e": "leakage ESTIMATED, not attacked",
    "r": "the raw input crosses",
    "i": "time interpolated, not measured",
    "n": "cannot be searched",
    SURROGATE: "a surrogate, no bound",
    SCATTERS: "scatters by more than 10 %, as on a busy machine",
    LOWER_BOUND: "quick effort, a LOWER BOUND; signing off takes --effort standard --seeds 3",
    UNFINISHED: "at least this: some of its attackers were not run to the end; --no-race runs them",
    FAILED: "an attack FAILED, so nothing is proven private here",
}
"""By mark, what it means. A mark means the same in every table."""


def legend(marks: Iterable[str]) -> list[str]:
    """What these marks mean, in one line; none where there are none.

    Examples:
        >>> legend("er>e")
        ['marks: > the chosen plan; e leakage ESTIMATED, not attacked; r the raw input crosses']
    """
    seen = set(marks)
    meanings = [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in seen]
    return [f"marks: {'; '.join(meanings)}"] if meanings else []
