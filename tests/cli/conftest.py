"""The command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import quick_sqlite  # noqa: F401
from collabplan.attacks import ATTACKS
from collabplan.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))
from command_line import Ran, Run


@pytest.fixture
def few_attacks() -> Iterator[None]:
    """The catalogue has three attacks for a while; afterwards all, in their order."""
    every = dict(ATTACKS)
    for name in set(ATTACKS) - {"prior", "ridge", "retrieval", "inverse"}:
        del ATTACKS[name]
    yield
    ATTACKS.clear()
    ATTACKS.update(every)


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `collabplan` with these arguments in the working directory."""
    assert Path.cwd() == here

    def command(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        streams = capsys.readouterr()
        code = stop.value.code
        assert isinstance(code, int)
        return Ran(code, streams.out, streams.err)

    return command
