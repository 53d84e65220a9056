"""What audits share is made once, and the same whenever it is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from collabplan.attacks import ArtifactCache, attack_named, run_audit
from collabplan.attacks.conformance import EFFORT, toy_request
from collabplan.records.memory import MemoryBudget


def number(draws: torch.Generator) -> float:
    return float(torch.rand(1, generator=draws))


def test_a_thing_is_made_once() -> None:
    shared, made = ArtifactCache(0), []

    def make(draws: torch.Generator) -> float:
        made.append(1)
        return number(draws)

    assert shared.once("generator", make) == shared.once("generator", make)
    assert len(made) == 1


def test_draws_depend_on_seed_and_key_and_not_on_the_order() -> None:
    first, second = ArtifactCache(0), ArtifactCache(0)
    a, b = first.once("a", number), first.once("b", number)
    assert (second.once("b", number), second.once("a", number)) == (b, a)
    assert a != b
    assert ArtifactCache(1).once("a", number) != a


def test_a_cuts_things_are_forgotten_at_the_next_cut_and_made_the_same_again() -> None:
    shared, made = ArtifactCache(0), []

    def make(draws: torch.Generator) -> float:
        made.append(1)
        return number(draws)

    everywhere = shared.once("generator", number)
    here = shared.once("fit", make, at="layer1")
    assert shared.once("fit", make, at="layer2") != here
    assert shared.once("fit", make, at="layer1") == here
    assert len(made) == 3
    assert shared.once("generator", number) == everywhere


def test_what_belongs_to_one_defense_is_forgotten_at_the_next_and_the_cuts_things_are_kept() -> None:
    shared, made = ArtifactCache(0), []

    def make(draws: torch.Generator) -> float:
        made.append(1)
        return number(draws)

    shared.once("fit", make, at="layer1")
    for defense in ("half", "half", "most", "half"):
        shared.once("fit", make, at="layer1", within=defense)
    shared.once("fit", make, at="layer1")
    assert len(made) == 1 + 3
    shared.once("fit", make, at="layer2", within="half")
    assert len(made) == 1 + 4, "the same defense at another cut is another one"
    shared.leave_defense()
    shared.once("fit", make, at="layer2", within="half")
    assert len(made) == 1 + 5


def test_no_figure_of_an_audit_depends_on_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collabplan.records.memory.SMALL", 1)
    found, attacks = [], [attack_named(name) for name in ("prior", "ridge", "inverse", "shadow-same")]
    for array_bytes in (0, 1 << 30):
        memory = MemoryBudget(array_bytes, tmp_path)
        outcome = run_audit(toy_request(), attacks, EFFORT, seed=0, artifacts=ArtifactCache(0, memory))
        found.append((outcome.record.tiers, outcome.pictures))
    (tiers, pictures), (expected, expected_pictures) = found
    assert tiers == expected
    assert all(torch.equal(picture, expected_pictures[name]) for name, picture in pictures.items())
