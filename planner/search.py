"""Walks the space: everything in a fixed order where that is affordable, else what TPE proposes.

The proposal after k completed trials is a function of (seed, k, those trials) alone. It never sees
Optuna's trial numbers, failed trials or a sampler's inner state, so that a search that was killed
and resumed, or run as 30 + 30 trials, visits the same points as one that ran through. TPE (Bergstra
et al. 2011; multi-objective: Ozaki et al. 2022) repeats discrete points readily; a repeated proposal
is drawn again, and after a few attempts an unseen point is taken at random.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import create_trial

from ..estimators.seeds import derive_seed
from ..records import Budgets, Candidate
from .budgets import checks, judged
from .front import objectives
from .space import Point, Space, point_of
from .study import TrialStore

ENUMERATE_UP_TO = 200
"""Spaces of at most so many points are enumerated unless fewer trials are asked for; else so many trials are run."""

STARTUP_TRIALS = 10
ATTEMPTS = 8
_SHADOW = "shadow"


OnProgress = Callable[[str, float], None]
"""Called with what has just been done and how far the step is, 0 to 1."""


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
    reprice: Callable[[Candidate], Candidate] = lambda candidate: candidate,
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
        reprice: brings the costs of a candidate from an earlier run up to date (another link).
        on_progress: called after every trial.

    Raises:
        CollabplanError: the store cannot be read or written. What `evaluate` raises passes through.
    """
    found = [judged(reprice(candidate), budgets) for candidate in store.completed()]
    reused = len(found)
    seen = {point_of(candidate) for candidate in found}
    unseen = [point for point in allowed if point not in seen]
    total = _total(trials, len(found), len(unseen))
    in_order = total >= len(found) + len(unseen)
    proposer = None if in_order else Proposer(store.space, allowed, budgets, seed)
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


def _total(trials: int | None, done: int, unseen: int) -> int:
    if trials is None:
        return done + unseen if done + unseen <= ENUMERATE_UP_TO else max(ENUMERATE_UP_TO, done)
    return max(done, min(trials, done + unseen))


class Proposer:
    """Proposes points by TPE from completed trials, kept in a shadow study in memory.

    The shadow holds completed trials only, with cuts numbered among the *allowed* ones, so neither
    what the budgets rule out nor what was left behind by a kill takes part.
    """

    def __init__(self, space: Space, allowed: Sequence[Point], budgets: Budgets, seed: int) -> None:
        self._space = space
        self._budgets = budgets
        self._seed = seed
        self._cut_ids = list(dict.fromkeys(point.cut_id for point in allowed))
        kinds = [kind for kind in ("element", "channel") if any(point.dropout == kind for point in allowed)]
        self._kinds = kinds or ["element"]
        self._distributions: dict[str, BaseDistribution] = {
            "cut": IntDistribution(0, len(self._cut_ids) - 1),
            "dropout": CategoricalDistribution(self._kinds),
            "rate": IntDistribution(0, len(space.rates)),
        }
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(study_name=_SHADOW, storage=self._storage, directions=["minimize"] * 3)
        self._learnt = 0

    def learn(self, candidate: Candidate) -> None:
        """Take a completed trial into account, unless its cut is ruled out now."""
        if candidate.cut_id not in self._cut_ids:
            return
        point = point_of(candidate)
        rates = [0.0, *(round(rate, 6) for rate in self._space.rates)]
        parameters = {
            "cut": self._cut_ids.index(point.cut_id),
            "dropout": point.dropout if point.dropout in self._kinds else self._kinds[0],
            "rate": rates.index(point.rate),
        }
        constraints = {check.name: check.excess for check in checks(candidate, self._budgets)}
        self._study.add_trial(
            create_trial(
                values=objectives(candidate),
                params=parameters,
                distributions=self._distributions,
                constraints=constraints,
            )
        )
        self._learnt += 1

    def propose(self, seen: Collection[Point], unseen: Sequence[Point], k: int) -> Point:
        """An unseen point for the trial after `k` completed ones. `unseen` is not empty."""
        if self._learnt >= STARTUP_TRIALS:
            for attempt in range(ATTEMPTS):
                point = self._sample(derive_seed(self._seed, "tpe", k, attempt))
                if point not in seen and point in unseen:
                    return point
        draw = np.random.default_rng(derive_seed(self._seed, "unseen", k))
        return unseen[int(draw.integers(len(unseen)))]

    def _sample(self, seed: int) -> Point:
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=False, n_startup_trials=STARTUP_TRIALS
        )
        # A study object caches the trials that it has seen; a new one per draw sees them all.
        study = optuna.load_study(study_name=_SHADOW, storage=self._storage)
        space = {name: dist for name, dist in self._distributions.items() if not dist.single()}
        drawn: dict[str, Any] = {"cut": 0, "dropout": self._kinds[0], "rate": 0}
        drawn |= sampler.sample_relative(study, study.get_trials(deepcopy=False)[-1], space)
        return self._space.spelled(self._cut_ids[drawn["cut"]], drawn["dropout"], drawn["rate"])
