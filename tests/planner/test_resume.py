"""Kill -9 at any moment, resume, and find the front of a search that ran through."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from datetime import datetime

import optuna
import pytest
import search_process
from collabplan.planner.front import pareto_front
from collabplan.planner.search import Walk, search_points
from collabplan.planner.space import point_of
from collabplan.planner.study import open_store
from collabplan.records import Budgets
from forked import Forked
from optuna.trial import TrialState
from planner_fakes import FINGERPRINT, candidate, evaluate, space

BUDGETS = Budgets(latency_p95_ms=45.0, max_leakage=0.6)


def start(folder, trials, cuts, pause_s):
    return Forked(search_process.main, folder, trials, cuts, pause_s)


def run_here(folder, trials, cuts=12):
    searched = space(cuts)
    with open_store(folder, FINGERPRINT, searched, resume=True) as store:
        return search_points(store, Walk(searched.points, lambda p: evaluate(p, cuts), BUDGETS, 0, trials))


def front_of(candidates):
    chosen = sorted(pareto_front(candidates), key=lambda c: point_of(c).key)
    return [item.model_dump(mode="json") for item in chosen]


def stored_trials(folder):
    study = optuna.load_study(study_name="search-1", storage=f"sqlite:///{folder / 'study.db'}")
    return study.get_trials(deepcopy=False)


@pytest.mark.parametrize(("trials", "cuts"), [(20, 12), (20, 2)], ids=["proposed", "enumerated"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, trials, cuts):
    generator = random.Random(trials)
    completed = 0
    for _ in range(3):
        with start(tmp_path / "killed", trials, cuts, 0.01) as process:
            assert process.stdout.readline() == "open\n"
            reported = [completed]
            for _ in range(generator.randint(0, 5)):
                reported.append(int(process.stdout.readline()))
            time.sleep(generator.random() * 0.02)
            process.kill()
            rest = [int(line) for line in process.stdout.read().splitlines()]
        completed_now = len(stored_trials(tmp_path / "killed"))
        assert completed_now >= max(reported + rest), "a trial that was reported complete is lost"
        completed = completed_now
    with start(tmp_path / "killed", trials, cuts, 0.0) as last:
        front = json.loads(last.output()[-1])
    kept = stored_trials(tmp_path / "killed")
    assert {trial.state for trial in kept} == {TrialState.COMPLETE}
    assert len(kept) == trials
    assert front == front_of(run_here(tmp_path / "through", trials, cuts).candidates)


def test_killed_while_the_study_is_made(tmp_path):
    generator = random.Random(5)
    for _ in range(4):
        with start(tmp_path, 12, 12, 0.0) as process:
            time.sleep(0.2 * generator.random())
            process.kill()
    assert len(run_here(tmp_path, 12).candidates) == 12
    assert len(stored_trials(tmp_path)) == 12


def test_15_and_15_trials_equal_30(tmp_path):
    run_here(tmp_path / "twice", 15)
    twice = run_here(tmp_path / "twice", 30)
    once = run_here(tmp_path / "once", 30)
    assert twice.reused == 15
    assert twice.candidates == once.candidates
    assert len({point_of(item) for item in once.candidates}) == 30
    again = run_here(tmp_path / "once", 30)
    assert again.reused == 30, "a total that is reached runs nothing"
    assert again.candidates == once.candidates


def test_a_running_trial_left_by_another_program_is_failed(tmp_path):
    run_here(tmp_path, 5)
    optuna.load_study(study_name="search-1", storage=f"sqlite:///{tmp_path / 'study.db'}").ask()
    result = run_here(tmp_path, 8)
    states = [trial.state for trial in stored_trials(tmp_path)]
    assert states.count(TrialState.FAIL) == 1
    assert states.count(TrialState.COMPLETE) == 8
    assert result.candidates == run_here(tmp_path / "other", 8).candidates


def test_a_study_of_1000_trials_opens_in_seconds(tmp_path):
    searched = space(100)
    with open_store(tmp_path, FINGERPRINT, searched, resume=False) as store:
        store.add(candidate(searched.points[1]), BUDGETS, datetime.now())
    copy_first_trial(tmp_path / "study.db", 999)
    begun = time.perf_counter()
    with open_store(tmp_path, FINGERPRINT, searched, resume=True) as store:
        assert len(store.completed()) == 1000
    assert time.perf_counter() - begun < 5.0


def copy_first_trial(database, copies):
    """Rows are copied in SQL: writing 1000 trials one by one takes half a minute."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for (table,) in connection.execute("select name from sqlite_master where name like 'trial%'").fetchall():
            columns = [row[1] for row in connection.execute(f"pragma table_info({table})")][1:]
            rows = connection.execute(f"select {', '.join(columns)} from {table}").fetchall()
            for copy in range(1, copies + 1):
                changed = {"trial_id": 1 + copy, "number": copy}
                for row in rows:
                    values = [changed.get(name, value) for name, value in zip(columns, row, strict=True)]
                    marks = ", ".join("?" * len(values))
                    connection.execute(f"insert into {table} ({', '.join(columns)}) values ({marks})", values)
