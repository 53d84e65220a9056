"""The whole way on a small model: profile, optimize, split; and what each command refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from collabplan.graph import load_program
from collabplan.records import Candidate, EdgePower, MeasuredPower, Plan, Profile, load, save
from command_line import PROFILE, SEARCH, Ran, Run, ran_in
from filelock import FileLock
from target_files import DATA, NET

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where model.py was profiled and optimized."""
    return ran_in(tmp_path_factory.mktemp("made"), PROFILE, ("optimize", *SEARCH))


@pytest.fixture
def planned(made: Path, here: Path) -> Path:
    """A copy of that folder as the working directory."""
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here


@pytest.mark.usefixtures("here")
def test_profile_prints_tables_of_80_columns_and_keeps_the_file(run: Run, target: Write) -> None:
    ran = run("profile", str(target().name), "--seconds", "0.3", "-o", "out.json")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= 200
    for part in (
        "power ",
        "built by the function `model`",
        "Most expensive nodes",
        "Candidate cuts",
        "payload",
        "cloud ms",
        "±",
    ):
        assert part in ran.out
    profile = load(Profile, Path("out.json"))
    assert profile.target.spec == "model.py"
    assert "out.json" in ran.out
    assert (Path(".collabplan") / "last-profile").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
def test_what_a_search_keeps_is_its_users_alone(made: Path) -> None:
    kept = [made / ".collabplan", *(made / ".collabplan").rglob("*")]
    assert {"study.db", "lock", "profiles", "last-profile"} <= {path.name for path in kept}
    assert [str(path) for path in kept if path.stat().st_mode & 0o077] == []


def test_without_a_target_the_last_profile_is_taken_and_named(planned: Path, run: Run) -> None:
    ran = run("optimize", *SEARCH)
    assert ran.code == 0
    assert "last profile .collabplan/profiles/Net-" in ran.out
    assert "assumed: give --bandwidth" in ran.out.replace("\n", " ")
    for part in ("Front on the search split", "Chosen plan", "latency-optimal", "cloud-only", "edge-only", "middle"):
        assert part in ran.out
    assert load(Plan, planned / "plan.json").link.source == "assumed"


def test_a_changed_file_is_refused_without_a_target_and_profiled_anew_with_one(planned: Path, run: Run) -> None:
    (planned / "model.py").write_text(NET + DATA + "\n# changed\n")
    ran = run("optimize", *SEARCH)
    assert ran.code == 2
    assert "model.py has changed since it was profiled" in ran.line
    assert "profiling it now" in run("optimize", "model.py", *SEARCH).out


def test_a_reader_who_leaves_early_loses_no_profile(here: Path, target: Write) -> None:
    target(DATA)
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does once it has its lines
    code = f"from collabplan.cli.main import main; main({list(PROFILE)})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((here / ".collabplan" / "profiles").glob("*.json"))


@pytest.mark.usefixtures("planned")
def test_halves_of_a_plan_that_stays_on_the_device_send_nothing(run: Run) -> None:
    assert load(Plan, Path("plan.json")).cut_kind == "edge-only"
    assert "the edge half computes the whole answer, nothing is sent" in run("split", "plan.json", "-o", "halves").out
    assert run("optimize", *SEARCH, "--max-edge-params", "60").code == 0
    out = run("split", "plan.json", "-o", "others").out
    assert "crosses\n" in out


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("command", [("explain", "plan.json"), ("attack", "plan.json", "--attacks", "ridge")])
def test_where_nothing_is_sent_no_attack_and_no_server_come_next(command: tuple[str, ...], run: Run) -> None:
    ran = run(*command)
    assert ran.code == 0, ran.err
    last = ran.out.strip().splitlines()[-1]
    assert last == "next: collabplan bundle plan.json -o bundle  (the device's part: no server)"


