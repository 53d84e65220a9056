"""`collabplan export`: files that other tools open, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import report_plans as known
from collabplan.records import Candidate, LeakageReport, LeakageRow, Plan, Profile, load, save
from collabplan.report.node_figures import node_id
from command_line import PROFILE, SEARCH, Run, ran_in
from target_files import DATA, NET
from without_packages import ran_without

LEAKAGE = ("leakage", "--estimators", "ridge", "--samples", "60", "-o", "leakage.json")
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")),
    reason="onnx and onnxscript are not installed (the extra [onnx])",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where model.py was profiled and optimized, with a plan that cuts it, and its leakage estimated."""
    search = ("optimize", *SEARCH, "--max-edge-params", "60")
    return ran_in(tmp_path_factory.mktemp("made"), PROFILE, search, LEAKAGE)


@pytest.fixture
def planned(made: Path, here: Path) -> Path:
    """A copy of that folder as the working directory."""
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here


def read(file: str) -> Any:
    return json.loads(Path(file).read_text())


@pytest.mark.usefixtures("planned")
def test_a_profile_is_exported_without_running_the_model(run: Run) -> None:
    Path("model.py").write_text("raise SystemExit('this code must not run')")
    ran = run("export", "-o", "figures", "--json")
    assert ran.code == 0
    assert ran.document["files"] == ["figures/model-explorer/latency-p50-ms.json", "figures/trace.json"]
    nodes = {node_id(node): node.timing.p50_ms for node in profiled().nodes}
    latencies = read("figures/model-explorer/latency-p50-ms.json")["results"]
    assert {name: each["value"] for name, each in latencies.items()} == nodes
    trace = read("figures/trace.json")["traceEvents"]
    assert [each["name"] for each in trace if each["ph"] == "X"] == [
        *(node.name for node in profiled().nodes),
        "whole model",
    ]
    assert "no leakage is shown" in ran.err


@pytest.mark.usefixtures("planned")
def test_a_plan_divides_the_trace_and_brings_its_leakage(run: Run) -> None:
    plan, profile = load(Plan, Path("plan.json")), profiled()
    assert run("export", "plan.json", "--leakage", "leakage.json", "-o", "figures").code == 0
    trace = read("figures/trace.json")
    assert trace["otherData"]["cut"] == plan.cut_name
    rows: dict[tuple[int, int], list[str]] = {}
    for each in trace["traceEvents"]:
        if each["ph"] == "X":
            rows.setdefault((each["pid"], each["tid"]), []).append(each["name"])
    names = [node.name for node in profile.nodes]
    last = names.index(plan.crossing[0].node) + 1
    assert list(rows.values())[-2:] == [names[:last], names[last:]]
    report = load(LeakageReport, Path("leakage.json"))
    row = next(each for each in report.rows if each.cut_id == plan.cut_id and each.defense.dropout is not None)
    name = row.defense.text.replace(":", "-")
    shown = read(f"figures/model-explorer/leakage-upper-end-{name}-estimated.json")["results"]
    searched = [each.index.high for each in (plan.chosen, *plan.front) if point(each) == point_of_row(row)]
    assert shown[node_id(profile.nodes[last - 1])] == {"value": max([row.leakage.index.high, *searched])}


@needs_onnx
@pytest.mark.usefixtures("planned")
def test_an_onnx_file_names_nodes_and_cuts_with_their_figures(run: Run) -> None:
    import onnx

    assert run("export", "plan.json", "--leakage", "leakage.json", "--format", "onnx", "-o", "figures").code == 0
    model = onnx.load("figures/model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [path.name for path in Path("figures").iterdir()] == ["model.onnx"]
    assert "sum over nodes is not the model's latency" in " ".join(model.doc_string.split())
    notes = {node.name: {each.key: each.value for each in node.metadata_props} for node in model.graph.node}
    for node in profiled().nodes:
        assert float(notes[node_id(node)]["p50_ms"]) == pytest.approx(node.timing.p50_ms, rel=1e-4)
    crossing = load(Plan, Path("plan.json")).crossing[0].node
    at_cut = next(notes[node_id(node)] for node in profiled().nodes if node.name == crossing)
    assert " [" in at_cut["leakage"]
    assert "estimated" in at_cut["leakage"]
    told = {each.key: each.value for each in model.metadata_props}
    assert [told["cut" + number].split(":")[0] for number in ("", " 2")] == ["cloud-only", profiled().cuts[1].name]
    (given,) = (each.value for each in model.graph.input[0].metadata_props if each.key == "cut")
    assert given.startswith("cloud-only: cloud ")


@needs_onnx
@pytest.mark.usefixtures("planned")
def test_a_profile_alone_is_enough_for_onnx(run: Run) -> None:
    assert run("export", "--format", "onnx", "-o", "figures").code == 0


@pytest.mark.usefixtures("planned")
def test_files_that_lie_there_are_kept_unless_forced(run: Run) -> None:
    for code in (0, 2):
        ran = run("export", "-o", "figures")
        assert ran.code == code
    assert "holds files already" in ran.line
    assert run("export", "-o", "figures", "--force").code == 0


@pytest.mark.usefixtures("here")
def test_what_stands_in_the_way_is_one_line(run: Run, here: Path) -> None:
    def refused(*arguments: str) -> str:
        ran = run("export", *arguments, "-o", "figures")
        assert ran.code == 2
        assert not Path("figures").exists()
        return ran.line

    assert "no profile in .collabplan" in refused()
    assert "does not exist" in refused("plan.json")
    save(known.plan(), here / "plan.json")
    assert "no profile of the plan's model on its device is kept here; give --profile FILE" in refused("plan.json")
    assert "is not a profile" in refused("--profile", "plan.json")
    assert "is not one of" in refused("--format", "tensorflow")


@pytest.mark.usefixtures("planned")
def test_figures_of_another_model_are_refused(run: Run, here: Path) -> None:
    save(known.plan(), here / "other.json")
    for command in (("other.json", "--profile", str(kept())), ("plan.json", "--leakage", "other.json")):
        ran = run("export", *command, "-o", "figures")
        assert ran.code == 2
        assert "the plan was made under torch" in ran.line or "is not a leakage" in ran.line
    Path("model.py").write_text(NET.replace("8, 3", "8, 4") + DATA)
    changed = run("export", "--format", "onnx", "-o", "figures")
    assert changed.code == 2
    assert "the profile is for a model of another structure" in changed.err
    assert not Path("figures").exists()


def test_without_its_packages_onnx_names_its_extra(made: Path) -> None:
    command = ("export", "--format", "onnx", "-o", "figures")
    (ran,) = ran_without(["onnx", "onnxscript"], [command], made)
    assert ran.code == 2
    assert ran.err == "collabplan: this needs onnx, which is not installed; run: pip install 'collabplan[onnx]'\n"


def point(one: Candidate) -> tuple[str, str]:
    return one.cut_id, one.defense.text


def point_of_row(row: LeakageRow) -> tuple[str, str]:
    return row.cut_id, row.defense.text


def kept() -> Path:
    (file,) = Path(".collabplan/profiles").glob("*.json")
    return file


def profiled() -> Profile:
    return load(Profile, kept())
