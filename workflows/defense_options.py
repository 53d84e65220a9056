"""The defenses that options name, and defenses as reports show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..defenses.spelling import Given, UnknownStage, defenses_of
from ..records import DefenseRecord
from ..report.wording import short_text


def early_defenses(given: Given | Iterable[Given]) -> tuple[DefenseRecord, ...] | None:
    """Every defense that is asked for; None where the target must be loaded first, which may bring a stage of its own.

    Raises:
        CollabplanError: a family that no target can mean.
    """
    try:
        return defenses_of(given)
    except UnknownStage:
        return None


def shown_defense(defense: DefenseRecord, beside: Sequence[DefenseRecord]) -> str:
    """A defense in a table: the dropout rate where it differs from those `beside` it by that alone, else in short."""
    return f"{defense.rate:g}" if differ_by_rate(beside) else short_text(defense)


def differ_by_rate(defenses: Sequence[DefenseRecord]) -> bool:
    """Whether defenses differ by the rate of dropout alone."""
    rest = {each.unfitted.without("dropout").text for each in defenses}
    kinds = {(each.dropout.granularity, each.masks) for each in defenses if each.dropout is not None}
    return len(rest) <= 1 and len(kinds) <= 1


def at_defense(cut_name: str, defense: DefenseRecord) -> str:
    """`layer2 at dropout:element:0.5`, or the cut alone where nothing but the usual quantizer is there."""
    text = defense.unfitted.text
    return cut_name if text in ("none", "quantizer:none") else f"{cut_name} at {text}"


def parts(text: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
