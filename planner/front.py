"""Pareto fronts and the exact hypervolume of three objectives. All objectives are minimised here.

A point dominates another where it is nowhere worse and somewhere better. The hypervolume is the
volume that a set of points dominates below a reference point (Zitzler & Thiele 1998), computed by
slicing along the third objective and keeping a two-dimensional staircase. Optuna's own hypervolume
is private, hence ours.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from ..records import Candidate

Point3 = tuple[float, float, float]


def objectives(candidate: Candidate) -> Point3:
    """What is minimised: minus the accuracy, p95 latency (ms), the leakage index.

    The index of an estimate counts at its high end, as the budgets hold it. Where attacks were run, here or at others,
    it counts as it was found or is expected: predicted intervals are much wider than audited ones, and by their high
    ends whoever was attacked would hide whoever was not.
    """
    found = candidate.audited is not None or candidate.predicted is not None
    leakage = candidate.index.value if found else candidate.index.high
    return (-candidate.accuracy.accuracy.value, candidate.latency.p95_ms, leakage)


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


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that no other dominates in `objectives`, in their order."""
    return [candidates[i] for i in pareto_indices([objectives(candidate) for candidate in candidates])]


def hypervolume(points: Sequence[Point3], reference: Point3) -> float:
    """Exact volume dominated by `points` (minimised) and bounded by `reference`.

    Points that are not below the reference in every objective add nothing. The unit is the product
    of the objectives' units: compare only values of one reference.
    """
    inside = sorted((p for p in points if all(a < b for a, b in zip(p, reference, strict=True))), key=lambda p: p[2])
    volume = 0.0
    staircase = _Staircase(reference[0], reference[1])
    for position, point in enumerate(inside):
        staircase.add(point[0], point[1])
        ceiling = inside[position + 1][2] if position + 1 < len(inside) else reference[2]
        if ceiling > point[2]:
            volume += staircase.area() * (ceiling - point[2])
    return volume


class _Staircase:
    """Non-dominated pairs (x ascending, y descending) below a corner, and the area they dominate."""

    def __init__(self, corner_x: float, corner_y: float) -> None:
        self.corner = (corner_x, corner_y)
        self.steps: list[tuple[float, float]] = []

    def add(self, x: float, y: float) -> None:
        at = bisect_left(self.steps, (x, y))
        if at > 0 and self.steps[at - 1][1] <= y:
            return
        end = at
        while end < len(self.steps) and self.steps[end][1] >= y:
            end += 1
        del self.steps[at:end]
        insort(self.steps, (x, y))

    def area(self) -> float:
        total, ceiling = 0.0, self.corner[1]
        for x, y in self.steps:
            total += (self.corner[0] - x) * (ceiling - y)
            ceiling = y
        return total
