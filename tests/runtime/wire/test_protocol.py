"""The committed messages are those of protocol.proto."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAME = "collabplan/runtime/wire/protocol.proto"


def test_the_generated_module_is_that_of_the_proto_file(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    source = tmp_path / NAME
    source.parent.mkdir(parents=True)
    shutil.copy(ROOT / "runtime/wire/protocol.proto", source)
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--pyi_out=.", NAME]
    subprocess.run(command, cwd=tmp_path, check=True)
    for name in ("protocol_pb2.py", "protocol_pb2.pyi"):
        assert (ROOT / "runtime/wire" / name).read_text() == (source.parent / name).read_text(), "run " + " ".join(
            command
        )
