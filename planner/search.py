"""Walks the space: everything in a fixed order where that is affordable, else what a sampler proposes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..records import Budgets, Candidate
from .budgets import judged
from .samplers import Proposer, Sampler, proposer_named
from .shared_study import SharedStore
from .space import Point, point_of
from .study import TrialStore

ENUMERATE_UP_TO = 200
"""Spaces of at most so many points are enumerated unless fewer trials are asked for; else so many trials are run."""


OnProgress = Callable[[str, float], None]
"""Called with what has just been done and how far the step is, 0 to 1."""

Reprice = Callable[[Candidate], Candidate | None]
"""Brings the costs of a candidate from an earlier run up to date (another link); None leaves it out."""


@dataclass(frozen=True)
class Searched:
    """Every completed trial of the study, judged by the present budgets; `reused` came from earlier runs."""

    candidates: tuple[Candidate, ...]
    reused: int


def search_points(
    store: TrialStore,
    allowed: Sequence[Point],
    evaluate: Callable[[Point], Candidate],
    budgets: Budgets,
    *,
    seed: int,
    trials: int | None = None,
    sampler: Sampler = "tpe",
    reprice: Reprice = lambda candidate: candidate,
    on_progress: OnProgress | None = None,
) -> Searched:
    """Evaluate points until `trials` are complete in the study or none is left.

    Args:
        store: where completed trials are kept; those in it count towards `trials`.
        allowed: the points that the budgets do not rule out beforehand, in the order of `Space.points`.
        evaluate: measures one point; deterministic, so that a repeated run gives the same candidate.
        budgets: become constraints of the search.
        seed: of the proposals.
        trials: the total in the study. None enumerates up to `ENUMERATE_UP_TO` points, else runs so many.
        sampler: what proposes points where not all are visited; *exhaustive* goes through them in order.
        reprice: see `Reprice`.
        on_progress: called after every trial.

    Raises:
        CollabplanError: the store cannot be read or written. What `evaluate` raises passes through.
    """
    found = _repriced(store.completed(), reprice, budgets)
    reused = len(found)
    seen = {point_of(candidate) for candidate in found}
    unseen = [point for point in allowed if point not in seen]
    total = _total(trials, len(found), len(unseen), everything=sampler == "exhaustive")
    in_order = sampler == "exhaustive" or total >= len(found) + len(unseen)
    proposer = None if in_order else proposer_named(sampler, store.space, allowed, budgets, seed, store.objectives)
    if proposer:
        for candidate in found:
            proposer.learn(candidate)
    while unseen and len(found) < total:
        point = unseen[0] if proposer is None else proposer.propose(seen, unseen, len(found))
        started = datetime.now()
        candidate = judged(evaluate(point), budgets)
        store.add(candidate, budgets, started)
        found.append(candidate)
        seen.add(point)
        unseen.remove(point)
        if proposer:
            proposer.learn(candidate)
        if on_progress:
            on_progress(f"trial {len(found)} of {total}: {candidate.cut_name}", len(found) / total)
    return Searched(tuple(found), reused)


def search_together(
    store: SharedStore,
    allowed: Sequence[Point],
    evaluate: Callable[[Point], Candidate],
    budgets: Budgets,
    *,
    seed: int,
    trials: int | None = None,
    sampler: Sampler = "tpe",
    reprice: Reprice = lambda candidate: candidate,
    on_progress: OnProgress | None = None,
    pause_s: float = 1.0,
) -> Searched:
    """As `search_points`, beside other workers: returns when the study is complete, whoever completed it.

    `reused` counts the candidates that this worker did not measure.

    Args:
        pause_s: how long to wait for others, who may die, where nothing is left to begin.
    """
    proposer: Proposer | None = None
    known: dict[Point, Candidate] = {}
    own = 0
    while True:
        store.release_dead()
        fresh = _repriced([c for c in store.completed() if point_of(c) not in known], reprice, budgets)
        for candidate in fresh:
            known[point_of(candidate)] = candidate
            if proposer:
                proposer.learn(candidate)
        busy = store.taken()
        left = [point for point in allowed if point not in known]
        unseen = [point for point in left if point.key not in busy]
        total = _total(trials, len(known), len(left), everything=sampler == "exhaustive")
        if on_progress and fresh:
            on_progress(f"trial {len(known)} of {total}", len(known) / max(total, 1))
        if len(known) >= total:
            return Searched(tuple(known.values()), len(known) - own)
        if not unseen or len(known) + len(busy) >= total:
            time.sleep(pause_s)
            continue
        point = unseen[0]
        if sampler != "exhaustive" and total < len(known) + len(left):
            if proposer is None:
                proposer = proposer_named(sampler, store.space, allowed, budgets, seed, store.objectives)
                for candidate in known.values():
                    proposer.learn(candidate)
            proposed = proposer.propose(known.keys(), unseen, len(known) + len(busy))
            point = proposed if proposed in unseen else unseen[0]
        claim = store.claim(point)
        if claim is not None:
            with store.beating(claim):
                candidate = judged(evaluate(point), budgets)
            own += store.finish(claim, candidate, budgets)


def _repriced(candidates: Sequence[Candidate], reprice: Reprice, budgets: Budgets) -> list[Candidate]:
    return [judged(found, budgets) for found in map(reprice, candidates) if found is not None]


def _total(trials: int | None, done: int, unseen: int, *, everything: bool) -> int:
    if trials is None:
        return done + unseen if everything or done + unseen <= ENUMERATE_UP_TO else max(ENUMERATE_UP_TO, done)
    return max(done, min(trials, done + unseen))
