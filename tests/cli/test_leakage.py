"""`collabplan leakage`: the table, the report, resuming where it stopped, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collabplan.cli.leakage_table import bar, compact, head, leakage_table, legend
from collabplan.records import ControlRow, LeakageReport, Plan, load
from collabplan.workflows import leakage_run
from command_line import PROFILE, SEARCH, Run, ran_in
from rich.console import Console
from target_files import DATA

Write = Callable[..., Path]
SAMPLES = ("--samples", "100")
FEW = ("--defense", "dropout:element:0,0.6", *SAMPLES)
LEAKAGE = ("leakage", "model.py", *FEW)
BARE = ("leakage", "model.py", *SAMPLES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the leakage of model.py was measured into out.json."""
    return ran_in(tmp_path_factory.mktemp("made"), (*LEAKAGE, "-o", "out.json"))


@pytest.fixture
def measured(made: Path, here: Path) -> Path:
    """A copy of that folder as the working directory."""
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here


@pytest.fixture(scope="module")
def report(made: Path) -> LeakageReport:
    """What it wrote."""
    return load(LeakageReport, made / "out.json")


@pytest.fixture
def estimated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cuts that are really measured from here on."""
    names: list[str] = []
    measurement = leakage_run.CutMeasurement

    def counted(session: Any, activations: Any, cut: Any, rows: Any) -> Any:
        names.append(cut.name)
        return measurement(session, activations, cut, rows)

    monkeypatch.setattr(leakage_run, "CutMeasurement", counted)
    return names


def figures(document: dict[str, Any]) -> dict[str, Any]:
    """A report without when and how it was made."""
    return {key: value for key, value in document.items() if key != "provenance"}


def shown(report: LeakageReport, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(leakage_table(report, width))
    return stream.getvalue().splitlines()


def cut_files(folder: Path) -> list[Path]:
    return sorted((folder / ".collabplan" / "leakage").glob("*/*.json"))


@pytest.mark.usefixtures("measured")
def test_a_page_of_a_plan_holds_the_estimates_of_its_targets_cuts(run: Run) -> None:
    assert run(*PROFILE).code == 0
    assert run("optimize", *SEARCH).code == 0
    ran = run("leakage", "plan.json", *FEW, "--report", "report.html", "--json")
    assert ran.code == 0, ran.err
    assert "report: report.html" in ran.err
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert ran.document["target"]["options"]["max_crossing"] == "1"
    plan = load(Plan, Path("plan.json"))
    assert plan.cut_id in {row["cut_id"] for row in (*ran.document["rows"], ran.document["output_floor"])}


def test_the_report_has_a_row_per_cut_and_rate_by_depth(report: LeakageReport) -> None:
    assert [row.depth for row in report.rows] == sorted(row.depth for row in report.rows)
    rates = {name: [row.defense.rate for row in report.rows if row.cut_name == name] for name in cut_names(report)}
    assert rates.pop("cloud-only") == [0.0]
    assert rates
    assert all(found == [0.0, 0.6] for found in rates.values())
    assert report.sample_count == 100
    assert report.input_number_count == 6


def cut_names(report: LeakageReport) -> list[str]:
    return list(dict.fromkeys(row.cut_name for row in report.rows))


def test_the_raw_input_is_1_and_measured_cuts_have_every_figure(report: LeakageReport) -> None:
    raw, *others = report.rows
    assert (raw.leakage.index.value, raw.leakage.status) == (1.0, "by-definition")
    assert others
    for row in others:
        assert row.leakage.status == "estimated"
        assert row.leakage.dfil is not None
        assert {found.estimator for found in row.leakage.estimates} == {"kde", "sandwich", "logdet"}


def test_the_models_output_alone_is_the_floor(report: LeakageReport) -> None:
    floor = report.output_floor
    assert floor is not None
    assert floor.cut_kind == "edge-only"
    assert floor.leakage.status == "estimated"
    assert floor.leakage.sample_count == 100
    assert report.rows
    assert all(row.cut_kind != "edge-only" for row in report.rows)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_fits_and_a_wider_one_shows_more(report: LeakageReport, width: int) -> None:
    lines = shown(report, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for part in ("cloud-only", "output alone", "█", "SATURATED", "x noise", "interval"):
        assert part in text
    assert ("dFIL" in text) == (width > 80)
    assert "…" not in text


def test_the_header_says_floor_samples_and_what_is_assumed(report: LeakageReport) -> None:
    text = " ".join(head(report))
    for part in ("100 samples", "8-bit wire", "surrogate", "ESTIMATED", "know the mask"):
        assert part in text
    assert any("surrogates" in line for line in legend(report))


@pytest.mark.parametrize("width", [40, 80])
def test_the_legend_explains_no_column_that_was_left_out(report: LeakageReport, width: int) -> None:
    table = leakage_table(report, width)
    heads = " ".join(str(column.header) for column in table.columns)
    assert any(line.startswith("3 nats") for line in legend(report, table)) == ("3 nats" in heads)


def test_every_leakage_run_says_what_data_it_read(run: Run, target: Write) -> None:
    target(DATA)
    ran = run("leakage", "model.py", "--defense", "none", "--samples", "40")
    assert ran.code == 0, ran.err
    assert "120 samples: 60 for the search, 60 to confirm the plan" in " ".join(ran.out.split())


def test_a_bar_is_as_long_as_its_value_and_light_up_to_its_high_end() -> None:
    assert bar(0.5, 0.5, 8).plain == "████    "
    assert bar(0.5, 0.74, 8).plain == "████░░  "
    assert bar(1 / 16, 1.0, 8).plain == "▌░░░░░░░"
    assert bar(0.0, 0.0, 8).plain == " " * 8


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.5, 123456.0, 6.7e10])
def test_figures_take_at_most_eight_characters(value: float) -> None:
    assert len(compact(value)) <= 8


@pytest.mark.usefixtures("measured")
def test_a_finished_run_is_not_measured_again_and_prints_the_same_json(
    run: Run, report: LeakageReport, estimated: list[str]
) -> None:
    ran = run(*LEAKAGE, "--json")
    assert ran.code == 0
    assert estimated == []
    assert figures(ran.document) == figures(report.model_dump(mode="json"))
    assert "were measured before" in ran.err


def test_missing_and_damaged_cuts_alone_are_measured_again_with_the_same_figures(
    measured: Path, run: Run, report: LeakageReport, estimated: list[str]
) -> None:
    files = cut_files(measured)
    wide = [path for path in files if '"by-definition"' not in path.read_text()]
    wide[0].unlink()
    wide[1].write_text(wide[1].read_text()[:200])
    ran = run(*LEAKAGE, "--json")
    assert len(estimated) == 2
    assert figures(ran.document) == figures(report.model_dump(mode="json"))


@pytest.mark.usefixtures("target")
def test_what_was_finished_before_a_kill_is_kept(
    run: Run, target: Write, report: LeakageReport, estimated: list[str], monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    target(DATA)
    finish, count = leakage_run.CutMeasurement, iter(range(9))

    def interrupted(*arguments: Any) -> Any:
        if next(count) == 1:
            raise KeyboardInterrupt
        return finish(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(leakage_run, "CutMeasurement", interrupted)
        ran = run(*LEAKAGE)
    assert ran.code == 130
    assert "interrupted" in ran.err
    assert len(cut_files(here)) == 2  # by definition, and the first measured
    first = list(estimated)
    assert figures(run(*LEAKAGE, "--json").document) == figures(report.model_dump(mode="json"))
    assert not set(first) & set(estimated[len(first) :])


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    "change", [("--seed", "1"), ("--defense", "quantizer:bits=4"), ("--defense", "noise:gaussian:0.2")]
)
def test_another_question_is_measured_anew(run: Run, estimated: list[str], change: tuple[str, str]) -> None:
    assert run(*LEAKAGE, "--cuts", "stem.1", *change, "--estimators", "sandwich,ridge").code == 0
    assert "stem.1" in estimated


def test_real_noise_earns_bounds_and_a_ceiling(measured: Path, run: Run) -> None:
    run(*BARE, "--cuts", "stem.1", "--defense", "dropout:element:0.9 noise:gaussian:0.5", "-o", "noisy.json")
    report = load(LeakageReport, measured / "noisy.json")
    assert cut_names(report) == ["stem.1"]
    leak = report.rows[0].leakage
    assert leak.information_is == "bound"
    assert leak.reidentification_ceiling is not None
    assert leak.reidentification_ceiling < 1
    text = "\n".join(shown(report, 160))
    assert "nobody" in text
    assert "bits per" in text


def test_directions_that_are_kept_are_what_is_measured(measured: Path, run: Run) -> None:
    assert (
        run(*BARE, "--cuts", "stem.1", "--defense", "projection:rank=3 dropout:element:0,0.6", "-o", "kept.json").code
        == 0
    )
    rows = load(LeakageReport, measured / "kept.json").rows
    whole = {
        row.defense.rate: row for row in load(LeakageReport, measured / "out.json").rows if row.cut_name == "stem.1"
    }
    assert [row.defense.rate for row in rows] == [0.0, 0.6]
    for row in rows:
        assert row.defense.projection is not None
        assert row.defense.projection.rank == 3
        assert row.defense.projection.matrices is not None
        assert row.payload_bytes == 3
        assert row.leakage.dfil is None
    assert rows[0].leakage.index.value < whole[0.0].leakage.index.value


def test_a_cut_without_directions_to_leave_out_keeps_all_and_says_so(measured: Path, run: Run) -> None:
    run(*BARE, "--cuts", "stem.1", "--defense", "projection:rank=8 dropout:element:0,0.6", "-o", "kept.json")
    report = load(LeakageReport, measured / "kept.json")
    assert {row.defense.projection for row in report.rows} == {None}
    assert "stem.1 cannot be narrowed by projection:rank=8; it is measured without" in report.notes


@pytest.mark.usefixtures("measured")
def test_without_ridge_the_index_is_unmeasured(run: Run) -> None:
    ran = run(*LEAKAGE, "--cuts", "stem.1", "--estimators", "kde", "--json")
    assert {row["leakage"]["status"] for row in ran.document["rows"]} == {"unmeasured"}
    assert "not measured (--estimators without ridge)" in ran.err


@pytest.mark.usefixtures("here")
def test_no_figure_depends_on_the_memory(run: Run, target: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collabplan.records.memory.SMALL", 1)
    target(DATA)
    command = ("leakage", "model.py", "--cuts", "stem.1", "--defense", "none", "--json", "--memory")
    ample = run(*command, "4GB").document
    shutil.rmtree(".collabplan/leakage")
    narrow = run(*command, "1kB").document
    assert narrow["sample_count"] == ample["sample_count"]
    assert narrow["rows"] == ample["rows"]
    assert list(Path(".collabplan").glob("scratch/*")) == []


@pytest.mark.usefixtures("here")
def test_the_target_defaults_to_what_was_profiled_last(run: Run, target: Write) -> None:
    assert "no profile in .collabplan" in run("leakage").line
    target(DATA)
    run("profile", "model.py", "--seconds", "0.3", "--threads", "1")
    ran = run("leakage", *FEW, "--cuts", "stem.1")
    assert ran.code == 0
    assert "last profile .collabplan/profiles/Net-" in ran.out


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--cuts", "stm", "--cuts has the unknown 'stm'; near are stem"),
        ("--cuts", "", "--cuts is empty"),
        ("--estimators", "kde,ksq", "--estimators has the unknown 'ksq'; there are kde, sandwich, logdet"),
        ("--defense", "dropout:element:0,1", "is not possible: rate input should be less than 1"),
        ("--defense", "dropout:element:half", "'half' is neither a number nor a range"),
        ("--defense", "noise", "is not possible; give gaussian or laplace, as in noise:gaussian:0.05"),
        ("--defense", "noise:poisson:1", "is not possible; give gaussian or laplace"),
        ("--defense", "projection:share=1.5", "is not possible: share input should be less than 1"),
        ("--defense", "quantizer:bits=17", "is not possible: bits input should be less than or equal to 16"),
        ("--samples", "19", "--samples 19 is too few: leakage needs at least 20"),
        ("--memory", "4", "--memory: size '4' has no unit; write for example 200MB"),
        ("--memory", "0GB", "--memory: size '0GB' must be greater than zero"),
    ],
)
def test_bad_options_are_refused_in_one_line(run: Run, option: str, value: str, says: str) -> None:
    ran = run("leakage", "model.py", option, value)
    assert ran.code == 2
    assert says in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err


@pytest.mark.usefixtures("here")
def test_too_few_samples_in_the_data_are_refused(run: Run, target: Write) -> None:
    target(DATA.replace("_rows(1, 120)", "_rows(1, 12)"))
    ran = run("leakage", "model.py")
    assert ran.code == 2
    assert "leakage needs at least 20 samples, here are 12: validation_data has no more" in ran.err.splitlines()[-1]


CONTROLS = [
    ControlRow(control="constant T", estimator="kde", truth=0.0, value=0.0, lower=0.0, upper=0.0, passed=True),
    ControlRow(control="identity cut", estimator="kde", truth=None, value=7.6, lower=7.6, upper=1e9, passed=True),
    ControlRow(control="constant T", estimator="ridge", truth=0.0, value=None, passed=None, note="does not apply"),
]
FAILED = ControlRow(control="independent T", estimator="ridge", truth=0.0, value=0.4, passed=False, note="at most 0.02")


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> list[ControlRow]:
    """What the controls are made to find."""
    found = list(CONTROLS)
    monkeypatch.setattr("collabplan.workflows.leakage.run_controls", lambda *_, **__: tuple(found))
    return found


@pytest.mark.usefixtures("here", "controls")
def test_controls_need_no_target_and_print_a_table_of_80_columns(run: Run) -> None:
    ran = run("leakage", "--controls", "-o", "controls.json")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert max(map(len, lines[:-2])) <= 80
    assert sum("constant T" in line for line in lines) == 1
    for part in ("pass", "n/a", "ridge", "controls.json"):
        assert part in ran.out
    assert len(json.loads(Path("controls.json").read_text())["controls"]) == 3


@pytest.mark.usefixtures("here")
def test_a_failed_control_exits_1_and_says_which(run: Run, controls: list[ControlRow]) -> None:
    controls.append(FAILED)
    ran = run("leakage", "--controls", "--json")
    assert ran.code == 1
    assert ran.document["controls"][-1]["passed"] is False
    assert "ridge on independent T: at most 0.02" in ran.err
    assert "1 control failed: ridge on independent T" in ran.err.splitlines()[-1]


@pytest.mark.usefixtures("controls")
def test_with_a_target_the_controls_stand_in_the_report(measured: Path, run: Run) -> None:
    assert run(*LEAKAGE, "--controls", "-o", "with.json").code == 0
    assert list(load(LeakageReport, measured / "with.json").controls) == CONTROLS


@pytest.mark.usefixtures("here")
def test_the_real_controls_of_a_quick_estimator_pass(run: Run) -> None:
    ran = run("leakage", "--controls", "--estimators", "kde,ridge", "--samples", "200", "--json")
    assert ran.code == 0
    assert {row["estimator"] for row in ran.document["controls"]} == {"kde", "ridge"}


def test_the_output_counts_as_the_service_returns_it(measured: Path, run: Run, report: LeakageReport) -> None:
    assert any(note == "output alone: the label alone (`returns` is not declared)" for note in report.notes)
    found, model = {}, (measured / "model.py").read_text()
    for returns in ("label", "label+probability", "logits"):
        (measured / "model.py").write_text(f"{model}\nreturns = {returns!r}\n")
        assert run(*LEAKAGE, "--cuts", "edge-only", "--estimators", "ridge", "-o", "floor.json").code == 0
        made = load(LeakageReport, Path("floor.json"))
        assert made.output_floor is not None
        found[returns] = made.output_floor.leakage.index.value
        assert not any("is not declared" in note for note in made.notes)
    assert report.output_floor is not None
    assert found["label"] == pytest.approx(report.output_floor.leakage.index.value)
    assert found["label"] < found["label+probability"] < found["logits"]