def test_json_is_one_document_and_everything_else_goes_to_stderr(planned: Path, run: Run) -> None:
    ran = run("optimize", *SEARCH, "--json", "-o", "other.json", "--bandwidth", "8mbps", "--rtt", "40ms")
    document = ran.document
    assert document["plan_file"] == "other.json"
    assert document["plan"]["link"]["source"] == "declared"
    assert {baseline["role"] for baseline in document["baselines"]} >= {"cloud-only", "edge-only"}
    assert "Front on the search split" in ran.err
    assert json.loads((planned / "other.json").read_text()) == document["plan"]


@pytest.mark.usefixtures("planned")
def test_a_search_goes_on_by_itself_and_the_count_is_a_total(run: Run) -> None:
    ran = run("optimize", *SEARCH, "--trials", "5", "--json")
    assert (ran.document["trials"], ran.document["reused"]) == (5, 3)
    assert "going on with search-1: 3 candidates were measured before" in ran.err
    fresh = run("optimize", *SEARCH, "--fresh", "--json")
    assert (fresh.document["trials"], fresh.document["reused"], fresh.document["study"]) == (3, 0, "search-2")
    assert "a new search begins, search-2" in fresh.err


def test_no_plan_exits_1_names_the_nearest_miss_and_writes_nothing(planned: Path, run: Run) -> None:
    (planned / "plan.json").unlink()
    ran = run("optimize", *SEARCH, "--budget-ms", "0.0001", "--json")
    assert ran.code == 1
    assert ran.document["plan"] is None
    assert "no plan meets the budgets" in ran.err.splitlines()[-1]
    assert "Raise the budget that it misses" in ran.err.splitlines()[-1]
    assert ran.document["nearest_miss"]
    assert not (planned / "plan.json").exists()


def test_a_plan_of_another_search_is_kept_before_the_work_and_the_same_search_goes_on(
    planned: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["collabplan", "optimize"])
    before = (planned / "plan.json").read_bytes()
    kept = run("optimize", *SEARCH, "--seed", "1")
    assert kept.code == 2
    assert "plan.json exists already and holds the plan of another study" in kept.line
    assert (planned / "plan.json").read_bytes() == before
    assert run("optimize", *SEARCH, "--trials", "5").code == 0
    assert load(Plan, planned / "plan.json").trials == 5
    assert run("optimize", *SEARCH, "--seed", "1", "--force").code == 0
    assert load(Plan, planned / "plan.json").study == "search-2"


@pytest.mark.usefixtures("planned")
def test_without_attacks_a_plan_says_that_it_is_estimated(run: Run) -> None:
    ran = run("optimize", *SEARCH, "--max-edge-params", "60")
    assert "ESTIMATED, not audited" in " ".join(ran.out.split())
    assert "ESTIMATED, not audited" in load(Plan, Path("plan.json")).headline
    assert "--max-linkage can only be checked by attacks" in run("optimize", *SEARCH, "--max-linkage", "0.5").line


@pytest.mark.usefixtures("planned")
def test_the_plan_that_wins_was_attacked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from collabplan.attacks import EFFORTS, Effort

    monkeypatch.setitem(EFFORTS, "quick", Effort("quick", 40, 60, 10, 5, 4, 8, False))
    audits = (
        *("--audit", "--audits", "1", "--audit-effort", "quick", "--audit-seeds", "1"),
        *("--max-edge-params", "60", "--trials", "8"),
    )
    ran = run("optimize", *SEARCH, *audits)
    said = " ".join(ran.out.split())
    assert ran.code == 0
    assert "AUDITED, white-box" in said
    assert "a LOWER BOUND: more effort recovers more" in said
    assert "so nothing is predicted" in said
    plan = load(Plan, Path("plan.json"))
    assert plan.chosen.audited is not None
    assert plan.chosen.audited.split == "confirm"
    again = run("optimize", *SEARCH, *audits, "--json").document
    assert again["plan"]["chosen"] == plan.chosen.model_dump(mode="json")
    assert again["audits"] >= 1


