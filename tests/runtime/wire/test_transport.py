"""gRPC is loaded with our setting of its event loop, unless the user has one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = "import os; from collabplan.runtime.wire.transport import grpc; print(os.environ['GRPC_EXPERIMENTS'])"


@pytest.mark.parametrize(
    ("own", "expected"), [(None, "-event_engine_client,-event_engine_listener"), ("event_engine_client", None)]
)
def test_a_setting_of_the_users_own_stays(own: str | None, expected: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    if own is not None:
        environment["GRPC_EXPERIMENTS"] = own
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == (expected or own)
