"""What the user asked for, held against one candidate at the bad end of each interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Budgets, Candidate, Latency


@dataclass(frozen=True, slots=True)
class Costs:
    """What the additive model knows about a (cut, defense) before any network runs."""

    latency: Latency
    payload_bytes: int
    edge_peak_bytes: int
    edge_parameter_count: int

    @classmethod
    def of(cls, candidate: Candidate) -> Costs:
        """The costs that a candidate carries."""
        return cls(
            candidate.latency, candidate.payload_bytes, candidate.edge_peak_bytes, candidate.edge_parameter_count
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One budget held against one figure.

    `excess` is relative to the budget: 0 or less where it holds, 0.2 where the figure is 20 % too
    high. Shares (accuracy drop, leakage) are compared with at least `floor`, so that a budget of 0
    does not make every excess infinite.
    """

    name: str
    figure: float
    budget: float
    text: str
    floor: float = 0.0

    @property
    def excess(self) -> float:
        """Relative amount by which the figure exceeds the budget."""
        return (self.figure - self.budget) / max(self.budget, self.floor)

    @property
    def holds(self) -> bool:
        """True where the figure keeps within the budget."""
        return self.figure <= self.budget


def cost_checks(costs: Costs, budgets: Budgets) -> list[Check]:
    """The budgets that need no data: p95 latency, edge memory, edge parameters."""
    checks = []
    if budgets.latency_p95_ms is not None:
        figure = costs.latency.p95_ms
        text = f"latency p95 {figure:.1f} ms (p50 {costs.latency.p50_ms.value:.1f}) against {budgets.latency_p95_ms:g}"
        checks.append(Check("latency", figure, budgets.latency_p95_ms, text))
    if budgets.edge_memory_bytes is not None:
        text = f"edge memory {costs.edge_peak_bytes / 1e6:.1f} MB against {budgets.edge_memory_bytes / 1e6:g}"
        checks.append(Check("edge memory", costs.edge_peak_bytes, budgets.edge_memory_bytes, text))
    if budgets.max_edge_parameters is not None:
        text = f"edge parameters {costs.edge_parameter_count} against {budgets.max_edge_parameters}"
        checks.append(Check("edge parameters", costs.edge_parameter_count, budgets.max_edge_parameters, text, floor=1))
    return checks


def checks(candidate: Candidate, budgets: Budgets) -> list[Check]:
    """Every budget that was asked for, held against `candidate`."""
    found = cost_checks(Costs.of(candidate), budgets)
    if budgets.max_accuracy_drop is not None:
        drop = candidate.accuracy.drop
        text = f"accuracy drop up to {drop.high:.4f} (measured {drop.value:.4f}) against {budgets.max_accuracy_drop:g}"
        found.append(Check("accuracy drop", drop.high, budgets.max_accuracy_drop, text, floor=0.01))
    if budgets.max_leakage is not None:
        index = candidate.leakage.index
        text = f"leakage index up to {index.high:.3f} (estimated {index.value:.3f}) against {budgets.max_leakage:g}"
        found.append(Check("leakage", index.high, budgets.max_leakage, text, floor=0.05))
    return found


def judged(candidate: Candidate, budgets: Budgets) -> Candidate:
    """`candidate` with `meets_budgets` and `violations` as these budgets see it."""
    broken = tuple(check.text for check in checks(candidate, budgets) if not check.holds)
    return candidate.model_copy(update={"meets_budgets": not broken, "violations": broken})


def worst_excess(found: Sequence[Check]) -> float:
    """How far the worst of these budgets is missed, relative to it; minus infinity where none was asked for."""
    return max((check.excess for check in found), default=float("-inf"))
