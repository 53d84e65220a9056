"""Several workers on a real PostgreSQL: no point lost, none counted twice, whoever is killed."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from datetime import datetime, timedelta

import optuna
import postgres
import pytest
import worker_process
from collabplan.planner.front import pareto_front
from collabplan.planner.search import Walk, search_points, search_together
from collabplan.planner.shared_study import open_shared_store, read_setup, safe_url
from collabplan.planner.space import point_of
from collabplan.planner.study import open_store
from collabplan.records import Budgets, CollabplanError, MismatchError
from defense_records import point_at
from forked import Forked
from optuna.trial import TrialState, create_trial
from planner_fakes import FINGERPRINT, evaluate, space

CUTS = 3


@pytest.fixture(scope="module")
def url():
    with postgres.running() as found:
        yield found


def fresh(url, **options):
    return open_shared_store(url, FINGERPRINT, space(CUTS), resume=False, heartbeat_s=1, grace_s=2, **options)


def start(url, name, pause_s):
    return Forked(worker_process.main, url, name, CUTS, pause_s)


def front_of(candidates):
    chosen = sorted(pareto_front(candidates), key=lambda c: (c.cut_id, c.defense.text))
    return [item.model_dump(mode="json") for item in chosen]


def test_three_workers_one_of_them_killed_find_what_one_finds(url, tmp_path):
    with fresh(url) as store:
        name = store.name
    with ExitStack() as stack:
        victim, *others = (stack.enter_context(start(url, name, 0.15)) for _ in range(3))
        for _ in range(3):
            begun = victim.stdout.readline().strip()
        victim.kill()
        outputs = [worker.output() for worker in others]
    measured = [line for lines in outputs for line in lines[:-1]]
    assert begun in measured, "the killed worker's point was measured by another"

    points = space(CUTS).points
    trials = optuna.load_study(study_name=name, storage=url).get_trials(deepcopy=False)
    complete = [trial.user_attrs["collabplan.point"] for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(complete) == sorted(point.key for point in points), "each once"
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
    failed = [trial.user_attrs["collabplan.point"] for trial in trials if trial.state == TrialState.FAIL]
    assert begun in failed

    with open_store(tmp_path, FINGERPRINT, space(CUTS), resume=False) as alone:
        walk = Walk(points, lambda p: evaluate(p, CUTS), Budgets(), 0, sampler="exhaustive")
        reference = search_points(alone, walk).candidates
    for lines in outputs:
        assert json.loads(lines[-1]) == front_of(reference)


def test_of_two_claims_the_later_gives_way_and_a_given_up_point_is_free(url):
    point = space(CUTS).points[3]
    with fresh(url) as first, open_shared_store(url, FINGERPRINT, space(CUTS), resume=True, name=first.name) as second:
        claim = first.claim(point)
        assert second.claim(point) is None
        assert second.taken() == {point.key}
        with pytest.raises(RuntimeError, match="broken"), first.beating(claim):
            raise RuntimeError("broken")
        again = second.claim(point)
        assert again is not None
        assert second.finish(again, evaluate(point, CUTS), Budgets())
        assert first.claim(point) is None, "it is measured"
        assert [point_of(candidate) for candidate in first.completed()] == [point]


def test_who_was_taken_for_dead_cannot_count_a_point_twice(url):
    point = point_at("cut01", "element", 0.5)
    with (
        fresh(url) as slow,
        open_shared_store(
            url, FINGERPRINT, space(CUTS), resume=True, name=slow.name, heartbeat_s=1, grace_s=2
        ) as other,
    ):
        claim = slow.claim(point)
        deadline = time.monotonic() + 20
        while other.taken() and time.monotonic() < deadline:
            time.sleep(0.3)
            other.release_dead()
        mine = other.claim(point)
        assert claim is not None
        assert mine is not None
        assert other.finish(mine, evaluate(point, CUTS), Budgets())
        assert not slow.finish(claim, evaluate(point, CUTS), Budgets())
        assert len(other.completed()) == 1


def test_a_worker_that_died_before_its_first_beat_holds_no_point(url):
    point = point_at("cut01", "element", 0.5)
    with fresh(url) as store:
        trial = create_trial(
            state=TrialState.RUNNING,
            params=store.space.parameters(point),
            distributions=store.space.distributions,
            user_attrs={"collabplan.point": point.key, "collabplan.claim": "dead"},
        )
        trial.datetime_start = datetime.now() - timedelta(seconds=60)
        optuna.load_study(study_name=store.name, storage=url).add_trial(trial)
        assert store.taken() == {point.key}
        store.release_dead()
        assert store.taken() == set()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_samplers_work_beside_each_other_too(url, sampler):
    with fresh(url) as store:
        walk = Walk(store.space.points, lambda p: evaluate(p, CUTS), Budgets(), 0, 20, sampler)
        found = search_together(store, walk, pause_s=0.1)
    assert len({point_of(candidate) for candidate in found.candidates}) == 20


def test_another_search_cannot_be_joined_and_an_unknown_one_is_named(url):
    with fresh(url) as store:
        name = store.name
        store.set_up("{}")
    other = {**FINGERPRINT, "weights": "e" * 64}
    with pytest.raises(MismatchError, match="weights was"):
        open_shared_store(url, other, space(CUTS), resume=True, name=name).__enter__()
    assert read_setup(url, name) == "{}"
    with pytest.raises(CollabplanError, match=f"no study 'search-999' .* there are: .*{name}"):
        read_setup(url, "search-999")


def test_a_database_that_does_not_answer_is_one_clear_error():
    away = "postgresql+psycopg://me:secret@127.0.0.1:1/none"
    with pytest.raises(CollabplanError, match="cannot be used") as raised:
        open_shared_store(away, FINGERPRINT, space(CUTS), resume=False).__enter__()
    assert "secret" not in str(raised.value)
    assert "secret" not in safe_url(away)
    with pytest.raises(CollabplanError, match="no database URL"):
        safe_url("not a url")
    with pytest.raises(CollabplanError, match="driver"):
        open_shared_store("postgresql+nothing://me@h/d", FINGERPRINT, space(CUTS), resume=False).__enter__()
