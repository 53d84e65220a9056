"""The study on disk: one writer, one clear sentence for whatever is wrong with it."""

from __future__ import annotations

import json
import logging
import os
from datetime import datetime

import optuna
import pytest
import sqlalchemy
from collabplan.planner.study import open_store
from collabplan.records import DEFAULT_OBJECTIVES, Budgets, CollabplanError, MismatchError
from planner_fakes import FINGERPRINT, candidate, space


def add_one(folder, *, resume=False, fingerprint=FINGERPRINT, objectives=DEFAULT_OBJECTIVES):
    with open_store(folder, fingerprint, space(3), resume=resume, objectives=objectives) as store:
        store.add(candidate(), Budgets(), datetime.now())
        return store.name


def completed(folder, fingerprint=FINGERPRINT, name=None):
    with open_store(folder, fingerprint, space(3), resume=True, name=name) as store:
        return store.name, len(store.completed())


def differs(folder, fingerprint):
    with open_store(folder, fingerprint, space(3), resume=True) as store:
        return store.differs


def test_a_candidate_comes_back_as_it_was(tmp_path):
    kept = candidate(drop=0.031, leakage=0.123456789)
    with open_store(tmp_path, FINGERPRINT, space(3), resume=False) as store:
        store.add(kept, Budgets(), datetime.now())
        assert store.completed() == [kept]
    with open_store(tmp_path, FINGERPRINT, space(3), resume=True) as store:
        assert store.completed() == [kept]


def test_the_folder_ignores_itself_in_git(tmp_path):
    add_one(tmp_path / "work")
    assert "*" in (tmp_path / "work" / ".gitignore").read_text().splitlines()


def test_without_resume_a_new_study_is_begun_beside_the_old(tmp_path):
    assert [add_one(tmp_path), add_one(tmp_path), add_one(tmp_path, resume=True)] == [
        "search-1",
        "search-2",
        "search-2",
    ]
    assert completed(tmp_path) == ("search-2", 2)


def test_resume_without_a_study_begins_one(tmp_path):
    assert completed(tmp_path) == ("search-1", 0)


def test_resume_takes_the_latest_study_that_fits(tmp_path):
    add_one(tmp_path)
    add_one(tmp_path, fingerprint={**FINGERPRINT, "weights": "other"})
    assert completed(tmp_path) == ("search-1", 1)


def test_something_else_begins_a_study_which_names_the_difference(tmp_path):
    add_one(tmp_path)
    other = {**FINGERPRINT, "weights": "other", "seed": "3"}
    said = "search-1 is for something else: weights was bbbbbbbbbbbb..., now other; seed was 0, now 3"
    assert differs(tmp_path, other) == said
    assert differs(tmp_path, FINGERPRINT) == "", "this one goes on"
    with pytest.raises(MismatchError, match=r"weights was bbbbbbbbbbbb\.\.\., now other; seed was 0, now 3"):
        completed(tmp_path, other, name="search-1")


def test_resume_of_something_else_names_the_entry_that_differs(tmp_path):
    marks = {"epochs": 6, "loss": "distillation", "samples": 12_000}
    add_one(tmp_path, fingerprint={**FINGERPRINT, "fine-tuning": json.dumps(marks)})
    other = json.dumps({**marks, "samples": 40_000, "penalty": 0.1})
    with pytest.raises(
        MismatchError,
        match=r"something else: fine-tuning: samples was 12000, now 40000; fine-tuning: penalty was None, ",
    ):
        completed(tmp_path, {**FINGERPRINT, "fine-tuning": other}, name="search-1")
    with pytest.raises(MismatchError, match=r"fine-tuning was .*, now None"):
        completed(tmp_path, name="search-1")


def test_a_study_that_was_created_but_not_marked_is_taken_over(tmp_path):
    add_one(tmp_path)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="search-2", storage=storage, directions=["maximize", "minimize", "minimize"])
    assert completed(tmp_path) == ("search-2", 0)


def test_one_that_was_created_for_other_objectives_and_not_marked_is_left_alone(tmp_path):
    add_one(tmp_path)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="search-2", storage=storage, directions=["maximize", "minimize"])
    assert completed(tmp_path) == ("search-1", 1)
    assert add_one(tmp_path) == "search-3"


