"""Presets of `optimize`: one word for how much evidence a plan is to rest on.

What each sets is written here and nowhere else; the table in `docs/search.md` is `table()`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from ..records import CollabplanError
from ..records.sign_off import SEEDS, TRAINED_TARGETS
from .named_options import names_of
from .options import AuditSettings, Effort, OptimizeOptions, PresetName, SearchSettings

_SEARCH, _AUDIT = SearchSettings(), AuditSettings()
Group = TypeVar("Group", SearchSettings, AuditSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Values for the options that decide how much evidence there is. Each is what `optimize` does by itself, or else.

    Attributes:
        what: what it is for.
        takes: how long.
        reaches: the level of its plan.
        audit, audit_effort, audit_seeds: as of `AuditSettings`.
        trials, draws, time_limit: as of `SearchSettings`. The draws are the same in all presets, so that each goes on
            with what another has measured.
    """

    what: str
    takes: str
    reaches: str
    audit: bool = _AUDIT.audit
    audit_effort: Effort = _AUDIT.audit_effort
    audit_seeds: int = _AUDIT.audit_seeds
    trials: int | None = _SEARCH.trials
    draws: int = _SEARCH.draws
    time_limit: str = _SEARCH.time_limit

    @property
    def options(self) -> dict[str, Any]:
        """What it sets, by the option's name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _WORDS}


_WORDS = ("what", "takes", "reaches")

PRESETS: dict[PresetName, Preset] = {
    "look": Preset(
        what="a first look",
        takes="90 s, or less if all candidates are measured before",
        reaches="estimated",
        audit=False,
        trials=30,
        time_limit="90s",
    ),
    "standard": Preset(
        what="a plan that attacks have tried",
        takes="15 minutes, or less if all attacks end before",
        reaches="as far as the time goes: at most as `signoff`",
    ),
    "signoff": Preset(
        what="a plan that may be shipped",
        takes="until all attacks have ended: often hours. Ctrl-C keeps the plan so far",
        reaches=f"signed off, if attacks leave a plan standing and the confirm split has {TRAINED_TARGETS} samples",
        audit_effort="standard",
        audit_seeds=SEEDS,
        time_limit="none",
    ),
}


def with_preset(options: OptimizeOptions, preset: str, given: Collection[str]) -> OptimizeOptions:
    """The options as a preset sets them; an option that was given keeps its value.

    Args:
        options: as they were given, or their defaults.
        preset: a name in `PRESETS`.
        given: names of the options that somebody gave.

    Raises:
        CollabplanError: there is no such preset.

    Examples:
        >>> from collabplan.workflows.options import BudgetOptions
        >>> asked = OptimizeOptions(budgets=BudgetOptions(budget_ms=50), search=SearchSettings(trials=10))
        >>> made = with_preset(asked, "look", {"trials"})
        >>> made.search.trials, made.search.time_limit, made.audit.audit
        (10, '90s', False)
    """
    values = _values(preset, given)

    def filled(group: Group) -> Group:
        return replace(group, **{name: values[name] for name in names_of(type(group)) if name in values})

    return replace(options, search=filled(options.search), audit=filled(options.audit))


def said(preset: str, given: Collection[str]) -> str:
    """What a preset sets, as options: `preset look: --no-audit --trials 30 --draws 5 --time-limit 90s`.

    Raises:
        CollabplanError: there is no such preset.
    """
    values = _values(preset, given)
    attacked = values.get("audit", True)
    shown = {name: value for name, value in values.items() if attacked or not name.startswith("audit_")}
    options = [_option(name, value) for name, value in shown.items() if value is not None]
    return f"preset {preset}: {' '.join(options)}"


def table() -> str:
    """What each preset sets and takes, as a Markdown table."""
    heads = ("what for", *_SHOWN, "takes", "the plan's level")
    rows: list[tuple[str, ...]] = [("", *(f"`{name}`" for name in PRESETS)), ("---",) * (1 + len(PRESETS))]
    rows += zip(heads, *(_column(preset) for preset in PRESETS.values()), strict=True)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_SHOWN: Mapping[str, Callable[[Preset], str]] = {
    "attacks (`--audit`)": lambda preset: "yes" if preset.audit else "no",
    "their effort (`--audit-effort`)": lambda preset: preset.audit_effort if preset.audit else "-",
    "their seeds (`--audit-seeds`)": lambda preset: str(preset.audit_seeds) if preset.audit else "-",
    "candidates (`--trials`)": lambda preset: str(preset.trials or "all up to 200"),
    "masks for each (`--draws`)": lambda preset: str(preset.draws),
    "end (`--time-limit`)": lambda preset: preset.time_limit,
}


def _column(preset: Preset) -> tuple[str, ...]:
    return (preset.what, *(shown(preset) for shown in _SHOWN.values()), preset.takes, preset.reaches)


def _values(preset: str, given: Collection[str]) -> dict[str, Any]:
    found = next((each for name, each in PRESETS.items() if name == preset), None)
    if found is None:
        raise CollabplanError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    return {name: value for name, value in found.options.items() if name not in given}


def _option(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"
