"""What the user asked for, held against one candidate at the bad end of each interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Audited, Budgets, Candidate, Interval, Latency
from ..records.privacy import AUDITED_BUDGETS, LEAKAGE, PRIVACY_BUDGETS, PrivacyBudget
from ..records.sign_off import QUICK, EffortName


@dataclass(frozen=True, slots=True)
class Costs:
    """What the additive model knows about a (cut, defense) before any network runs."""

    latency: Latency
    payload_bytes: int
    edge_peak_bytes: int
    edge_parameter_count: int
    edge_energy_mj: float | None = None

    @classmethod
    def of(cls, candidate: Candidate) -> Costs:
        """The costs that a candidate carries."""
        return cls(
            candidate.latency,
            candidate.payload_bytes,
            candidate.edge_peak_bytes,
            candidate.edge_parameter_count,
            candidate.edge_energy_mj,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One budget held against one figure.

    `excess` is relative to the budget: 0 or less where it holds, 0.2 where the figure is 20 % too
    high. Shares (accuracy drop, leakage) are compared with at least `floor`, so that a budget of 0
    does not make every excess infinite. Of a figure that is the end of an interval, `measured` is its middle, on
    `samples` of one half of the validation data.
    """

    name: str
    figure: float
    budget: float
    text: str
    floor: float = 0.0
    measured: float | None = None
    samples: int = 0

    @property
    def excess(self) -> float:
        """Relative amount by which the figure exceeds the budget."""
        return (self.figure - self.budget) / max(self.budget, self.floor)

    @property
    def holds(self) -> bool:
        """True where the figure keeps within the budget."""
        return self.figure <= self.budget

    @property
    def undecided(self) -> bool:
        """True where what was measured keeps the budget, and too few samples leave it open whether that is so."""
        return self.measured is not None and self.measured <= self.budget < self.figure

    @property
    def samples_needed(self) -> int | None:
        """About how many samples of a split would decide; the interval shrinks with their root. None: none would."""
        assert self.measured is not None
        room = self.budget - self.measured
        return round(self.samples * ((self.figure - self.measured) / room) ** 2) if room > 1e-6 else None


PRIVACY = tuple(budget.name for budget in PRIVACY_BUDGETS)
"""Budgets that attacks decide."""

AUDITED_ONLY = tuple(budget.name for budget in AUDITED_BUDGETS)
"""Those of them that no estimate can be held against."""


CONFIRM_SPLIT = "on the confirm split"
"""In every violation for which the choice dropped a candidate that kept the budgets on the search split."""


def dropped_for(candidate: Candidate) -> tuple[str, ...]:
    """Why the choice dropped a candidate on the confirm split; empty where it did not."""
    return tuple(text for text in candidate.violations if CONFIRM_SPLIT in text)


def without(budgets: Budgets, names: Sequence[str]) -> Budgets:
    """The same budgets but for these."""
    return budgets.model_copy(update=dict.fromkeys(names))


def cost_checks(costs: Costs, budgets: Budgets) -> list[Check]:
    """The budgets that need no data: p95 latency, payload, edge memory, energy and parameters."""
    checks = []
    if budgets.latency_p95_ms is not None:
        figure = costs.latency.p95_ms
        text = f"latency p95 {figure:.1f} ms (p50 {costs.latency.p50_ms.value:.1f}) against {budgets.latency_p95_ms:g}"
        checks.append(Check("latency", figure, budgets.latency_p95_ms, text))
    if budgets.max_payload_bytes is not None:
        text = f"payload {costs.payload_bytes / 1e3:.1f} kB against {budgets.max_payload_bytes / 1e3:g}"
        checks.append(Check("payload", costs.payload_bytes, budgets.max_payload_bytes, text))
    if budgets.edge_memory_bytes is not None:
        text = f"edge memory {costs.edge_peak_bytes / 1e6:.1f} MB against {budgets.edge_memory_bytes / 1e6:g}"
        checks.append(Check("edge memory", costs.edge_peak_bytes, budgets.edge_memory_bytes, text))
    if budgets.max_edge_energy_mj is not None:
        spent = float("inf") if costs.edge_energy_mj is None else costs.edge_energy_mj
        text = f"edge energy {spent:.3g} mJ against {budgets.max_edge_energy_mj:g}"
        checks.append(Check("edge energy", spent, budgets.max_edge_energy_mj, text))
    if budgets.max_edge_parameters is not None:
        text = f"edge parameters {costs.edge_parameter_count} against {budgets.max_edge_parameters}"
        checks.append(Check("edge parameters", costs.edge_parameter_count, budgets.max_edge_parameters, text, floor=1))
    return checks


