"""One data set serves search, confirmation and attacker without sharing a sample."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets import Data
from collabplan.targets.division import divide_one_set


def test_the_parts_share_nothing_and_depend_on_the_seed_alone() -> None:
    data = Data((torch.arange(120.0).unsqueeze(1),), torch.arange(120))
    made, again, other = (divide_one_set(data, "d", seed) for seed in (0, 0, 1))
    parts = [set(part.labels.tolist()) for part in (made.search, made.confirm, made.attacker)]
    assert [len(part) for part in parts] == [30, 30, 60]
    assert all(not first & second for first, second in combinations(parts, 2))
    assert made.attacker.content_hash == again.attacker.content_hash != other.attacker.content_hash
    assert made.validation.content_hash == data.take(made.kept).content_hash
    assert "30 for the search, 30 to confirm the plan, 60 for the attacker" in made.notes[0]


def test_an_attacker_owns_no_twin_of_a_picture_that_is_attacked() -> None:
    data = Data((torch.arange(200.0).fmod(100).unsqueeze(1),), torch.arange(200))
    made = divide_one_set(data, "d", 0)
    assert len(made.validation) + len(made.attacker) == 100
    assert not set(made.attacker.sample_hashes()) & set(made.validation.sample_hashes())
    assert "100 samples that occur again were left out" in made.notes


def test_too_few_samples_say_how_many_are_needed() -> None:
    few = Data((torch.rand(30, 2),))
    with pytest.raises(TargetError, match=r"photos has 30 different samples; at least 80 are needed"):
        divide_one_set(few, "photos", 0)
    assert len(divide_one_set(few, "photos", 0, whole=False).attacker) == 15
