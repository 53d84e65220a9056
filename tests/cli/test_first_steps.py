"""The first commands of README run as they are printed, each at the first attempt, and end with what is next."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Run

README = Path(__file__).resolve().parents[2] / "README.md"
SERVE = "from collabplan.cli.main import main; main()"
WITHOUT_TORCH = f"import sys; sys.modules['torch'] = None; {SERVE}"
"""For commands that only print a plan."""


def steps() -> list[list[str]]:
    text = README.read_text(encoding="utf-8")
    block = text[text.index("<!-- first steps") :].split("```")[1]
    return [shlex.split(line, comments=True)[1:] for line in block.strip().splitlines()]


def test_the_first_steps_of_the_readme_lead_from_init_to_an_answer_over_the_wire(here: Path, run: Run) -> None:
    commands = steps()
    assert [command[0] for command in commands] == [
        "init", "profile", "optimize", "explain", "attack", "split", "bundle", "serve", "infer", "verify",
    ]  # fmt: skip
    server: subprocess.Popen[str] | None = None
    cloud: list[str] = []
    try:
        for command in commands:
            if command[0] == "serve":  # on a port of its own
                server = subprocess.Popen(
                    [sys.executable, "-c", SERVE, *command, "--listen", "127.0.0.1:0"],
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "COLUMNS": "200"},
                )
                assert server.stdout is not None
                line = next(line for line in server.stdout if line.startswith("serving"))
                cloud = ["--cloud", line.split(" on ")[1].split(",")[0]]
                assert "next: collabplan infer" in server.stdout.readline()
                continue
            ran = run(*command, *(cloud if command[0] == "infer" else []))
            if command[0] == "verify":  # a busy machine may be slower than planned
                assert ran.code in (0, 1), ran.err
                continue
            assert ran.code == 0, f"{command}: {ran.err}"
            assert ran.out.strip().splitlines()[-1].startswith("next: collabplan "), ran.out
            if command[0] == "optimize":
                for printed in (("explain", "plan.json"), ("front", "plan.json")):
                    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *printed], check=True, capture_output=True)
            if command[0] == "split":
                assert "crosses" in ran.out
            if command[0] == "bundle":
                assert (here / "bundle" / "cloud").is_dir(), "a real split: something is sent"
    finally:
        if server is not None:
            server.kill()
            server.wait()


@pytest.mark.parametrize("command", ["init", "profile", "optimize", "bundle"])
def test_the_next_line_names_a_command_that_exists(command: str) -> None:
    from collabplan.cli.catalogue import COMMANDS

    text = (README.parent / "cli" / f"{command}.py").read_text(encoding="utf-8")
    named = [part.split()[1] for part in text.split("output.next(")[1:] for part in [part.split('"')[1]]]
    assert named
    assert all(name in COMMANDS for name in named)
