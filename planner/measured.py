"""What a search measures beside its trials, kept in its study: each once, however often the search was interrupted.

Tries on the confirm split are counted here too. Each may hold by chance, so those of all runs that ask the same
question count together (`choose.CONFIRM_TRIES`), also one that was killed before it had an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import Candidate, hash_json
from .budgets import judged
from .evaluator import Evaluator, Split
from .problem import Problem
from .space import Point, point_of
from .study import StoredStudy


class Measured:
    """The candidates of one search on either split.

    Args:
        evaluator: measures those that are not known yet.
        store: the study, which keeps them.

    Attributes:
        tried: the points that were tried on the confirm split, in this run or in an earlier one with this question.
    """

    def __init__(self, evaluator: Evaluator, store: StoredStudy) -> None:
        self._evaluator, self._store = evaluator, store
        self._question = question(evaluator.problem)
        self._known: dict[tuple[Point, Split], Candidate] = {}
        self._learn("search", store.completed())
        self._learn("search", store.beside("search"))
        self._learn("confirm", store.beside("confirm"))
        self.tried: set[Point] = store.tried(self._question)

    def _learn(self, split: Split, candidates: Sequence[Candidate]) -> None:
        self._known |= {(point_of(candidate), split): candidate for candidate in candidates}

    def once(self, point: Point, split: Split = "search") -> Candidate:
        """The point's candidate: as it is known, else measured now and kept. Raises as `Evaluator.evaluate`."""
        found = self.known(point, split)
        if found is None:
            found = self._evaluator.evaluate(point, split)
            self._store.keep_beside(found, split)
            self._known[point, split] = found
        return found

    def known(self, point: Point, split: Split = "search") -> Candidate | None:
        """The point's candidate if it was measured before, at the costs of today."""
        kept = self._known.get((point, split))
        found = None if kept is None else self._evaluator.reprice(kept)
        return None if found is None else judged(found, self._evaluator.problem.budgets)

    def confirm(self, candidate: Candidate) -> Candidate:
        """A candidate's point on the confirm split, which is a try."""
        point = point_of(candidate)
        if point not in self.tried:
            self._store.note_try(self._question, point)
            self.tried.add(point)
        return self.once(point, "confirm")


def question(problem: Problem) -> str:
    """Names what a search asks beside what its study is of: budgets, network and devices. The plan is one answer to it.

    Args:
        problem: with everything that it asks.
    """
    asked: Mapping[str, object] = {
        "budgets": problem.budgets.model_dump(mode="json"),
        "link": problem.link.model_dump(mode="json"),
        "slowdown": problem.edge_slowdown,
        "power": None if problem.power is None else problem.power.model_dump(mode="json"),
        "devices": [
            each.device.model_dump(mode="json", exclude={"load_average"})
            for each in (problem.edge_profile, problem.cloud_profile)
        ],
    }
    return hash_json(asked)
