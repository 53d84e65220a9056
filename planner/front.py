"""Pareto fronts and exact hypervolumes, of any number of objectives. All objectives are minimised here.

A point dominates another where it is nowhere worse and somewhere better. The hypervolume is the
volume that a set of points dominates below a reference point (Zitzler & Thiele 1998), computed by
slicing along the last objective: a slice is what one point adds to those below it, and that is the point's own
box without what they cover of it (While, Bradstreet & Barone 2012, the "WFG" recursion). Two objectives are a
staircase. Optuna's own hypervolume is private, hence ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import get_args

from ..records import DEFAULT_OBJECTIVES, Candidate, CollabplanError, Objective

Values = tuple[float, ...]
"""One figure per objective, less is better."""

NAMES: tuple[Objective, ...] = get_args(Objective)
"""Every objective, in the order in which a set of them is kept."""


def checked_objectives(names: Sequence[str]) -> tuple[Objective, ...]:
    """These objectives in the order of `NAMES`, whatever order they were given in.

    Raises:
        CollabplanError: an unknown name, one given twice, or fewer than two.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise CollabplanError(f"there is no objective {unknown[0]!r}; choose at least two of {', '.join(NAMES)}")
    if len(set(names)) != len(names) or len(names) < 2:
        raise CollabplanError(
            f"the objectives {', '.join(names) or '(none)'} are no set of two or more; choose each of "
            f"{', '.join(NAMES)} at most once"
        )
    return tuple(name for name in NAMES if name in names)


def _leakage(candidate: Candidate) -> float:
    """The value, not the upper end: that of an estimate is 1 at many cuts, since few samples rule little out."""
    return candidate.index.value


def _energy(candidate: Candidate) -> float:
    if candidate.edge_energy_mj is None:
        raise CollabplanError(
            f"nothing is known of the energy at {candidate.cut_name}, so it cannot be an objective; declare the "
            "device's power with --edge-watts"
        )
    return candidate.edge_energy_mj


_FIGURES: dict[Objective, Callable[[Candidate], float]] = {
    "accuracy": lambda candidate: -candidate.accuracy.accuracy.value,
    "latency": lambda candidate: candidate.latency.p95_ms,
    "leakage": _leakage,
    "energy": _energy,
    "payload": lambda candidate: float(candidate.payload_bytes),
}


def objectives(candidate: Candidate, names: Sequence[Objective] = DEFAULT_OBJECTIVES) -> Values:
    """What is minimised: minus the accuracy, p95 latency (ms), the leakage index, edge energy (mJ), payload (bytes).

    The index of an estimate counts at its high end, as the budgets hold it. Where attacks were run, here or at others,
    it counts as it was found or is expected: predicted intervals are much wider than audited ones, and by their high
    ends whoever was attacked would hide whoever was not.

    Raises:
        CollabplanError: energy is asked for and not known.
    """
    return tuple(_FIGURES[name](candidate) for name in names)


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """True where `first` is nowhere greater than `second` and somewhere smaller."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and any(
        a < b for a, b in zip(first, second, strict=True)
    )


def pareto_indices(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other point dominates, ascending. Equal points all stay.

    Points are visited in lexicographic order, in which a point can only be dominated by an earlier
    one, so that each is compared with the front found so far.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: tuple(points[i])):
        if not any(dominates(points[kept], points[index]) for kept in front):
            front.append(index)
    return sorted(front)


def pareto_front(candidates: Sequence[Candidate], names: Sequence[Objective] = DEFAULT_OBJECTIVES) -> list[Candidate]:
    """The candidates that no other dominates in these objectives, in their order. Raises as `objectives`."""
    return [candidates[i] for i in pareto_indices([objectives(candidate, names) for candidate in candidates])]


def hypervolume(points: Sequence[Values], reference: Values) -> float:
    """Exact volume dominated by `points` (minimised) and bounded by `reference`, of two or more objectives.

    Points that are not below the reference in every objective add nothing. The unit is the product
    of the objectives' units: compare only values of one reference.
    """
    return _volume([p for p in points if all(a < b for a, b in zip(p, reference, strict=True))], reference)


def added_volume(point: Values, others: Sequence[Values], reference: Values) -> float:
    """What `point` adds to the hypervolume of `others`; 0 where one of them dominates or equals it."""
    if not all(a < b for a, b in zip(point, reference, strict=True)):
        return 0.0
    within = [tuple(map(max, point, other)) for other in others]
    if point in within:
        return 0.0
    return math.prod(b - a for a, b in zip(point, reference, strict=True)) - hypervolume(within, reference)


def _volume(points: Sequence[Values], reference: Values) -> float:
    """The hypervolume of points that are all below the reference."""
    if len(reference) == 2:
        return _area(points, reference)
    front = sorted({points[i] for i in pareto_indices(points)}, key=lambda point: point[-1])
    below, floor = [point[:-1] for point in front], reference[:-1]
    return sum(
        (reference[-1] - point[-1]) * added_volume(below[at], below[:at], floor) for at, point in enumerate(front)
    )


def _area(points: Sequence[Values], reference: Values) -> float:
    """The hypervolume of pairs: a staircase from the left."""
    total, ceiling = 0.0, reference[1]
    for x, y in sorted(points):
        if y < ceiling:
            total += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return total
