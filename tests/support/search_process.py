"""What test_resume.py runs in a process of its own, to be killed: searches and prints the front as JSON."""

from __future__ import annotations

import json
import time

import planner_fakes as fakes
from collabplan.planner.front import pareto_front
from collabplan.planner.search import Walk, search_points
from collabplan.planner.study import open_store
from collabplan.records import Budgets


def main(folder, trials, cuts, pause_s):
    def evaluate(point):
        time.sleep(pause_s)
        return fakes.evaluate(point, cuts)

    def report(_what, fraction):
        print(round(fraction * trials), flush=True)

    space = fakes.space(cuts)
    budgets = Budgets(latency_p95_ms=45.0, max_leakage=0.6)
    with open_store(folder, fakes.FINGERPRINT, space, resume=True) as store:
        print("open", flush=True)
        found = search_points(store, Walk(space.points, evaluate, budgets, 0, trials), report)
    front = sorted(pareto_front(found.candidates), key=lambda c: (c.cut_id, c.defense.text))
    print(json.dumps([candidate.model_dump(mode="json") for candidate in front]))