TUNED = """
def model():
    net = Net()
    with torch.no_grad():
        net.head.bias -= net(_rows(1, 120)[0]).mean(dim=0)  # else it answers one class to nearly all
    return net

def validation_data():
    return _rows(1, 120)[0]

def train_data():
    return _rows(3, 600)[0]
"""


def test_a_tuned_cloud_half_goes_with_its_plan(here: Path, run: Run, target: Write) -> None:
    target(DATA + TUNED)
    run("profile", "model.py", "--seconds", "0.3", "--threads", "1")
    tuning = ("--finetune", "5", "--max-edge-params", "60", "--trials", "21")
    ran = run("optimize", *SEARCH, *tuning, "--json")
    assert ran.code == 0
    plan = load(Plan, Path("plan.json"))
    assert plan.chosen.tuned
    assert plan.tuned_weights is not None
    assert plan.tuned_weights.file == "plan.weights.safetensors"
    assert ran.document["plan"] == plan.model_dump(mode="json")
    for command in ("split", "bundle"):
        said = run(command, "plan.json", "-o", command).out
        assert "the model with the fine-tuned cloud half bit for bit" in " ".join(said.split())
    stored = [(here / command / "cloud" / "weights.safetensors").read_bytes() for command in ("split", "bundle")]
    assert stored[0] == stored[1]
    assert run("attack", "plan.json", "--attacks", "ridge").code == 0
    row = 1 + next(at for at, one in enumerate(run("front", "plan.json", "--json").document["rows"]) if one["tuned"])
    (here / "bare.json").write_text(plan.model_copy(update={"tuned_weights": None}).model_dump_json())
    assert run("front", "bare.json", "--export", str(row), "--no-audit", "--max-accuracy-drop", "1").code == 0
    assert load(Plan, here / "other.json").chosen.tuned, "also where the plan that was found is not"
    assert (here / "other.weights.safetensors").exists()
    kept = (here / "plan.weights.safetensors").read_bytes()
    (here / "plan.weights.safetensors").write_bytes(kept[:-4] + b"\0\0\0\1")
    assert "holds other fine-tuned weights than plan plan.json" in run("split", "plan.json", "-o", "halves").err
    (here / "plan.weights.safetensors").unlink()
    assert "copy it beside the plan" in run("split", "plan.json", "-o", "halves").err


@pytest.mark.usefixtures("planned")
def test_fine_tuning_without_training_data_is_refused(run: Run) -> None:
    assert "fine-tuning needs train_data" in run("optimize", *SEARCH, "--finetune", "1").err


@pytest.mark.usefixtures("planned")
def test_bits_noise_and_masks_are_searched(run: Run) -> None:
    wires = []
    for kind in ("element", "channel"):
        family = f"dropout:{kind}:keyed:0,0.1..0.9 noise:gaussian:0,0.1 quantizer:bits=8,2"
        wires += ["--defense", family]
    ran = run("optimize", *SEARCH, *wires, "--max-edge-params", "60", "--trials", "30", "--json")
    front = ran.document["front"]
    records = [Candidate.model_validate(candidate).defense for candidate in front]
    assert {record.bits for record in records} == {8, 2}
    assert {record.noise and record.noise.distribution for record in records} == {None, "gaussian"}
    assert ran.document["plan"]["defense"]["masks"] == "keyed"
    assert "bits input should be less than" in run("optimize", *SEARCH, "--defense", "quantizer:bits=17").err
    assert "is empty" in run("optimize", *SEARCH, "--defense", " ").err


