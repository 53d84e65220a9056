"""The report's tables: cuts by depth, every candidate, estimate against attack, latency part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..attacks.agreement import FEWEST, Pair, measure_agreement
from ..records import Audit, Candidate, DefenseRecord, Interval, LeakageReport, Plan
from .document import Agreement, CandidateRow, Compared, LatencyRow, LatencySection, StripRow
from .wording import number, short_defense

MOST_CUTS = 40
"""Cuts that the strip shows; those with a figure of leakage come first, the others evenly."""

RIDGE = "leakage index (ridge)"
"""The name of the estimate that is compared."""


def every_candidate(plan: Plan) -> list[tuple[str, Candidate]]:
    """The plan, the baselines and the front, each with its role."""
    return [
        ("the plan", plan.chosen),
        *((each.role, each.candidate) for each in plan.baselines),
        *(("front", candidate) for candidate in plan.front),
    ]


def candidate_rows(plan: Plan, index: Interval) -> tuple[CandidateRow, ...]:
    """One row for each candidate that the plan keeps. The plan and the baselines are those of the confirm split.

    Args:
        plan: the plan.
        index: the worst that is known of it; later attacks may have found more than its own.
    """
    return tuple(
        CandidateRow(
            number=at,
            role=role,
            cut=one.cut_name,
            defense=short_defense(one),
            split="search" if role == "front" else "confirm",
            latency_p50_ms=one.latency.p50_ms,
            latency_p95_ms=one.latency.p95_ms,
            accuracy=one.accuracy.accuracy,
            accuracy_drop=one.accuracy.drop,
            index=index if role == "the plan" else one.index,
            index_is="audited" if role == "the plan" and index != one.index else one.index_is,
            payload_bytes=one.payload_bytes,
            edge_energy_mj=one.edge_energy_mj,
            meets_budgets=one.meets_budgets,
            violations=one.violations,
        )
        for at, (role, one) in enumerate(every_candidate(plan), start=1)
    )


class Depth:
    """One cut of the strip, as the profile knows it: `latency_ms` and `payload_bytes` are without a defense."""

    def __init__(self, cut_id: str, name: str, kind: str, latency_ms: float | None, payload_bytes: int | None) -> None:
        self.cut_id, self.name, self.kind = cut_id, name, kind
        self.latency_ms, self.payload_bytes = latency_ms, payload_bytes


def point(one: Candidate) -> tuple[str, DefenseRecord]:
    """What tells one candidate from another: the cut, and the defense before it is fitted."""
    return one.cut_id, one.defense.unfitted


def strip_rows(
    plan: Plan, index: Interval, depths: Sequence[Depth], leakage: LeakageReport | None, audits: Sequence[Audit]
) -> tuple[tuple[StripRow, ...], int]:
    """The cuts by depth, and how many were left out.

    Args:
        plan: the plan.
        index: the worst that is known of it.
        depths: every cut, edge to cloud; empty: those of the plan's candidates.
        leakage: estimates of further cuts.
        audits: attacks on further cuts.
    """
    known = [one for _, one in every_candidate(plan)]
    ordered = list(depths) or _depths_of(known)
    at_plan = next((at for at, depth in enumerate(ordered) if depth.cut_id == plan.cut_id), len(ordered))
    bare = _undefended(known, leakage, audits)
    known = [one for one in known if point(one) != point(plan.chosen)]
    rows = [_strip_row(plan, index, depth, at <= at_plan, known, bare) for at, depth in enumerate(ordered)]
    kept = _kept(rows)
    return tuple(rows[at] for at in kept), len(rows) - len(kept)


def _strip_row(
    plan: Plan,
    plans: Interval,
    depth: Depth,
    on_device: bool,
    known: Sequence[Candidate],
    bare: Mapping[str, tuple[float, str]],
) -> StripRow:
    here = [one for one in known if one.cut_id == depth.cut_id]
    chosen = depth.cut_id == plan.cut_id
    best = plan.chosen if chosen else min(here, key=lambda one: (not one.meets_budgets, one.index.high), default=None)
    index, index_is = bare.get(depth.cut_id, (None, None))
    roles = tuple(dict.fromkeys(each.role for each in plan.baselines if each.candidate.cut_id == depth.cut_id))
    plain = [one for one in here if is_undefended(one.defense)]
    return StripRow(
        cut_id=depth.cut_id,
        name=depth.name,
        kind=depth.kind,
        on_device=on_device,
        chosen=chosen,
        roles=tuple(role for role in roles if role != depth.name),
        latency_ms=plain[0].latency.p50_ms.value if plain else depth.latency_ms,
        payload_bytes=plain[0].payload_bytes if plain else depth.payload_bytes,
        index_high=index,
        index_is=index_is,
        best_index=plans.high if chosen else None if best is None else best.index.high,
        best_is=None if best is None else best.index_is,
        best_defense=None if best is None else short_defense(best),
    )


def is_undefended(defense: DefenseRecord) -> bool:
    """Whether a defense hides nothing on purpose: a quantizer at most."""
    return defense.unfitted.text in ("none", "quantizer:none")


def _undefended(
    known: Sequence[Candidate], leakage: LeakageReport | None, audits: Sequence[Audit]
) -> dict[str, tuple[float, str]]:
    """By cut, the greatest upper end of the index without a defense, and what it is."""
    found = [(one.cut_id, one.index.high, one.index_is) for one in known if is_undefended(one.defense)]
    found += [
        (row.cut_id, row.leakage.index.high, row.leakage.status)
        for row in (() if leakage is None else leakage.rows)
        if is_undefended(row.defense)
    ]
    found += [
        (each.cut_id, each.tiers[-1].index.high, "audited")
        for each in audits
        if each.tiers and is_undefended(each.defense)
    ]
    worst: dict[str, tuple[float, str]] = {}
    for cut_id, high, what in found:
        if cut_id not in worst or high > worst[cut_id][0]:
            worst[cut_id] = (high, what)
    return worst


def _depths_of(known: Sequence[Candidate]) -> list[Depth]:
    """The candidates' cuts in order, where no profile is at hand: more of the network on the device is deeper."""
    kinds = ("cloud-only", "proper", "edge-only")
    order = sorted(
        known, key=lambda one: (kinds.index(one.cut_kind), one.edge_parameter_count, one.latency.parts.edge_ms)
    )
    unique = {one.cut_id: one for one in order}
    return [Depth(one.cut_id, one.cut_name, one.cut_kind, None, None) for one in unique.values()]


