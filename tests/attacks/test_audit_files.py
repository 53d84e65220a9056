"""Kept results come back as they were, and damaged files count for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from collabplan.attacks.audit_files import kept_revisions, read_attack, remembered, write_attack
from collabplan.records import ALONE, AttackResult
from pydantic import TypeAdapter

NUMBERS = TypeAdapter(tuple[int, ...])
RESULT = AttackResult(attack="ridge", threat="black-box", status="ok", attacker_data="own", seconds=1.0)
REVISIONS = {"attack:ridge": 3}


def test_an_attack_comes_back_with_its_pictures_and_says_its_revisions(tmp_path: Path) -> None:
    place = tmp_path / "a.safetensors"
    write_attack(place, RESULT, torch.tensor([[0.0, 1.0]]), REVISIONS, ALONE)
    found = read_attack(place, ALONE)
    assert found is not None
    assert found[0] == RESULT
    assert found[1] is not None
    assert found[1].tolist() == [[0.0, 1.0]]
    assert kept_revisions(place) == REVISIONS


def test_an_attack_without_pictures_comes_back_without(tmp_path: Path) -> None:
    place = tmp_path / "a.safetensors"
    write_attack(place, RESULT, None, REVISIONS, ALONE)
    assert read_attack(place, ALONE) == (RESULT, None)


def test_figures_are_computed_once(tmp_path: Path) -> None:
    place, computed = tmp_path / "a.json", []

    def compute() -> tuple[int, ...]:
        computed.append(1)
        return 1, 2

    for _ in range(2):
        assert remembered(place, NUMBERS, REVISIONS, compute, ALONE) == (1, 2)
    assert len(computed) == 1
    assert kept_revisions(place) == REVISIONS


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"figures": ["x"]}', b'{"revisions": {"a": 1}}'])
def test_damaged_figures_are_computed_again(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "a.json"
    place.write_bytes(content)
    assert remembered(place, NUMBERS, REVISIONS, lambda: (3,), ALONE) == (3,)
    assert kept_revisions(place) == REVISIONS


@pytest.mark.parametrize("name", ["a.json", "a.safetensors"])
def test_a_missing_or_foreign_file_says_no_revisions(tmp_path: Path, name: str) -> None:
    assert kept_revisions(tmp_path / name) is None
    (tmp_path / name).write_bytes(b"something else")
    assert kept_revisions(tmp_path / name) is None
    assert read_attack(tmp_path / name, ALONE) is None


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    write_attack(None, RESULT, None, REVISIONS, ALONE)
    assert read_attack(None, ALONE) is None
    assert remembered(None, NUMBERS, REVISIONS, lambda: (3,), ALONE) == (3,)
    assert list(tmp_path.iterdir()) == []