@pytest.mark.usefixtures("planned")
def test_a_plan_that_keeps_some_directions_goes_with_their_matrices(here: Path, run: Run) -> None:
    families = [f"projection:share=0.5,0.25 dropout:{kind}:0,0.1..0.9" for kind in ("element", "channel")]
    kept = (
        *(word for family in families for word in ("--defense", family)),
        "--max-edge-params",
        "60",
        "--trials",
        "20",
        "--artifacts",
        str(here / "shared"),
    )
    ran = run("optimize", *SEARCH, *kept, "--json")
    assert ran.code == 0
    plan = load(Plan, Path("plan.json"))
    assert plan.defense.projection is not None
    assert plan.projection is not None
    assert re.fullmatch(r"plan\.projection-\w{8}\.safetensors", plan.projection.file)
    assert plan.defense.projection.words in " ".join(run("explain", "plan.json").out.split())
    assert run("split", "plan.json", "-o", "halves").code == 0
    assert run("bundle", "plan.json", "-o", "bundle", "--json").document["payload_bytes"] == plan.chosen.payload_bytes
    assert (here / "bundle" / "edge" / "projection.safetensors").exists()
    assert run("attack", "plan.json", "--attacks", "ridge").code == 0
    (here / plan.projection.file).unlink()
    for command in (("attack", "plan.json"), ("bundle", "plan.json", "-o", "other")):
        assert "the projection of plan plan.json, cannot be read" in " ".join(run(*command).err.split())
    assert not (here / "other").exists()
    for wrong in ("0", "1.5", "most"):
        assert "--defense 'projection:share=" in run("optimize", *SEARCH, "--defense", f"projection:share={wrong}").err


TAUGHT = """
def model():
    torch.manual_seed(6)  # two classes, and as many of each
    return Net()

def _taught(seed, count):
    rows, _ = _rows(seed, count)
    with torch.no_grad():
        return rows, model()(rows).argmax(1)

def validation_data():
    return _taught(1, 120)

def train_data():
    return _taught(3, 600)
"""


def test_a_plan_of_a_few_numbers_in_place_of_the_whole_tensor(here: Path, run: Run, target: Write) -> None:
    target(DATA + TAUGHT)
    run("profile", *PROFILE[1:])
    kept = ("--defense", "projection:rank=2 quantizer:bits=3", "--finetune", "5", "--max-edge-params", "60")
    assert run("optimize", *SEARCH, *kept).code == 0
    plan = load(Plan, Path("plan.json"))
    assert (plan.defense.unfitted.text, plan.chosen.payload_bytes) == ("projection:rank=2 quantizer:bits=3", 1)
    assert plan.chosen.tuned
    assert "rank-2 projection" in " ".join(run("explain", "plan.json").out.split())
    assert run("bundle", "plan.json", "-o", "bundle", "--json").document["payload_bytes"] == 1
    audited = run("attack", "plan.json", "--attacks", "ridge", "--json")
    assert audited.code == 0, audited.err
    found = {one["cut_name"]: one for one in (*audited.document["audits"], audited.document["output_floor"])}
    assert found.keys() == {plan.cut_name, "edge-only"}
    assert found["edge-only"]["accuracy"]["value"] == 1.0, "of the model itself, whatever was tuned for the plan"
    assert (here / "bundle" / "cloud" / "projection.safetensors").exists()
    assert "give element or channel" in run("optimize", *SEARCH, "--defense", "dropout:rows:0.5").err


@pytest.mark.usefixtures("planned")
def test_energy_is_declared(run: Run) -> None:
    powered("last.json", watts=None)
    ran = run("optimize", *SEARCH, "--edge-watts", "2", "--joules-per-mb", "5", "--max-energy-mj", "100")
    said = " ".join(ran.out.split())
    assert "edge power 2.00 W and 5 J/MB, declared" in said
    assert "mJ a request, power 2.00 W and 5 J/MB, declared" in said
    assert "Edge mJ: a request, declared." in said
    plan = load(Plan, Path("plan.json"))
    assert plan.edge_power is not None
    assert "mJ (declared)" in plan.headline
    profile = ("--profile", "last.json")
    missing = "needs --edge-watts: its profile has no measured power (no counter here)"
    assert f"--max-energy-mj {missing}" in run("optimize", *SEARCH, *profile, "--max-energy-mj", "1").err
    assert f"the objective energy {missing}" in run("optimize", *SEARCH, *profile, "--objectives", "leakage,energy").err
    assert "--joules-per-mb needs --edge-watts" in run("optimize", *SEARCH, *profile, "--joules-per-mb", "1").err
    assert "--edge-watts" in run("optimize", *SEARCH, "--edge-watts", "-1").line


