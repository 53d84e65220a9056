"""A privacy budget is proven by attacks alone: what `optimize` leaves open, `certify` goes on with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from collabplan.attacks import EFFORTS, Effort
from collabplan.attacks.inverse import InverseNetwork
from collabplan.planner.evaluator import Evaluator
from collabplan.records import Plan, load, save, sign_off
from command_line import PROFILE, Run, ran_in

TINY = ("optimize", "--budget-ms", "5000", "--max-accuracy-drop", "1", "--max-edge-params", "60", "--trials", "2",
        "--draws", "1", "--audits", "0", "--max-leakage", "1")  # fmt: skip


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where model.py was profiled."""
    return ran_in(tmp_path_factory.mktemp("profiled"), PROFILE)


@pytest.fixture
def ready(profiled: Path, here: Path, few_attacks: None, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A copy of it as the working directory; few attacks with tiny efforts, and few targets are enough to sign off."""
    shutil.copytree(profiled, here, dirs_exist_ok=True)
    for name in ("quick", "standard"):
        monkeypatch.setitem(EFFORTS, name, Effort(name, 40, 60, 6, 3, 4, 8, False))
    monkeypatch.setattr(sign_off, "TRAINED_TARGETS", 10)
    monkeypatch.setattr(sign_off, "OPTIMISED_TARGETS", 2)
    return here


@pytest.mark.usefixtures("ready")
def test_what_is_not_proven_exits_1_and_certify_goes_on_with_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(*TINY, "--audit-seeds", "1")
    assert ran.code == 1
    assert "not yet proven: the plan's level is standard, and signing off still takes 3 attacker seeds" in ran.err
    assert "run `collabplan certify plan.json`" in ran.err
    plan = load(Plan, Path("plan.json"))
    assert (plan.level, plan.proven) == ("standard", False)
    assert run(*TINY, "--audit-seeds", "1", "--accept", "quick").code == 0
    plan = load(Plan, Path("plan.json"))

    stopped = run("certify", "plan.json", "--time-limit", "0.001s")
    assert stopped.code == 1
    assert "the same command goes on" in stopped.err
    assert load(Plan, Path("plan.json")) == plan

    certified = run("certify", "plan.json", "--json")
    assert certified.code == 0, certified.err
    signed = load(Plan, Path("plan.json"))
    assert (signed.level, signed.proven) == ("signed off", True)
    assert signed.certificate is not None
    assert signed.certificate.seeds == (0, 1, 2)
    assert "inverse (random queries)" in signed.certificate.attackers
    assert any("other_attacker_data" in each for each in signed.certificate.not_tried)
    assert certified.document["certificate"] == signed.certificate.model_dump(mode="json")

    monkeypatch.setattr(InverseNetwork, "fit", lambda *_: pytest.fail("attacked again"))
    assert run("certify", "plan.json").code == 0
    assert "signed off" in " ".join(run("front", "plan.json").out.split())

    broken = signed.model_copy(update={"budgets": signed.budgets.model_copy(update={"max_leakage": 0.0})})
    save(broken, Path("plan.json"))
    fallen = run("certify", "plan.json")
    assert fallen.code == 1
    assert "the plan has fallen: leakage index up to" in fallen.err
    assert load(Plan, Path("plan.json")).certificate is None


@pytest.mark.usefixtures("ready")
def test_ctrl_c_keeps_the_plan_and_says_how_it_stands(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, trials = Evaluator.evaluate, []

    def interrupted(own: Evaluator, *arguments: Any) -> Any:
        if len(arguments) == 1:
            trials.append(1)
        if len(trials) == 2:
            raise KeyboardInterrupt
        return evaluate(own, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Evaluator, "evaluate", interrupted)
        ran = run(*TINY, "--no-audit")
    assert ran.code == 130
    assert "interrupted; plan.json holds the best plan so far (estimated)" in ran.err
    assert "the same command goes on from here" in ran.err
    assert load(Plan, Path("plan.json")).level == "estimated"
    assert "going on with search-1: 1 candidates" in run(*TINY, "--no-audit").out


def test_a_time_limit_without_a_unit_is_refused(run: Run) -> None:
    ran = run("optimize", "--budget-ms", "50", "--time-limit", "15")
    assert ran.code == 2
    assert "time limit '15' has no unit; write for example 15m, or none" in ran.line
