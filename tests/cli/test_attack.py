"""`collabplan attack` and `agreement`: the table, the reports, the pictures, resuming, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from collabplan.attacks.audit import AuditOutcome
from collabplan.attacks.excess import excess
from collabplan.cli.attack_table import attack_table, legend
from collabplan.cli.main import main
from collabplan.records import AgreementReport, AuditReport, Interval, load
from collabplan.workflows.attack import picture
from command_line import Run, ran_in
from rich.console import Console
from target_files import DATA, NET

ATTACK = ("attack", "model.py", "--attacks", "ridge", "--defense", "dropout:element:0,0.5,0.9")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where model.py was measured, attacked and compared."""
    return ran_in(
        tmp_path_factory.mktemp("attacked"),
        (*ATTACK, "-o", "audit.json", "--pictures", "pictures"),
        ("leakage", "model.py", "--defense", "dropout:element:0,0.5,0.9", "--samples", "100", "-o", "leakage.json"),
        ("agreement", "leakage.json", "audit.json", "-o", "agreement.json"),
    )


@pytest.fixture
def attacked(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the working directory."""
    monkeypatch.chdir(made)
    return made


def test_the_report_holds_every_cut_and_rate_with_nested_tiers(made: Path) -> None:
    report = load(AuditReport, made / "audit.json")
    assert {audit.defense.rate for audit in report.audits} == {0.0, 0.5, 0.9}
    assert report.output_floor is not None
    for audit in report.audits:
        indices = [tier.index.value for tier in audit.tiers]
        assert indices == sorted(indices)
        assert audit.tiers
        assert all(tier.lower_bound for tier in audit.tiers)
        assert audit.accuracy is not None
    assert "prior" in {result.attack for result in report.audits[0].attacks}


def test_the_floor_is_the_label_and_every_index_has_its_excess_over_it(made: Path) -> None:
    report = load(AuditReport, made / "audit.json")
    assert (report.returns, report.floor_of) == (None, "label")
    assert any("`returns`" in note for note in report.notes)
    assert report.output_floor is not None
    floor = report.output_floor.tiers[-1].index
    assert report.output_floor.tiers[-1].conclusive
    for tier in (tier for audit in report.audits for tier in audit.tiers):
        assert tier.excess == excess(tier.index, floor)


def test_the_table_shows_the_excess_in_80_columns(made: Path) -> None:
    report = load(AuditReport, made / "audit.json")
    shown = Console(width=80, no_color=True)
    with shown.capture() as captured:
        shown.print(attack_table(report, 80))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "cess" in lines[1]
    assert any("the label alone (`returns` is not declared), the floor" in line for line in legend(report))


def test_declared_logits_are_a_higher_floor_than_the_label(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(NET + DATA + "returns = 'logits'\n")
    with pytest.raises(SystemExit) as stop:
        main(("attack", "model.py", "--attacks", "ridge", "--cuts", "edge-only", "-o", "audit.json"))
    assert stop.value.code == 0
    found, label = load(AuditReport, tmp_path / "audit.json"), load(AuditReport, made / "audit.json")
    assert (found.returns, found.floor_of) == ("logits", "logits")
    assert found.output_floor is not None
    assert label.output_floor is not None
    assert found.output_floor.tiers[-1].index.value > label.output_floor.tiers[-1].index.value + 0.05
    assert not any("`returns`" in note for note in found.notes)


def test_the_output_alone_has_a_legend_too(made: Path) -> None:
    report = load(AuditReport, made / "audit.json").model_copy(update={"audits": ()})
    said = " ".join(legend(report))
    assert "index: AUDITED" in said
    assert "re-identified: " in said
    assert "LOWER BOUND" in said


def test_a_metric_that_is_no_share_is_shown_as_it_is(made: Path) -> None:
    report = load(AuditReport, made / "audit.json")
    error = Interval(value=-0.003, low=-0.004, high=-0.002)
    audits = tuple(audit.model_copy(update={"accuracy": error}) for audit in report.audits)
    console = Console(width=200)
    with console.capture() as captured:
        console.print(attack_table(report.model_copy(update={"audits": audits}), 200))
    assert "-0.003" in captured.get()
    assert "-0.3%" not in captured.get()


def test_the_same_picture_over_and_over_is_refused_before_any_attack(here: Path, run: Run) -> None:
    (here / "model.py").write_text(NET + "validation_data = (torch.ones(120, 6), torch.arange(120) % 3)\n")
    ran = run(*ATTACK)
    assert ran.code == 2
    assert "all samples have the same private input, so there is nothing to reconstruct" in ran.line


def test_pictures_are_written_of_images_alone(made: Path, tmp_path: Path) -> None:
    report = load(AuditReport, made / "audit.json")
    assert report.pictures == (), "its inputs are six numbers"
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    path = picture(AuditOutcome(report.audits[0], images, {"ridge": images}), tmp_path)
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")


def test_agreement_compares_the_pairs_that_both_hold(made: Path) -> None:
    report = load(AgreementReport, made / "agreement.json")
    assert report.pair_count == len(load(AuditReport, made / "audit.json").audits)
    names = {row.estimate for row in report.rows}
    assert {"leakage index (ridge)", "kde", "logdet", "depth", "payload x (1 - rate)", "accuracy"} <= names


def test_agreement_of_any_number_of_releases_is_another_question(
    attacked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(("agreement", "leakage.json", "audit.json", "--releases", "any", "-o", "any.json"))
    assert stop.value.code == 0
    assert "any number of releases" in " ".join(capsys.readouterr().out.split())
    assert load(AgreementReport, attacked / "any.json").releases == "any"
    assert load(AgreementReport, attacked / "agreement.json").releases == "one"


def test_from_standard_effort_on_other_images_and_random_queries_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(NET + DATA + "\ndef other_attacker_data():\n    return _rows(3, 80)\n")
    line = ("attack", "model.py", "--cuts", "stem.1", "--attacks", "ridge", "--defense", "none", "--effort", "standard")
    with pytest.raises(SystemExit) as stop:
        main((*line, "-o", "audit.json"))
    assert stop.value.code == 0
    found = load(AuditReport, tmp_path / "audit.json").audits[0].attacks
    assert {(each.attack, each.attacker_data) for each in found} == {
        ("prior", "own"), ("ridge", "own"), ("ridge (other images)", "other images"),
        ("ridge (random queries)", "random queries"),
    }  # fmt: skip


def test_a_second_run_attacks_nothing_anew(
    attacked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from collabplan.attacks.ridge import LinearRidge

    def fitted_again(*_: object) -> None:
        raise AssertionError("a finished attack was repeated")

    monkeypatch.setattr(LinearRidge, "fit", fitted_again)
    with pytest.raises(SystemExit) as stop:
        main((*ATTACK, "--json"))
    assert stop.value.code == 0
    again = json.loads(capsys.readouterr().out)
    before = json.loads((attacked / "audit.json").read_text())
    assert again["audits"] == before["audits"]


def test_a_leakage_budget_that_is_not_shown_to_hold_is_exit_1_with_the_reason(
    attacked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for limit, said in (("0.01", "against 0.01"), ("1", "quick effort finds lower bounds alone")):
        with pytest.raises(SystemExit) as stop:
            main((*ATTACK, "--cuts", "stem.1", "--max-leakage", limit, "-o", "budget.json"))
        assert stop.value.code == 1
        assert said in capsys.readouterr().err
        assert load(AuditReport, attacked / "budget.json").audits, "the report is written all the same"


def test_a_budget_on_consistency_does_not_hold_where_the_label_alone_keeps_the_answers(
    attacked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main((*ATTACK, "--cuts", "stem.1", "--max-consistency", "1", "-o", "budget.json"))
    assert stop.value.code == 1
    assert "keeps nearly every answer by itself" in capsys.readouterr().err
    audit = load(AuditReport, attacked / "budget.json").audits[0]
    kept = next(floor.figures.consistency for floor in audit.floors if floor.of == "class mean")
    assert kept is not None
    assert kept.high > 0.9
    assert audit.tiers[-1].consistency is not None
    assert audit.tiers[-1].consistency_excess is None


def test_directions_that_are_kept_are_what_is_attacked(attacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = ("--cuts", "stem.1", "--defense", "projection:rank=3")
    for command in ((*ATTACK[:4], *kept, "-o", "kept.json"), ("leakage", "model.py", *kept, "-o", "kept-leakage.json")):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 0
    (audit,) = load(AuditReport, attacked / "kept.json").audits
    whole = next(
        each
        for each in load(AuditReport, attacked / "audit.json").audits
        if (each.cut_id, each.defense.rate) == (audit.cut_id, 0)
    )
    assert audit.defense.projection is not None
    assert audit.defense.projection.rank == 3
    assert audit.payload_bytes == 3
    assert audit.tiers[-1].index.value < whole.tiers[-1].index.value
    assert "projection:rank=3 at stem.1" in capsys.readouterr().out
    for leakage, said in (("leakage.json", "share 0 pairs"), ("kept-leakage.json", "share 1 pairs")):
        with pytest.raises(SystemExit) as stop:
            main(("agreement", leakage, "kept.json"))
        assert stop.value.code == 2
        assert said in capsys.readouterr().err, "another defense is no pair"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--attacks", "magic"), "there is no attack 'magic'; known are prior, ridge, kernel, retrieval"),
        (("--attacks", ","), "--attacks is empty"),
        (("--seeds", str(10**20)), "Invalid value for '--seeds'"),
        (("--cuts", "nowhere"), "--cuts has the unknown 'nowhere'"),
        (("--defense", "projection:rank=1"), "'projection:rank=1' is not possible"),
        (("--defense", "dropout:element:1.5"), "'dropout:element:1.5' is not possible"),
        (("--defense", "blur:1"), "has the unknown stage 'blur'"),
        (("--max-consistency", "2"), "--max-consistency 2"),
        (("--max-region", "0.3"), "--max-region needs a region_of_interest in the target's file"),
    ],
)
def test_bad_options_are_named_in_one_line(
    attacked: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(("attack", "model.py", *options))
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert attacked.is_dir()


def test_a_leakage_report_is_no_audit(attacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(("agreement", "leakage.json", "leakage.json"))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "is not a audit" in said or "is not an audit" in said
    assert "collabplan attack" in said
    assert attacked.is_dir()