def powered(name: str, watts: float | None) -> None:
    """Writes the last profile with a measured power, or with a reason why there is none."""
    path = next(Path(".collabplan/profiles").glob("*-both.json"))
    power = None
    if watts is not None:
        power = MeasuredPower(watts=watts, idle_watts=1.5, source="powercap", seconds=1.0, idle_seconds=1.0)
    missing = "no counter here" if power is None else None
    save(load(Profile, path).model_copy(update={"power": power, "power_missing": missing}), Path(name))


@pytest.mark.usefixtures("planned")
def test_energy_is_measured_with_the_edges_profile(run: Run) -> None:
    powered("measured.json", watts=12.5)
    measured = ("--profile", "measured.json")
    label = "measured (powercap: package, idle included)"
    ran = run("optimize", *SEARCH, *measured, "--objectives", "accuracy,leakage,energy", "--max-energy-mj", "1000")
    said = " ".join(ran.out.split())
    assert ran.code == 0
    assert f"edge power 12.5 W, {label}" in said
    assert f"Edge mJ: a request, {label}." in said
    plan = load(Plan, Path("plan.json"))
    assert plan.edge_power == EdgePower(watts=12.5, source="powercap")
    assert f"mJ ({label})" in plan.headline
    assert f"power 12.5 W, {label}" in " ".join(run("explain", "plan.json").out.split())
    assert label in " ".join(run("front", "plan.json").out.split())

    radio = run("optimize", *SEARCH, *measured, "--joules-per-mb", "5", "--json").document["edge_power"]
    assert radio == {"watts": 12.5, "joules_per_megabyte": 5.0, "source": "powercap"}
    declared = run("optimize", *SEARCH, *measured, "--edge-watts", "2", "--json").document["edge_power"]
    assert (declared["watts"], declared["source"]) == (2.0, "declared")


@pytest.mark.usefixtures("planned")
def test_the_power_of_another_machine_is_not_the_edges(run: Run) -> None:
    powered("measured.json", watts=12.5)
    slower = ("--profile", "measured.json", "--edge-slowdown", "4")
    ran = run("optimize", *SEARCH, *slower)
    why = "the power measured with its profile is not that of an edge declared 4 times slower"
    assert f"energy not reported: {why}" in " ".join(ran.out.split())
    assert load(Plan, Path("plan.json")).edge_power is None
    assert f"needs --edge-watts: {why}" in run("optimize", *SEARCH, *slower, "--max-energy-mj", "1").err
    assert run("optimize", *SEARCH, *slower, "--edge-watts", "1").code == 0
    edge_power = load(Plan, Path("plan.json")).edge_power
    assert edge_power is not None
    assert edge_power.source == "declared"


@pytest.mark.usefixtures("planned")
def test_objectives_can_be_chosen(run: Run) -> None:
    chosen = ("--objectives", "energy,leakage,accuracy,payload", "--edge-watts", "2", "--trials", "8")
    ran = run("optimize", *SEARCH, *chosen)
    assert ran.code == 0
    head = "Front on the search split by accuracy, leakage, energy, payload"
    assert head in " ".join(ran.out.split())
    assert load(Plan, Path("plan.json")).objectives == ("accuracy", "leakage", "energy", "payload")
    assert head in " ".join(run("front", "plan.json").out.split())
    said = " ".join(run("explain", "plan.json").out.split())
    assert "The front is made of accuracy, leakage, energy, payload." in said
    assert " B sent against" in said
    assert "there is no objective 'speed'" in run("optimize", *SEARCH, "--objectives", "accuracy,speed").line
    assert "no set of two or more" in run("optimize", *SEARCH, "--objectives", "accuracy").line
    named = run("optimize", *SEARCH, *chosen[:2], "--edge-watts", "2", "--reuse", "search-1")
    assert named.code == 2
    assert "objectives was accuracy, latency, leakage, now accuracy, leakage, energy" in named.err.replace("\n", " ")


