"""Whose file it is, also in a sandbox that cannot name all owners."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from collabplan.records import ownership
from collabplan.records.ownership import belongs_to_others, how_others_may_change

NOBODY = 65534


def state(owner: int, mode: int = 0o644) -> os.stat_result:
    return os.stat_result((0o100000 | mode, 0, 0, 1, owner, *[0] * 5))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no owner numbers")
@pytest.mark.parametrize(
    ("mapped", "nobody_is_root"),
    [
        ("         0          0 4294967295\n", False),
        ("      1000       1000          1\n", True),
        ("         0     100000      65536\n", True),
        ("", False),
    ],
)
def test_roots_files_are_known_in_a_sandbox_without_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: str, nobody_is_root: bool
) -> None:
    (tmp_path / "uid_map").write_text(mapped)
    (tmp_path / "overflowuid").write_text(f"{NOBODY}\n")
    monkeypatch.setattr(ownership, "_UID_MAP", tmp_path / ("uid_map" if mapped else "absent"))
    monkeypatch.setattr(ownership, "_OVERFLOW", tmp_path / "overflowuid")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert belongs_to_others(state(NOBODY)) is not nobody_is_root
    assert [belongs_to_others(state(owner)) for owner in (0, 1000, 1001)] == [False, False, True]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no owner numbers")
def test_advice_fits_what_is_wrong() -> None:
    file = Path("a file")
    assert how_others_may_change(file, state(os.geteuid())) is None
    assert how_others_may_change(file, state(0, 0o666)) == "may be changed by others; run: chmod go-w 'a file'"
    assert "give a copy of your own" in str(how_others_may_change(file, state(os.geteuid() + 1)))
