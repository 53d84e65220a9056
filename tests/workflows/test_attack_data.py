"""What is said of the targets and of what the attacker owns."""

from __future__ import annotations

import dataclasses

import torch
from collabplan.targets import Data
from collabplan.targets.target import TargetData
from collabplan.workflows.attack_data import divide


def data(inputs: torch.Tensor) -> TargetData:
    validation = Data((inputs,))
    search, confirm = validation.splits(0)
    return TargetData(validation, search, confirm, None, None, None, None, None, ())


def said(of: TargetData) -> dict[str, str]:
    return {finding.what: finding.how for finding in divide(of)[1]}


def test_rows_of_a_table_are_no_images() -> None:
    rows = said(data(torch.rand(40, 6)))
    assert rows["targets"].startswith("20 samples")
    assert rows["attacker's samples"].endswith("none of them is a target")
    assert said(data(torch.rand(40, 1, 4, 4)))["targets"].startswith("20 images")


def test_twins_of_targets_among_the_attackers_samples_are_told() -> None:
    given = data(torch.rand(5, 6).repeat(8, 1))
    assert "5 of them occur among the targets too" in said(given)["attacker's samples"]
    owned = dataclasses.replace(given, attacker=Data((torch.rand(30, 6),)))
    assert "none of them is a target" in said(owned)["attacker's samples"]
