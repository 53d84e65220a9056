"""What is written is read back and compared with the model before anybody can deploy it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundle_plans import Made, TwoHeads, make, middle, rows
from collabplan.graph import load_program, split, with_weights
from collabplan.records import BudgetError, CollabplanError
from collabplan.runtime.halves import write_halves, write_whole


@pytest.fixture(scope="module")
def made() -> Made:
    return make(TwoHeads(), rows, middle)


def test_the_halves_on_disk_compose_to_the_model_bit_for_bit(made: Made, tmp_path: Path) -> None:
    edge, cloud = write_halves(made.traced, split(made.traced, made.cut), tmp_path)
    with torch.no_grad():
        early, (late, total) = cloud(*edge(*rows(3)))
        expected_early, (expected_late, expected_total) = made.model(*rows(3))
    assert torch.equal(early, expected_early)
    assert torch.equal(late, expected_late)
    assert torch.equal(total, expected_total)
    assert {path.name for path in tmp_path.iterdir()} == {"edge", "cloud"}


def test_the_whole_model_is_one_program(made: Made, tmp_path: Path) -> None:
    write_whole(made.traced, tmp_path / "whole")
    with torch.no_grad():
        early, _ = load_program(tmp_path / "whole")(*rows(2))
        assert torch.equal(early, made.model(*rows(2))[0])


def test_other_weights_in_the_cloud_half_are_refused_unless_they_are_tuned(made: Made, tmp_path: Path) -> None:
    halves = split(made.traced, made.cut)
    changed = {name: value + 1 for name, value in halves.cloud.named_parameters()}
    other = replace(halves, cloud=with_weights(halves.cloud, changed))
    with pytest.raises(BudgetError, match="do not compose to the model bit for bit"):
        write_halves(made.traced, other, tmp_path / "refused")
    write_halves(made.traced, other, tmp_path / "tuned", tuned=True)


def test_a_file_in_the_folders_place_is_one_clear_error(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CollabplanError, match="file"):
        write_whole(made.traced, tmp_path / "file")
