"""The file that `collabplan init` writes is a target that works as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from collabplan.targets.target import load_target
from collabplan.targets.template import TEMPLATE


def test_the_template_loads_with_data_and_trains_itself_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.py"
    file.write_text(TEMPLATE)
    target = load_target(str(file))
    data = target.load_data(target.trace())
    assert (len(data.search), len(data.confirm)) == (300, 300)
    assert data.train is not None
    assert data.attacker is not None
    written = (tmp_path / "digits-weights.safetensors").stat().st_mtime_ns
    load_target(str(file))
    assert (tmp_path / "digits-weights.safetensors").stat().st_mtime_ns == written
