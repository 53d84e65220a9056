"""Which point next: Optuna's samplers, so used that a search which was killed and resumed goes on as if it was not.

*TPE* (Bergstra et al. 2011; multi-objective: Ozaki et al. 2022) and *GP* model completed trials: the proposal after k
of them is a function of (seed, k, those trials) alone, never of Optuna's trial numbers, failed trials or a sampler's
inner state. *NSGA-II* (Deb et al. 2002), *NSGA-III* (Deb & Jain 2014) and *random* are sequences: a resumed search runs
through the sequence anew and looks finished trials up. Samplers repeat discrete points readily; a repeated proposal is
drawn again, and after a few attempts an unseen point is taken at random.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ..defenses.seeds import derive_seed
from ..records import DEFAULT_OBJECTIVES, Budgets, Candidate, Objective
from .budgets import checks
from .front import Values, objectives
from .space import Point, Space, point_of

Sampler = Literal["tpe", "gp", "nsga2", "nsga3", "random", "exhaustive"]
MakeSampler = Callable[[int], optuna.samplers.BaseSampler]

STARTUP_TRIALS = 10
ATTEMPTS = 8
POPULATION = 20
_SHADOW = "shadow"


def _nsga3(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.NSGAIIISampler(seed=seed, population_size=POPULATION)


_MODELS: dict[str, MakeSampler] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(
        seed=seed, multivariate=True, constant_liar=False, n_startup_trials=STARTUP_TRIALS
    ),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
}
_SEQUENCES: dict[str, MakeSampler] = {
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION),
    "nsga3": _nsga3,
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


class Proposer(Protocol):
    """Proposes points that were not visited yet."""

    def learn(self, candidate: Candidate) -> None:
        """Take a completed trial into account."""

    def propose(self, seen: Collection[Point], unseen: Sequence[Point], k: int) -> Point:
        """An unseen point for the trial after `k` completed ones. `unseen` is not empty."""


def proposer_named(
    name: Sampler,
    space: Space,
    allowed: Sequence[Point],
    budgets: Budgets,
    seed: int,
    names: Sequence[Objective] = DEFAULT_OBJECTIVES,
) -> Proposer:
    """The proposer by that sampler, over the allowed points, for these objectives.

    Raises:
        KeyError: *exhaustive*, which has none.
    """
    spelling = Spelling(space, allowed, names)
    if name in _MODELS:
        return ModelProposer(_MODELS[name], spelling, budgets, seed)
    return SequenceProposer(_SEQUENCES[name](derive_seed(seed, name)), spelling, budgets, allowed, seed)


class Spelling:
    """Points as a sampler's parameters, with cuts numbered among the *allowed* ones, and figures as its objectives."""

    def __init__(self, space: Space, allowed: Sequence[Point], names: Sequence[Objective] = DEFAULT_OBJECTIVES) -> None:
        self._space, self._names, self.allowed = space, tuple(names), tuple(allowed)
        self.cut_ids = list(dict.fromkeys(point.cut_id for point in allowed))
        dropped = {point.defense.dropout.granularity for point in allowed if point.defense.dropout is not None}
        kinds = [kind for kind in ("element", "channel") if kind in dropped]
        self._kinds = kinds or ["element"]
        self.distributions: dict[str, BaseDistribution] = {
            "cut": IntDistribution(0, len(self.cut_ids) - 1),
            "dropout": CategoricalDistribution(self._kinds),
            "rate": IntDistribution(0, len(space.rates)),
            **({"wire": CategoricalDistribution(range(len(space.wires)))} if len(space.wires) > 1 else {}),
        }

    def point(self, drawn: Mapping[str, Any]) -> Point:
        """What was drawn."""
        return self._space.spelled(self.cut_ids[drawn["cut"]], drawn["dropout"], drawn["rate"], drawn.get("wire", 0))

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Of a study of these objectives."""
        return ["minimize" for _ in self._names]

    def values(self, candidate: Candidate) -> Values:
        """What the sampler minimises."""
        return objectives(candidate, self._names)

    def completed(self, candidate: Candidate, budgets: Budgets) -> FrozenTrial:
        """A candidate at an allowed cut as a completed trial."""
        point = point_of(candidate)
        dropout, rates = point.defense.dropout, [0.0, *self._space.rates]
        parameters = {
            "cut": self.cut_ids.index(point.cut_id),
            "dropout": self._kinds[0] if dropout is None else dropout.granularity,
            "rate": rates.index(point.defense.rate),
            **({"wire": self._space.wire_index(point)} if len(self._space.wires) > 1 else {}),
        }
        return create_trial(
            values=self.values(candidate),
            params=parameters,
            distributions=self.distributions,
            constraints={check.name: check.excess for check in checks(candidate, budgets)},
        )


class ModelProposer:
    """Proposes points by a sampler that models completed trials, which a shadow study in memory holds.

    The shadow holds completed trials only, with cuts numbered among the *allowed* ones, so neither
    what the budgets rule out nor what was left behind by a kill takes part.
    """

    def __init__(self, make: MakeSampler, spelling: Spelling, budgets: Budgets, seed: int) -> None:
        self._make, self._spelling, self._budgets, self._seed = make, spelling, budgets, seed
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(study_name=_SHADOW, storage=self._storage, directions=spelling.directions)
        self._learnt = 0

    def learn(self, candidate: Candidate) -> None:
        """Take a completed trial into account, unless its cut is ruled out now."""
        if candidate.cut_id not in self._spelling.cut_ids:
            return
        self._study.add_trial(self._spelling.completed(candidate, self._budgets))
        self._learnt += 1

    def propose(self, seen: Collection[Point], unseen: Sequence[Point], k: int) -> Point:
        """An unseen point for the trial after `k` completed ones. `unseen` is not empty."""
        if self._learnt >= STARTUP_TRIALS:
            for attempt in range(ATTEMPTS):
                point = self._sample(derive_seed(self._seed, "tpe", k, attempt))
                if point not in seen and point in unseen:
                    return point
        return self._first(unseen, k)

    def _first(self, unseen: Sequence[Point], k: int) -> Point:
        """A point at random. The first ones are drawn beforehand and visited as they are allowed: deepest cut first.

        Deep cuts leak least, and the points of a cut share most of the work. Before them comes the first of the deepest
        cut, by default the undefended one, which most probably keeps the budgets: large networks may have no time for
        more.
        """
        allowed = self._spelling.allowed
        drawn = np.random.default_rng(derive_seed(self._seed, "first")).permutation(len(allowed))[:STARTUP_TRIALS]
        left = set(unseen)
        for at in sorted({0, *drawn.tolist()}):
            point: Point = allowed[at]
            if point in left:
                return point
        draw = np.random.default_rng(derive_seed(self._seed, "unseen", k))
        return unseen[int(draw.integers(len(unseen)))]

    def _sample(self, seed: int) -> Point:
        # A study object caches the trials that it has seen; a new one per draw sees them all.
        study = optuna.load_study(study_name=_SHADOW, storage=self._storage, sampler=self._make(seed))
        trial = study.ask(self._spelling.distributions)
        study.tell(trial, state=TrialState.FAIL)
        return self._spelling.point(trial.params)


class SequenceProposer:
    """Proposes points in the order of a sampler that keeps state of its own, from its first one on."""

    def __init__(
        self,
        sampler: optuna.samplers.BaseSampler,
        spelling: Spelling,
        budgets: Budgets,
        allowed: Sequence[Point],
        seed: int,
    ) -> None:
        self._spelling, self._budgets, self._allowed, self._seed = spelling, budgets, allowed, seed
        self._study = optuna.create_study(directions=spelling.directions, sampler=sampler)
        self._known: dict[Point, Candidate] = {}
        self._told: dict[Point, None] = {}
        self._open: tuple[Point, Trial | None] | None = None

    def learn(self, candidate: Candidate) -> None:
        """Remember a completed trial for when the sequence comes to it."""
        self._known[point_of(candidate)] = candidate

    def propose(self, seen: Collection[Point], unseen: Sequence[Point], k: int) -> Point:  # noqa: ARG002
        """The next point of the sequence that is not known. `unseen` is not empty."""
        while True:
            point, trial = self._open or self._next()
            self._open = (point, trial)
            if point not in self._known:
                return point
            self._told[point] = None
            self._open = None
            if trial is None:
                self._study.add_trial(self._spelling.completed(self._known[point], self._budgets))
            else:
                self._tell(trial, self._known[point])

    def _next(self) -> tuple[Point, Trial | None]:
        """The next point of the sequence, with the sampler's trial; None where an untold one was taken at random."""
        for _ in range(ATTEMPTS):
            trial = self._study.ask(self._spelling.distributions)
            point = self._spelling.point(trial.params)
            if point in self._told:
                self._tell(trial, self._known[point])
            elif point in self._allowed:
                return point, trial
            else:
                self._study.tell(trial, state=TrialState.FAIL)
        left = [point for point in self._allowed if point not in self._told]
        draw = np.random.default_rng(derive_seed(self._seed, "untold", len(self._told)))
        return left[int(draw.integers(len(left)))], None

    def _tell(self, trial: Trial, candidate: Candidate) -> None:
        for check in checks(candidate, self._budgets):
            trial.set_constraint(check.name, check.excess)
        self._study.tell(trial, self._spelling.values(candidate))