@pytest.mark.usefixtures("planned")
def test_another_device_reuses_what_was_measured(run: Run) -> None:
    run("profile", "model.py", "--seconds", "0.3", "--threads", "1", "-o", "new.json")
    everything = (*SEARCH, "--trials", "21", "--max-edge-params", "60")
    first = run("optimize", *everything, "--json").document
    ran = run(
        "optimize", *everything, "--profile", "new.json", "--reuse", first["study"], "--bandwidth", "1mbps", "--json"
    )
    assert (ran.document["study"], ran.document["reused"]) == (first["study"], 14), "all that there are"
    assert ran.document["plan"]["chosen"]["latency"] != first["plan"]["chosen"]["latency"]
    assert "has no study 'search-9'; there are: search-1" in run("optimize", *SEARCH, "--reuse", "search-9").err
    assert (
        "--profile is for both" in run("optimize", *SEARCH, "--profile", "new.json", "--edge-profile", "new.json").line
    )


@pytest.mark.usefixtures("planned")
def test_front_lists_filters_and_exports(run: Run) -> None:
    run("optimize", *SEARCH, "--max-edge-params", "60", "--trials", "21")
    rows = run("front", "plan.json", "--json").document["rows"]
    assert len(rows) > 3
    kept = sum(row["meets_budgets"] for row in rows)
    assert f"({kept} of {len(rows)} within budgets)" in run("front", "plan.json").out
    assert f"(0 of {len(rows)} within budgets)" in run("front", "plan.json", "--budget-ms", "0.001").out
    ran = run("front", "plan.json", "--export", "2", "--no-audit")
    assert ran.code == 0
    first, other = load(Plan, Path("plan.json")), load(Plan, Path("other.json"))
    assert other.searched.cut_id == rows[1]["cut_id"]
    assert other.searched.model_dump(mode="json")["defense"] == rows[1]["defense"]
    assert other.front == first.front
    assert other.chosen.accuracy.sample_count == first.chosen.accuracy.sample_count
    assert run("split", "other.json", "-o", "halves").code == 0
    assert "there is no row 99" in run("front", "plan.json", "--export", "99").err
    missed = run("front", "plan.json", "--export", "2", "--no-audit", "--max-leakage", "0", "-o", "third.json")
    assert missed.code == 1
    assert not Path("third.json").exists()


@pytest.mark.usefixtures("planned")
def test_explain_says_what_was_rejected_and_by_how_much(run: Run) -> None:
    run("optimize", *SEARCH, "--max-edge-params", "60", "--trials", "21")
    ran = run("explain", "plan.json")
    said = " ".join(ran.out.split())
    assert ran.code == 0
    for part in ("The plan", "Why this one", "tightest budget", "latency-optimal", "What was rejected", "ESTIMATED by"):
        assert part in said
    assert "misses a budget: edge parameters 83 against 60" in said
    assert "is within the budgets and leaks more" in said
    document = run("explain", "plan.json", "--json").document
    assert document["sections"]["Why this one"][0].startswith("Of 14 measured candidates it leaks least")


def test_a_second_optimize_in_the_same_folder_is_refused(planned: Path, run: Run) -> None:
    with FileLock(planned / ".collabplan" / "lock"):
        ran = run("optimize", *SEARCH)
    assert ran.code == 2
    assert "another optimize" in ran.err.splitlines()[-1]


