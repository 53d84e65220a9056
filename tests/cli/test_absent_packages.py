"""An extra that is not installed is one line that names package and extra, in every command that needs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from bundle_plans import middle, plan_of
from collabplan.graph import candidate_cuts
from collabplan.records import save
from collabplan.records.extras import EXTRAS
from collabplan.targets import load_target
from defense_records import defense_record
from serving import serving, written
from target_files import DATA, NET
from without_packages import PLAN, ran_without


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target with a plan for it, and a bundle of another model."""
    made_in = tmp_path_factory.mktemp("absent")
    (made_in / "model.py").write_text(NET + DATA)
    traced = load_target(str(made_in / "model.py")).trace()
    inputs = (torch.rand(4, 6, generator=torch.Generator().manual_seed(0)),)
    save(plan_of(traced, middle(candidate_cuts(traced)), inputs, defense_record()), made_in / "plan.json")
    written(made_in / "bundle")
    return made_in


def refusals(packages: Sequence[str], commands: Sequence[Sequence[str]], folder: Path) -> set[str]:
    """The packages that the commands name, each in one line with the extra that brings it."""
    lines = {module: f"this needs {package}, which is not installed; run: pip install 'collabplan[{extra}]'"
             for module, (package, extra) in EXTRAS.items()}  # fmt: skip
    named = set()
    for command, ran in zip(commands, ran_without(packages, commands, folder), strict=True):
        assert ran.code == 2, (command, ran)
        found = [module for module, line in lines.items() if ran.err.splitlines()[-1] == f"collabplan: {line}"]
        assert len(found) == 1, (command, ran.err)
        assert "Traceback" not in ran.err
        named |= set(found)
    return named


def test_commands_that_talk_to_the_cloud_name_the_extra_device(folder: Path) -> None:
    commands = [
        ("serve", "bundle"),
        ("infer", "bundle", "--data", "x.npy"),
        ("verify", "plan.json"),
        ("link", "127.0.0.1:1", "--bundle", "b" * 64),
    ]
    write_inputs(folder / "x.npy")
    assert refusals(["grpc"], commands, folder) == {"grpc"}
    assert refusals(["google"], commands, folder) == {"google"}


@pytest.mark.parametrize(
    ("package", "options"), [("grpc_health", ()), ("prometheus_client", ("--metrics", "127.0.0.1:0"))]
)
def test_the_server_names_the_extra_server(folder: Path, package: str, options: tuple[str, ...]) -> None:
    assert refusals([package], [("serve", "bundle", "--listen", "127.0.0.1:0", *options)], folder) == {package}


def test_commands_that_plan_name_the_extra_plan(folder: Path) -> None:
    commands = [
        ("profile", "model.py", "--seconds", "0.3"),
        ("leakage", "model.py"),
        ("optimize", "model.py", "--budget-ms", "50"),
        ("attack", "plan.json"),
        ("split", "plan.json", "--model", "model.py", "-o", "halves"),
        ("bundle", "plan.json", "--model", "model.py", "-o", "new"),
        ("worker", "search-1", "--storage", "sqlite:///study.db"),
        ("verify", "plan.json", "--model", "model.py"),
    ]
    assert refusals(PLAN, commands, folder) <= {module for module, (_, extra) in EXTRAS.items() if extra == "plan"}


def test_storage_on_postgresql_names_its_extra(folder: Path) -> None:
    command = ("worker", "search-1", "--storage", "postgresql+psycopg://127.0.0.1:1/studies")
    assert refusals(["psycopg"], [command], folder) == {"psycopg"}


def test_bundle_for_onnx_names_its_extra(folder: Path) -> None:
    command = ("bundle", "plan.json", "--format", "onnx", "--model", "model.py", "-o", "new")
    assert refusals(["onnx", "onnxscript"], [command], folder) == {"onnx"}


def test_logging_a_search_names_the_extra_of_the_tracker_before_the_search(folder: Path) -> None:
    for tracker in ("mlflow", "tensorboard"):
        command = ("optimize", "model.py", "--budget-ms", "50", "--log", tracker, "-o", "new.json")
        assert refusals([tracker], [command], folder) == {tracker}


def test_a_device_without_the_planning_packages_runs_its_half_and_asks_for_echoes(folder: Path) -> None:
    write_inputs(folder / "x.npy")
    with serving(folder / "bundle") as server:
        commands = [
            ("infer", "bundle/edge", "--cloud", server.address, "--data", "x.npy", "-o", "outputs.safetensors"),
            ("env",),
            ("init", "new.py"),
            ("--help",),
            ("link", "127.0.0.1:1", "--bundle", "b" * 64),
        ]
        *others, link = ran_without(PLAN, commands, folder)
        for command, ran in zip(commands[:-1], others, strict=True):
            assert ran.code == 0, (command, ran.err)
    assert "does not echo: UNAVAILABLE" in link.err
    assert (folder / "outputs.safetensors").exists()


def test_a_server_without_the_planning_packages_opens_its_part(folder: Path) -> None:
    (ran,) = ran_without(PLAN, [("serve", "bundle/edge")], folder)
    assert "is the edge part of a bundle, this needs the cloud part" in ran.err


def write_inputs(file: Path) -> None:
    import numpy as np

    np.save(file, np.zeros((1, 1, 8, 8), dtype=np.float32))