def checks(candidate: Candidate, budgets: Budgets, proof: EffortName | None = None) -> list[Check]:
    """Every budget that was asked for, held against `candidate`; `proof` as of `privacy_checks`."""
    found, samples = cost_checks(Costs.of(candidate), budgets), candidate.accuracy.sample_count
    if budgets.max_accuracy_drop is not None:
        drop = candidate.accuracy.drop
        text = f"accuracy drop up to {drop.high:.4f} (measured {drop.value:.4f}) against {budgets.max_accuracy_drop:g}"
        found.append(Check("accuracy drop", drop.high, budgets.max_accuracy_drop, text, 0.01, drop.value, samples))
    if budgets.min_accuracy is not None:
        accuracy = candidate.accuracy.accuracy
        text = f"accuracy from {accuracy.low:.4f} (measured {accuracy.value:.4f}) against {budgets.min_accuracy:g}"
        # What is lost is compared, so that more is worse as everywhere else.
        lost = 1 - accuracy.low, 1 - budgets.min_accuracy
        found.append(Check("accuracy", *lost, text, 0.01, 1 - accuracy.value, samples))
    return [*found, *privacy_checks(candidate, budgets, proof)]


def privacy_checks(candidate: Candidate, budgets: Budgets, proof: EffortName | None = None) -> list[Check]:
    """The budgets that attacks decide. What only an audit tells is 1 without one, the worst that it can be.

    Args:
        candidate: with or without an audit.
        budgets: of which only those on privacy count here.
        proof: the effort whose audits are still to come. What is known until then refutes, and proves nothing: it is
            held against the budgets at its good end. None: nothing is to come, and the bad end counts.
    """
    if proof is not None and not _final(candidate, proof):
        return _refuting(candidate, budgets)
    found = []
    if budgets.max_leakage is not None:
        index, figure = candidate.index, candidate.index.high
        text = (
            f"{candidate.leakage.index_name} up to {figure:.3f} ({candidate.index_is} {index.value:.3f}) against "
            f"{budgets.max_leakage:g}"
        )
        if candidate.audited is not None and (why := _unproven(candidate.audited)):
            figure, text = 1.0, text + why
        found.append(Check("leakage", figure, budgets.max_leakage, text, floor=0.05))
    for budget in AUDITED_BUDGETS:
        if (limit := budget.limit(budgets)) is not None:
            found.append(_audited_check(candidate, budget, limit))
    return found


def _final(candidate: Candidate, proof: EffortName) -> bool:
    """True if nothing more is to come for a candidate: it follows from the definition, or was attacked at `proof`."""
    audited = candidate.audited
    if audited is None:
        return candidate.leakage.status == "by-definition"
    return audited.split == "confirm" and audited.effort == proof != "quick"


def _refuting(candidate: Candidate, budgets: Budgets) -> list[Check]:
    """Privacy budgets held against the least that attackers surely recover."""
    figures = None if candidate.audited is None else candidate.audited.figures
    known: list[tuple[PrivacyBudget, str, str, Interval | None]] = [
        (LEAKAGE, "leakage", candidate.leakage.index_name, candidate.index),
        *((each, each.figure, each.figure, each.of(figures)) for each in AUDITED_BUDGETS),
    ]
    return [
        Check(name, figure.low, limit, f"{said} from {figure.low:.3f} against {limit:g}", floor=0.05)
        for budget, name, said, figure in known
        if figure is not None and (limit := budget.limit(budgets)) is not None
    ]


def _audited_check(candidate: Candidate, budget: PrivacyBudget, limit: float) -> Check:
    name = budget.figure
    if candidate.audited is None:
        private = candidate.leakage.status == "by-definition" and candidate.leakage.index.high == 0
        why = "nothing private crosses" if private else "not audited"
        return Check(name, 0.0 if private else 1.0, limit, f"{name}: {why}, against {limit:g}", floor=0.05)
    rate = budget.of(candidate.audited.figures)
    if rate is None:
        return Check(name, 1.0, limit, budget.unknown(limit), floor=0.05)
    why = _unproven(candidate.audited)
    text = f"{name} up to {rate.high:.3f} against {limit:g}{why}"
    return Check(name, 1.0 if why else rate.high, limit, text, floor=0.05)


def _unproven(audited: Audited) -> str:
    """Why an audit meets no budget, whatever it found. While searching, quick effort may steer."""
    figures = audited.figures
    if audited.split == "confirm" and audited.effort == "quick":
        return f", but {QUICK}; search with --audit-effort standard"
    # At quick effort every figure is a lower bound anyway, and is called one.
    if not figures.conclusive and audited.effort != "quick":
        return f", but nothing is proven, since attacks FAILED: {', '.join(figures.failed)}"
    return ""


def judged(candidate: Candidate, budgets: Budgets, proof: EffortName | None = None) -> Candidate:
    """`candidate` with `meets_budgets` and `violations` as these budgets see it; `proof` as of `privacy_checks`."""
    broken = tuple(check.text for check in checks(candidate, budgets, proof) if not check.holds)
    return candidate.model_copy(update={"meets_budgets": not broken, "violations": broken})


def worst_excess(found: Sequence[Check]) -> float:
    """How far the worst of these budgets is missed, relative to it; minus infinity where none was asked for."""
    return max((check.excess for check in found), default=float("-inf"))
