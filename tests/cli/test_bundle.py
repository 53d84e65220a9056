"""`bundle` writes two parts that open and compose, and refuses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from collabplan.runtime import open_cloud, open_edge
from command_line import PROFILE, SEARCH, Run, ran_in

WRITE = ("bundle", "plan.json", "-o", "bundle")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where model.py was profiled and a proper cut of it planned."""
    search = ("optimize", *SEARCH, "--max-edge-params", "60", "--trials", "21")
    return ran_in(tmp_path_factory.mktemp("made"), PROFILE, search)


@pytest.fixture
def planned(made: Path, here: Path) -> Path:
    """A copy of that folder as the working directory."""
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here


def test_bundle_writes_parts_that_compose(planned: Path, run: Run) -> None:
    ran = run(*WRITE)
    said = " ".join(ran.out.split())
    assert ran.code == 0, ran.err
    assert "compose to the model bit for bit" in said
    assert "WARNING" not in said
    edge, cloud = open_edge(planned / "bundle"), open_cloud(planned / "bundle")
    assert edge.manifest.bundle_id in said
    from collabplan.targets.target import load_target

    net, x = load_target("model.py").model.eval(), torch.rand(4, 6)
    with torch.no_grad():
        assert torch.equal(cloud.program(*edge.program(x)), net(x))


@pytest.mark.usefixtures("planned")
def test_json_names_the_parts_and_what_they_hold(run: Run) -> None:
    document = run(*WRITE, "--json").document
    assert document["composes"] is True
    assert (document["edge"], document["cloud"]) == ("bundle/edge", "bundle/cloud")
    assert document["fallback"] is False
    assert document["shared_tensors"] == []
    manifest = json.loads(Path("bundle/cloud/manifest.json").read_text())
    assert document["bundle_id"] == manifest["bundle_id"]
    assert document["payload_bytes"] == manifest["part"]["wire"]["payload_bytes"]


@pytest.mark.usefixtures("planned")
def test_a_fallback_is_said_loudly(run: Run) -> None:
    assert "WARNING: the edge part holds ALL weights" in run(*WRITE, "--with-fallback").out
    assert run(*WRITE, "--json").document["fallback"] is False, "an older bundle of the plan is replaced"


def test_folders_in_the_plan_do_not_travel_and_it_says_so(planned: Path, run: Run) -> None:
    text = (planned / "plan.json").read_text().replace('"spec": "model.py"', f'"spec": "{planned}/model.py"')
    (planned / "plan.json").write_text(text)
    ran = run(*WRITE)
    assert "files without their folders" in ran.out
    assert str(planned) not in (planned / "bundle" / "cloud" / "plan.json").read_text()


def test_an_edge_only_plan_has_one_part(planned: Path, run: Run) -> None:
    assert run("optimize", *SEARCH, "--trials", "21", "--max-payload", "1B").code == 0
    ran = run(*WRITE)
    assert ran.code == 0, ran.err
    assert "nothing is sent, and there is no cloud part" in ran.out
    assert not (planned / "bundle" / "cloud").exists()


def test_what_is_no_bundle_or_another_model_is_refused(planned: Path, run: Run) -> None:
    (planned / "bundle").mkdir()
    (planned / "bundle" / "mine").write_text("mine")
    refused = run(*WRITE)
    assert refused.code == 2
    assert "is no bundle (it holds mine)" in refused.err.splitlines()[-1]
    path = planned / "model.py"
    path.write_text(path.read_text().replace("return Net()", "torch.manual_seed(9); return Net()"))
    refused = run("bundle", "plan.json", "-o", "other")
    assert refused.code == 2
    assert "other weights" in refused.err.splitlines()[-1]
    assert not (planned / "other").exists()


@pytest.mark.usefixtures("here")
def test_usage(run: Run) -> None:
    assert run("bundle", "absent.json", "-o", "bundle").code == 2
    assert run("bundle", "absent.json").code == 2
    assert run("bundle", "absent.json", "-o", "bundle", "--format", "tflite").code == 2
