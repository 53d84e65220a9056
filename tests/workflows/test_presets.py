"""Presets: what each sets, what overrides it, and the table of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from collabplan.records import CollabplanError, parse_time_limit_s
from collabplan.records.sign_off import PROVEN, SEEDS, missing_to_sign_off
from collabplan.workflows import study as studies
from collabplan.workflows.named_options import options_from
from collabplan.workflows.options import OptimizeOptions
from collabplan.workflows.presets import PRESETS, said, table, with_preset
from report_plans import tier

SEARCH_PAGE = Path(__file__).resolve().parents[2] / "docs" / "search.md"


def made(preset: str, **given: Any) -> OptimizeOptions:
    return with_preset(options_from(OptimizeOptions, {"budget_ms": 50, **given}), preset, given)


def test_the_table_of_the_documentation_is_made_of_the_presets() -> None:
    assert table() in SEARCH_PAGE.read_text(encoding="utf-8"), f"docs/search.md needs this table:\n{table()}"


def test_standard_is_what_optimize_does_by_itself() -> None:
    assert made("standard") == options_from(OptimizeOptions, {"budget_ms": 50})


def test_a_look_runs_no_attack_and_ends_within_two_minutes() -> None:
    look = made("look")
    assert not look.audit.audit
    assert (parse_time_limit_s(look.search.time_limit) or 1e9) <= 120
    assert look.search.trials is not None


def test_signoff_asks_for_what_the_rule_to_sign_off_needs() -> None:
    signoff = made("signoff")
    audit = signoff.audit
    assert audit.audit
    assert parse_time_limit_s(signoff.search.time_limit) is None
    assert missing_to_sign_off(audit.audit_effort, audit.audit_seeds, tier()) == ()
    assert audit.accept is None, "no less is taken"
    assert (audit.audit_seeds, "signed off" in PROVEN) == (SEEDS, True)


def test_all_presets_share_one_study() -> None:
    """Whatever a study's figures depend on is the same, so that each goes on with what another has measured."""
    same = {(made(each).search.draws, made(each).search.seed, made(each).search.defense) for each in PRESETS}
    assert len(same) == 1


@pytest.mark.parametrize("preset", list(PRESETS))
def test_what_is_given_overrides_the_preset(preset: str) -> None:
    given = {"trials": 7, "time_limit": "3m", "audit": True, "audit_seeds": 1, "draws": 2}
    found = made(preset, **given)
    assert (found.search.trials, found.search.time_limit, found.search.draws) == (7, "3m", 2)
    assert (found.audit.audit, found.audit.audit_seeds) == (True, 1)
    assert not {f"--{name.replace('_', '-')}" for name in given} & set(said(preset, given).split())


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(CollabplanError, match="no preset 'fast'; there are look, standard, signoff"):
        made("fast")


def test_a_study_takes_presets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        """The search has begun."""

    asked: list[OptimizeOptions] = []

    def begun(target: object, inputs: object, options: OptimizeOptions, *_: object) -> None:  # noqa: ARG001
        asked.append(options)
        raise Stopped

    monkeypatch.setattr(studies, "search_plan", begun)
    monkeypatch.setattr(studies.Study, "_with_data", lambda _: None)
    with pytest.raises(Stopped):
        studies.Study("model.py").optimize(50, preset="look", trials=5)
    assert (asked[0].search.trials, asked[0].search.time_limit, asked[0].audit.audit) == (5, "90s", False)
