"""Walks the space: everything in a fixed order where that is affordable, else what a sampler proposes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..attacks.time_limit import TimeUp
from ..records import Budgets, Candidate
from .budgets import judged
from .samplers import Proposer, Sampler, proposer_named
from .shared_study import SharedStore
from .space import Point, point_of
from .study import StoredStudy, TrialStore

ENUMERATE_UP_TO = 200
"""Spaces up to this size are enumerated unless fewer trials are asked for; else this many trials are run."""


OnProgress = Callable[[str, float], None]
"""Called with what has just been done and how far the step is, 0 to 1."""

Reprice = Callable[[Candidate], Candidate | None]
"""Brings the costs of a candidate from an earlier run up to date (another link); None leaves it out."""


@dataclass(frozen=True)
class Searched:
    """Every completed trial of the study, judged by the present budgets; `reused` came from earlier runs."""

    candidates: tuple[Candidate, ...]
    reused: int


@dataclass(frozen=True)
class Walk:
    """Which points are visited, and how each is measured.

    Attributes:
        allowed: the points that the budgets do not rule out beforehand, in the order in which they are visited.
        evaluate: measures one point; deterministic, so that a repeated run gives the same candidate.
        budgets: become constraints of the search.
        seed: of the proposals.
        trials: the total in the study. None enumerates up to `ENUMERATE_UP_TO` points, else runs that many.
        sampler: what proposes points where not all are visited; *exhaustive* goes through them in order.
        reprice: see `Reprice`.
        enough: asked before every trial with those that are complete; True ends the search.
    """

    allowed: Sequence[Point]
    evaluate: Callable[[Point], Candidate]
    budgets: Budgets
    seed: int
    trials: int | None = None
    sampler: Sampler = "tpe"
    reprice: Reprice = lambda candidate: candidate
    enough: Callable[[Sequence[Candidate]], bool] = lambda _: False

    def measured(self, point: Point) -> Candidate:
        """The point's candidate, judged by the budgets."""
        return judged(self.evaluate(point), self.budgets)

    def repriced(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those of earlier runs that still count, with the costs and the judgement of today."""
        return [judged(found, self.budgets) for found in map(self.reprice, candidates) if found is not None]

    def total(self, done: int, left: int) -> int:
        """Trials in all, of which `done` are complete and `left` points are not yet visited."""
        if self.trials is None:
            everything = self.sampler == "exhaustive" or done + left <= ENUMERATE_UP_TO
            return done + left if everything else max(ENUMERATE_UP_TO, done)
        return max(done, min(self.trials, done + left))

    def in_order(self, done: int, left: int) -> bool:
        """True where the points are visited in their order, without a sampler."""
        return self.sampler == "exhaustive" or self.total(done, left) >= done + left

    def proposer(self, store: StoredStudy, known: Iterable[Candidate]) -> Proposer:
        """The sampler, which has learnt from the known candidates."""
        made = proposer_named(self.sampler, store.space, self.allowed, self.budgets, self.seed, store.objectives)
        for candidate in known:
            made.learn(candidate)
        return made


def search_points(store: TrialStore, walk: Walk, on_progress: OnProgress | None = None) -> Searched:
    """Evaluate points until all trials are complete in the study, no point is left, or the time for it is up.

    Args:
        store: where completed trials are kept; those in it count towards `walk.trials`.
        walk: which points, and how.
        on_progress: called after every trial.

    Raises:
        CollabplanError: the store cannot be read or written. What `walk.evaluate` raises passes through.
    """
    found = walk.repriced(store.completed())
    reused = len(found)
    seen = {point_of(candidate) for candidate in found}
    unseen = [point for point in walk.allowed if point not in seen]
    total = walk.total(len(found), len(unseen))
    proposer = None if walk.in_order(len(found), len(unseen)) else walk.proposer(store, found)
    while unseen and len(found) < total and not walk.enough(found):
        point = unseen[0] if proposer is None else proposer.propose(seen, unseen, len(found))
        started = datetime.now()
        try:
            candidate = walk.measured(point)
        except TimeUp:
            break
        store.add(candidate, walk.budgets, started)
        found.append(candidate)
        seen.add(point)
        unseen.remove(point)
        if proposer:
            proposer.learn(candidate)
        if on_progress:
            on_progress(f"trial {len(found)} of {total}: {candidate.cut_name}", len(found) / total)
    return Searched(tuple(found), reused)


def search_together(
    store: SharedStore, walk: Walk, on_progress: OnProgress | None = None, *, pause_s: float = 1.0
) -> Searched:
    """As `search_points`, beside other workers: returns when the study is complete, whoever completed it.

    `reused` counts the candidates that this worker did not measure.

    Args:
        pause_s: how long to wait for others, who may die, while no point is free.
    """
    proposer: Proposer | None = None
    known: dict[Point, Candidate] = {}
    own = 0
    while True:
        store.release_dead()
        fresh = walk.repriced([c for c in store.completed() if point_of(c) not in known])
        for candidate in fresh:
            known[point_of(candidate)] = candidate
            if proposer:
                proposer.learn(candidate)
        busy = store.taken()
        left = [point for point in walk.allowed if point not in known]
        unseen = [point for point in left if point.key not in busy]
        total = walk.total(len(known), len(left))
        if on_progress and fresh:
            on_progress(f"trial {len(known)} of {total}", len(known) / max(total, 1))
        if len(known) >= total or walk.enough(tuple(known.values())):
            return Searched(tuple(known.values()), len(known) - own)
        if not unseen or len(known) + len(busy) >= total:
            time.sleep(pause_s)
            continue
        point = unseen[0]
        if not walk.in_order(len(known), len(left)):
            proposer = proposer or walk.proposer(store, known.values())
            proposed = proposer.propose(known.keys(), unseen, len(known) + len(busy))
            point = proposed if proposed in unseen else unseen[0]
        claim = store.claim(point)
        if claim is not None:
            try:
                with store.beating(claim):
                    candidate = walk.measured(point)
            except TimeUp:
                return Searched(tuple(known.values()), len(known) - own)
            own += store.finish(claim, candidate, walk.budgets)
