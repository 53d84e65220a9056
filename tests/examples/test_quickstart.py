"""The notebook runs from top to bottom, and is committed without outputs.

Its cells are run here as plain Python: a Jupyter kernel would bring thirty packages for this one test. So a cell may
hold nothing that only IPython understands, except `%matplotlib inline`.
"""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from collabplan.attacks import EFFORTS, Effort
from matplotlib.figure import Figure

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOK = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run(cell: Any, names: dict[str, Any]) -> Any:
    """Run one cell; returns what Jupyter would show: the value of an expression that ends it."""
    source = "".join(cell["source"]).replace("%matplotlib inline\n", "")
    body = ast.parse(source).body
    last = body[-1]
    shown = last.value if isinstance(last, ast.Expr) else None
    if shown is not None:
        body.pop()
    exec(compile(ast.Module(body, []), cell["id"], "exec"), names)
    return None if shown is None else eval(compile(ast.Expression(shown), cell["id"], "eval"), names)


def test_the_notebook_runs_and_every_result_can_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(EXAMPLES / "example_data.py", tmp_path)
    shutil.copytree(EXAMPLES / "digits", tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EFFORTS, "quick", Effort("quick", 40, 60, 10, 5, 4, 8, False))
    names: dict[str, Any] = {}
    shown = {cell["id"]: run(cell, names) for cell in CODE}
    for cell in ("profile", "leakage", "optimize", "attack"):
        assert "<table" in shown[cell]._repr_html_()
    for cell in ("plot-leakage", "front", "pictures"):
        assert isinstance(shown[cell], Figure)
    assert names["plan"].record.chosen.payload_bytes == 4
    assert "ESTIMATED, not audited" in names["plan"].title
    assert set(shown["split"]) == {"edge", "cloud"}
    said = capsys.readouterr().out
    assert "Why this one" in said
    assert "crosses, before the defense: [(1, 32, 8, 8)]" in said
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"digits", "example_data.py", "quickstart"}


def test_the_notebook_is_of_format_4_5_and_committed_without_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in CODE:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert (EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8").endswith("}\n")
