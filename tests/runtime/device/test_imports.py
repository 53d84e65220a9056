"""A device imports nothing that planning needs, and without gRPC the one line says what to install."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import collabplan.runtime.device as device
from collabplan.runtime.server.server import CloudServer
from without_packages import HIDE, PLAN

RUN = """
import importlib, torch
for name in json.loads(sys.argv[4]):
    importlib.import_module(name)
from collabplan.runtime import EdgeClient
with EdgeClient(sys.argv[2], sys.argv[3]) as client:
    print(client.infer(torch.zeros(1, 1, 8, 8))["logits"].shape, "sympy" in sys.modules)
"""

WITHOUT_GRPC = """
import collabplan.runtime as runtime
from collabplan.records import CollabplanError
runtime.open_edge, runtime.EdgeClient
try:
    runtime.CloudServer
except CollabplanError as error:
    print(error)
"""


def test_every_device_module_loads_and_a_half_runs_without_the_planning_packages(
    steady_bundle: Path, steady_server: CloudServer
) -> None:
    modules = [f"collabplan.runtime.device.{module.name}" for module in pkgutil.iter_modules(device.__path__)]
    assert "collabplan.runtime.device.link_measurement" in modules
    given = [json.dumps(PLAN), str(steady_bundle / "edge"), steady_server.address, json.dumps(modules)]
    command = [sys.executable, "-c", HIDE + RUN, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "[1, 5]) False" in done.stdout, "tracing needs sympy, running a half does not"


def test_without_grpc_the_public_api_names_the_extra() -> None:
    command = [sys.executable, "-c", HIDE + WITHOUT_GRPC, json.dumps(["grpc"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "this needs grpcio, which is not installed; run: pip install 'collabplan[device]'" in done.stdout