@pytest.mark.usefixtures("planned")
def test_a_profile_of_one_role_needs_the_other(run: Run) -> None:
    run("profile", "model.py", "--role", "edge", "--seconds", "0.3", "-o", "edge.json")
    assert "--cloud-profile" in run("optimize", "--budget-ms", "50", "--edge-profile", "edge.json").line
    run("profile", "model.py", "--role", "cloud", "--seconds", "0.3", "-o", "cloud.json")
    both = ("--edge-profile", "edge.json", "--cloud-profile", "cloud.json")
    assert run("optimize", *SEARCH, *both).code == 0
    assert "--edge-slowdown is for one profile" in run("optimize", *SEARCH, *both, "--edge-slowdown", "2").line


def test_a_profile_of_another_model_is_refused(planned: Path, run: Run) -> None:
    (planned / "other.py").write_text(NET.replace("Linear(8, 3)", "Linear(8, 4)") + DATA)
    profile = next((planned / ".collabplan" / "profiles").glob("*-both.json"))
    ran = run("optimize", "other.py", *SEARCH, "--edge-profile", str(profile))
    assert ran.code == 2
    assert "another structure" in ran.err


def split(run: Run) -> Ran:
    return run("split", "plan.json", "-o", "halves", "--json")


def test_split_writes_halves_that_compose(planned: Path, run: Run) -> None:
    ran = split(run)
    assert ran.code == 0, ran.err
    assert ran.document["composes"] is True
    edge, cloud = load_program(planned / "halves" / "edge"), load_program(planned / "halves" / "cloud")
    from collabplan.targets.target import load_target

    net = load_target("model.py").model.eval()
    x = torch.rand(4, 6)
    with torch.no_grad():
        assert torch.equal(cloud(*edge(x)), net(x))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("return Net()", "torch.manual_seed(9); return Net()"), "other weights"),
        (lambda text: text.replace("nn.ReLU()", "nn.Tanh()"), "another structure"),
    ],
)
def test_split_says_what_differs(planned: Path, run: Run, change: Callable[[str], str], says: str) -> None:
    path = planned / "model.py"
    path.write_text(change(path.read_text()))
    ran = split(run)
    assert ran.code == 2
    assert says in ran.err.splitlines()[-1]
    assert ran.out == ""
    assert not (planned / "halves").exists()


def test_split_says_when_torch_differs(planned: Path, run: Run) -> None:
    plan = load(Plan, planned / "plan.json")
    other = plan.model.model_copy(update={"torch_version": "2.8.0", "structure_hash": "0" * 64})
    (planned / "plan.json").write_text(plan.model_copy(update={"model": other}).model_dump_json())
    assert "made under torch 2.8.0" in split(run).err.splitlines()[-1]


def test_split_finds_the_model_beside_the_plan_or_where_it_is_told(planned: Path, run: Run, here: Path) -> None:
    (here / "elsewhere").mkdir()
    for name in ("model.py", "plan.json"):
        (planned / name).rename(here / "elsewhere" / name)
    assert run("split", "elsewhere/plan.json", "-o", "halves").code == 0
    (here / "elsewhere" / "model.py").rename(here / "moved.py")
    assert "does not exist" in run("split", "elsewhere/plan.json", "-o", "others").line
    assert run("split", "elsewhere/plan.json", "-o", "halves", "--model", "moved.py", "--force").code == 0


def test_a_plan_without_a_place_to_write_to(planned: Path, run: Run) -> None:
    (planned / "halves").write_text("a file is in the way")
    ran = run("split", "plan.json", "-o", "halves")
    assert ran.code == 2
    assert "cannot write halves: it is a file" in ran.line


def test_init_writes_a_target_and_does_not_replace_one(here: Path, run: Run) -> None:
    assert run("init").code == 0
    compile((here / "model.py").read_text(), "model.py", "exec")
    assert "exists already" in run("init").line
    assert run("init", "--force").code == 0
    assert "does not end in .py" in run("init", "model.txt").line


def test_the_file_of_init_can_be_profiled(here: Path, run: Run) -> None:
    run("init")
    text = (here / "model.py").read_text().replace("range(15)", "range(1)")
    (here / "model.py").write_text(text)
    assert run("profile", "model.py", "--seconds", "0.3", "--threads", "1").code == 0