def test_the_study_shows_the_objectives_that_it_is_made_of(tmp_path):
    with open_store(
        tmp_path, FINGERPRINT, space(3), resume=False, objectives=("accuracy", "leakage", "energy", "payload")
    ) as store:
        store.add(candidate().model_copy(update={"edge_energy_mj": 2.5}), Budgets(), datetime.now())
        with pytest.raises(CollabplanError, match="nothing is known of the device's power"):
            store.add(candidate(), Budgets(), datetime.now())
    study = optuna.load_study(study_name="search-1", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert study.metric_names == ["accuracy", "leakage_index", "edge_energy_mj", "payload_bytes"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.trials[0].values == [0.9, 0.5, 2.5, 100.0]


def test_resume_with_other_objectives_names_the_difference(tmp_path):
    add_one(tmp_path, objectives=("accuracy", "leakage"))
    with pytest.raises(MismatchError, match="objectives was accuracy, leakage, now accuracy, latency, leakage"):
        completed(tmp_path, name="search-1")
    assert add_one(tmp_path, resume=True, objectives=("accuracy", "leakage")) == "search-1"


def test_a_study_of_another_version_is_refused_in_one_line_and_nothing_of_it_is_lost(tmp_path):
    add_one(tmp_path)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.load_study(study_name="search-1", storage=storage)
    old = {"dropout kinds": "element, channel", "rates": "0.1, 0.2", "masks": "fresh", "bits": "8 none 0"}
    study.set_user_attr("collabplan.fingerprint", FINGERPRINT | old)
    with pytest.raises(MismatchError) as caught:
        completed(tmp_path, name="search-1")
    said = str(caught.value)
    assert "study search-1" in said
    assert "was made by another version of collabplan (schema version 1, this one reads 3)" in said
    assert said.endswith("make it again with `collabplan optimize`")
    assert "\n" not in said
    assert differs(tmp_path, FINGERPRINT) == "search-1 was made by another version of collabplan"
    assert len(optuna.load_study(study_name="search-1", storage=storage).trials) == 1
    assert add_one(tmp_path, resume=True) == "search-2", "a new study is begun beside it"


def test_studies_of_other_programs_in_the_database_are_left_alone(tmp_path):
    add_one(tmp_path)
    optuna.create_study(study_name="theirs", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert completed(tmp_path) == ("search-1", 1)


@pytest.mark.parametrize("content", [b"not a database at all", os.urandom(8192), b"SQLite format 3\0" + bytes(5000)])
def test_an_unreadable_study_is_one_clear_error(tmp_path, content):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(CollabplanError, match="cannot be read") as caught:
        add_one(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_study_is_one_clear_error(tmp_path):
    add_one(tmp_path)
    whole = (tmp_path / "study.db").read_bytes()
    (tmp_path / "study.db").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CollabplanError, match="cannot be read"):
        completed(tmp_path)


def test_a_trial_of_another_program_in_our_study_is_refused(tmp_path):
    add_one(tmp_path)
    study = optuna.load_study(study_name="search-1", storage=f"sqlite:///{tmp_path / 'study.db'}")
    study.add_trial(optuna.create_trial(values=[0.0, 0.0, 0.0]))
    with pytest.raises(CollabplanError, match="did not write"):
        completed(tmp_path)


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda _seconds: None)
    add_one(tmp_path)

    def stop_growth(connection, _record):
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages}")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", stop_growth)
    try:
        with pytest.raises(CollabplanError, match="no space left on the device"):
            add_many(tmp_path, 100)
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", stop_growth)
    kept = completed(tmp_path)[1]
    add_one(tmp_path, resume=True)
    assert completed(tmp_path) == ("search-1", kept + 1)


def add_many(folder, count):
    for _ in range(count):
        add_one(folder, resume=True)


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CollabplanError, match="cannot write"):
        add_one(tmp_path / "file" / "work")


def test_optuna_is_quiet_while_we_search_and_as_before_afterwards(tmp_path):
    before = optuna.logging.get_verbosity()
    with open_store(tmp_path, FINGERPRINT, space(3), resume=False):
        assert optuna.logging.get_verbosity() == logging.WARNING
    assert optuna.logging.get_verbosity() == before