def _kept(rows: Sequence[StripRow]) -> list[int]:
    if len(rows) <= MOST_CUTS:
        return list(range(len(rows)))
    musts = [at for at, row in enumerate(rows) if row.chosen or row.roles or row.kind != "proper"]
    musts += [at for at, row in enumerate(rows) if row.best_index is not None][: MOST_CUTS - len(musts)]
    left = [at for at in range(len(rows)) if at not in musts]
    room = max(0, MOST_CUTS - len(set(musts)))
    evenly = [left[len(left) * at // room] for at in range(room)] if left and room else []
    return sorted({*musts, *evenly})


def agreement(plan: Plan, leakage: LeakageReport | None, audits: Sequence[Audit]) -> Agreement:
    """What was both estimated and attacked, and how well the estimate ranks it."""
    pairs = _pairs(plan, leakage, audits)
    compared = tuple(
        Compared(name=pair.label, estimated=pair.estimates[RIDGE], attacked=pair.audited) for pair in pairs
    )
    if len(pairs) < FEWEST:
        counted = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}"
        said = (
            f"Estimated and attacked: {counted} of cut and defense; a rank correlation takes {FEWEST}. "
            "How far the estimates can be trusted here is not known."
        )
        return Agreement(pairs=compared, spearman=None, low=None, high=None, said=said)
    rows, _ = measure_agreement(pairs, np.random.default_rng(0))
    row = next(row for row in rows if row.estimate == RIDGE and row.scope == "pooled")
    value = row.spearman
    if value.value is None:
        said = f"{len(pairs)} pairs, all of one rank: they say nothing about the estimate."
    else:
        ends = "" if value.low is None else f" (95 %: {value.low:.2f} to {value.high:.2f})"
        said = (
            f"Rank correlation {value.value:.2f}{ends} over {len(pairs)} cuts and defenses: 1 means that estimates and "
            "attacks order them alike, 0 that the estimate says nothing."
        )
    return Agreement(pairs=compared, spearman=value.value, low=value.low, high=value.high, said=said)


def _pairs(plan: Plan, leakage: LeakageReport | None, audits: Sequence[Audit]) -> list[Pair]:
    estimates = {
        (row.cut_id, row.defense.unfitted.text): row.leakage for row in (() if leakage is None else leakage.rows)
    }
    found: dict[tuple[str, str], Pair] = {}
    for _, one in every_candidate(plan):
        key = (one.cut_id, one.defense.unfitted.text)
        estimates.setdefault(key, one.leakage)
        if one.audited is not None and one.leakage.status == "estimated":
            audited = one.audited.figures.index
            found[key] = _pair(one.cut_id, one.cut_name, one.defense, audited, one.leakage.index.value)
    for each in audits:
        key = (each.cut_id, each.defense.unfitted.text)
        estimate = estimates.get(key)
        if each.tiers and estimate is not None and estimate.status == "estimated":
            audited = each.tiers[-1].index
            if key not in found or audited.high > found[key].audited.high:
                found[key] = _pair(each.cut_id, each.cut_name, each.defense, audited, estimate.index.value)
    return list(found.values())


def _pair(cut_id: str, name: str, defense: DefenseRecord, audited: Interval, estimate: float) -> Pair:
    text = defense.unfitted.text
    return Pair(
        label=f"{name} at {text}",
        cut_id=cut_id,
        depth=0,
        rate=defense.rate,
        defense=text,
        payload_bytes=0,
        accuracy=None,
        audited=audited,
        estimates={RIDGE: estimate},
    )


def latency_section(plan: Plan) -> LatencySection:
    """Predicted and measured latency, part by part."""
    measured = plan.measured
    latency = plan.chosen.latency if measured is None else measured.predicted
    parts = latency.parts
    rows: list[tuple[str, float, float | None]]
    if measured is None:
        rows = [
            ("edge half", parts.edge_ms, None),
            ("defense and packing", parts.defense_ms, None),
            ("serialisation", parts.serialisation_ms, None),
            ("upload", parts.transfer_ms, None),
            ("cloud half", parts.cloud_ms, None),
            ("download", parts.download_ms, None),
            ("whole request, median", latency.p50_ms.value, None),
            ("whole request, p95", latency.p95_ms, None),
        ]
        said = "Predicted from profiles and the link; `collabplan verify` measures it."
        return LatencySection(rows=_latency_rows(rows), said=said, violations=())
    way = parts.serialisation_ms + parts.transfer_ms + parts.download_ms
    rows = [
        ("edge half", parts.edge_ms, measured.edge.p50_ms),
        ("defense and packing", parts.defense_ms, measured.defense.p50_ms),
        ("serialisation, upload and download", way, measured.way.p50_ms),
        ("cloud half", parts.cloud_ms, measured.cloud.p50_ms),
        ("whole request, median", latency.p50_ms.value, measured.p50_ms.value),
        ("whole request, p95", latency.p95_ms, measured.total.p95_ms),
    ]
    link = "a simulated link on one machine" if measured.shaped else "a server over the network"
    said = (
        f"{len(measured.total.samples_ms):,} requests over {link}. The median is {_off(rows[4])} the prediction, "
        f"the p95 {_off(rows[5])} it. Parts are medians and need not add up."
    )
    if measured.edge_slowdown != 1:
        said += f" The device's times are multiplied by {measured.edge_slowdown:g}, as declared."
    return LatencySection(rows=_latency_rows(rows), said=said, violations=measured.violations)


def _off(row: tuple[str, float, float | None]) -> str:
    _, predicted, measured = row
    assert measured is not None
    return f"{number(abs(measured - predicted))} ms {'above' if measured >= predicted else 'below'}"


def _latency_rows(rows: Sequence[tuple[str, float, float | None]]) -> tuple[LatencyRow, ...]:
    return tuple(LatencyRow(part=part, predicted_ms=predicted, measured_ms=found) for part, predicted, found in rows)
