"""Fine-tuned weights are found again by what they depend on, and by no other revision."""

import torch
from collabplan.planner.finetune import Tuned
from collabplan.planner.tuned_files import TunedFiles
from collabplan.records import ALONE

KEY, REVISIONS = ["model", "cut"], {"tuning:fine-tuning": 1}


def test_what_was_kept_comes_back(tmp_path):
    files = TunedFiles(tmp_path, ALONE)
    assert files.read(KEY, REVISIONS) == (False, None)
    files.write(KEY, REVISIONS, Tuned({"weight": torch.ones(2)}))
    known, found = files.read(KEY, REVISIONS)
    assert known
    assert torch.equal(found.weights["weight"], torch.ones(2))


def test_that_nothing_was_gained_is_kept_too(tmp_path):
    files = TunedFiles(tmp_path, ALONE)
    files.write(KEY, REVISIONS, None)
    assert files.read(KEY, REVISIONS) == (True, None)


def test_another_key_or_revision_finds_nothing(tmp_path):
    files = TunedFiles(tmp_path, ALONE)
    files.write(KEY, REVISIONS, Tuned({"weight": torch.ones(2)}))
    assert files.read([*KEY, "seed"], REVISIONS) == (False, None)
    assert files.read(KEY, {"tuning:fine-tuning": 2}) == (False, None)


def test_a_damaged_file_counts_for_nothing_and_without_a_folder_nothing_is_kept(tmp_path):
    files = TunedFiles(tmp_path, ALONE)
    files.write(KEY, REVISIONS, Tuned({"weight": torch.ones(2)}))
    for file in tmp_path.iterdir():
        file.write_bytes(b"damaged")
    assert files.read(KEY, REVISIONS) == (False, None)
    nowhere = TunedFiles(None, ALONE)
    nowhere.write(KEY, REVISIONS, None)
    assert nowhere.read(KEY, REVISIONS) == (False, None)
