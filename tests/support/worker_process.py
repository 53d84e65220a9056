"""What test_shared_study.py runs in processes of its own: a worker of a study in a database, which prints its front."""

from __future__ import annotations

import json
import time

import planner_fakes as fakes
from collabplan.planner.front import pareto_front
from collabplan.planner.search import Walk, search_together
from collabplan.planner.shared_study import open_shared_store
from collabplan.records import Budgets

HEARTBEAT_S, GRACE_S = 1, 3


def main(url, name, cuts, pause_s):
    def evaluate(point):
        print(point.key, flush=True)
        time.sleep(pause_s)
        return fakes.evaluate(point, cuts)

    space = fakes.space(cuts)
    with open_shared_store(
        url, fakes.FINGERPRINT, space, resume=True, name=name, heartbeat_s=HEARTBEAT_S, grace_s=GRACE_S
    ) as store:
        found = search_together(store, Walk(space.points, evaluate, Budgets(), 0, sampler="exhaustive"), pause_s=0.2)
    front = sorted(pareto_front(found.candidates), key=lambda c: (c.cut_id, c.defense.text))
    print(json.dumps([candidate.model_dump(mode="json") for candidate in front]))
