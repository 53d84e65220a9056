"""A race inside an audit: attackers of known strength on the toy device, whose release determines the input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from blended import EFFORT, Blend, growing
from collabplan.attacks import Attack, AuditOutcome, attack_named, run_audit
from collabplan.attacks.conformance import toy_request
from collabplan.attacks.time_limit import Deadline, TimeUp, until
from collabplan.records import AttackResult

CHEAP = (attack_named("prior"), attack_named("ridge"))


def audited(*attacks: Attack, folder: Path | None = None, racing: bool = True) -> AuditOutcome:
    return run_audit(toy_request(), [*CHEAP, *attacks], EFFORT, seed=0, folder=folder, racing=racing)


def result(outcome: AuditOutcome, name: str) -> AttackResult:
    return next(each for each in outcome.record.attacks if each.attack == name)


def test_an_attack_that_was_outrun_says_so_and_counts_with_what_it_had() -> None:
    weak = Blend("weak", growing(0.1, 0.05))
    outcome = audited(weak)
    found = result(outcome, "weak")
    assert weak.fits == [100, 400]
    assert found.status == "outrun"
    assert found.reason.startswith("outrun at 1/16 of the steps: index 0.")
    assert "ridge has" in found.reason
    assert found.lower_bound
    assert found.figures is not None
    assert 0.2 < found.figures.index.value < 0.4
    assert found.figures.target_count == EFFORT.targets
    tier = outcome.record.tier("black-box")
    assert tier.conclusive
    assert not tier.lower_bound
    assert tier.index_attack == "ridge"


def test_who_is_run_to_the_end_has_the_figures_of_the_whole_suite() -> None:
    strong, weak = Blend("strong", growing(0.9, 0.03)), Blend("weak", growing(0.1, 0.05))
    raced, whole = audited(strong, weak), audited(strong, weak, racing=False)
    assert {each.attack for each in raced.record.attacks if each.status == "outrun"} == {"strong", "weak"}
    assert result(raced, "ridge").figures == result(whole, "ridge").figures
    for audit in (raced.record, whole.record):
        assert [each.attack for each in audit.attacks] == ["prior", "ridge", "strong", "weak"]
    assert result(whole, "weak").status == "ok"
    assert raced.record.tier("black-box").index.value == pytest.approx(whole.record.tier("black-box").index.value)


def test_the_whole_suite_outruns_nobody_nor_does_an_audit_that_steers() -> None:
    weak = Blend("weak", growing(0.1, 0.05))
    audited(weak, racing=False)
    run_audit(toy_request(), [*CHEAP, weak], EFFORT, seed=0, strongest=True)
    assert weak.fits == [6400, 6400]


def test_a_short_run_starts_at_the_second_rung() -> None:
    weak = Blend("weak", growing(0.1, 0.05))
    found = run_audit(toy_request(), [*CHEAP, weak], replace(EFFORT, until_converged=False), seed=0)
    assert result(found, "weak").status == "outrun"
    assert weak.fits == [400, 1600]


def test_who_is_outrun_and_leads_on_the_targets_is_run_to_its_end() -> None:
    lucky = Blend("lucky", growing(0.1, 0.05), on_targets=1.2)
    outcome = audited(lucky)
    index = {each.attack: each.figures.index.value for each in outcome.record.attacks if each.figures is not None}
    status = result(outcome, "lucky").status
    assert (status == "ok") == (index["lucky"] > index["ridge"] + 0.005)
    assert lucky.fits == ([100, 400, 6400] if status == "ok" else [100, 400])


def test_a_query_free_attacker_who_was_outrun_leaves_a_lower_bound_in_its_tier_alone() -> None:
    weak = Blend("weak", growing(0.3, 0.01), threat="query-free")
    tiers = {tier.threat: tier for tier in audited(weak).record.tiers}
    # `ridge` queries the device, which this tier may not: the fit fails, as the conformance suite asks.
    assert tiers["query-free"].index_attack == "prior"
    assert not tiers["black-box"].lower_bound


def test_an_attack_below_the_prior_is_failed_as_without_a_race() -> None:
    wild = Blend("wild", lambda _: -3.0)
    for racing in (True, False):
        outcome = audited(wild, racing=racing)
        assert result(outcome, "wild").status == "failed"
        assert "below the prior" in result(outcome, "wild").reason
        assert not outcome.record.tier("black-box").conclusive
    assert wild.fits[-1] == 6400


def test_a_race_that_was_interrupted_repeats_nothing(tmp_path: Path) -> None:
    weak, strong = Blend("weak", growing(0.1, 0.05)), Blend("strong", growing(0.9, 0.03), threat="white-box")
    now = [0.0]

    def step(_: str) -> None:
        now[0] += 1

    suite = [*CHEAP, weak, strong]
    with pytest.raises(TimeUp), until(Deadline.after(5, lambda: now[0])):
        run_audit(toy_request(), suite, EFFORT, seed=0, folder=tmp_path, step=step)
    assert weak.fits
    again = run_audit(toy_request(), suite, EFFORT, seed=0, folder=tmp_path).record
    assert weak.fits.count(100) == 1
    assert strong.fits.count(100) == 1
    through = run_audit(toy_request(), suite, EFFORT, seed=0).record
    assert [(each.attack, each.status, each.figures) for each in again.attacks] == [
        (each.attack, each.status, each.figures) for each in through.attacks
    ]
    fits = len(weak.fits), len(strong.fits)
    kept = run_audit(toy_request(), suite, EFFORT, seed=0, folder=tmp_path).record
    assert (len(weak.fits), len(strong.fits)) == fits
    assert kept.attacks == again.attacks


def test_a_kept_result_does_not_pass_for_one_of_another_effort(tmp_path: Path) -> None:
    weak = Blend("weak", growing(0.1, 0.05))
    raced = audited(weak, folder=tmp_path)
    whole = audited(weak, folder=tmp_path, racing=False)
    assert result(raced, "weak").status == "outrun"
    assert result(whole, "weak").status == "ok"
    assert weak.fits == [100, 400, 6400]
