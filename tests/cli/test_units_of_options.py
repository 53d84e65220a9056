"""Options that take a time or a size take it as people write it, within the same bounds."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from collabplan.cli.grouping import option
from collabplan.records import CollabplanError


def parsed(*arguments: str) -> float:
    found: list[float] = []
    app = typer.Typer()

    @app.command()
    def command(
        seconds: Annotated[float, option("Time.", "S", None, "--seconds", least=0.1, most=60, unit="s")] = 30.0,
    ) -> None:
        found.append(seconds)

    app(list(arguments), standalone_mode=False)
    return found[0]


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3.0), ("1.5 s", 1.5), ("500ms", 0.5), ("1 min", 60.0), ("0.1", 0.1)]
)
def test_a_time_with_or_without_its_unit(text: str, seconds: float) -> None:
    assert parsed("--seconds", text) == pytest.approx(seconds)


def test_without_the_option_its_default_stands() -> None:
    assert parsed() == 30.0


@pytest.mark.parametrize("text", ["0.01", "2h", "nan", "fast"])
def test_what_is_out_of_bounds_or_no_time_is_refused(text: str) -> None:
    with pytest.raises((CollabplanError, typer.BadParameter)):
        parsed("--seconds", text)
