"""Do the estimates of a leakage report rank cuts as the attacks of an audit report do?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..attacks import Pair, checked, measure_agreement, tier_figures
from ..attacks.agreement import FEWEST
from ..attacks.invariants import counts
from ..records import (
    AgreementReport,
    Audit,
    AuditReport,
    CollabplanError,
    LeakageReport,
    LeakageRow,
    Releases,
    Threat,
    collect_provenance,
    load,
)
from .defense_options import at_defense


def compare_reports(leakage: Path, audit: Path, releases: Releases, seed: int) -> AgreementReport:
    """Compare the estimates of a leakage report with what the attacks of an audit report recovered.

    Args:
        leakage, audit: their files, of the same model.
        releases: attackers with one release of each input, as estimates assume, or with as many as were tried.
        seed: of the bootstrap.

    Raises:
        MismatchError: they are of different models.
        CollabplanError: they share fewer than three pairs that were attacked.
    """

    estimated, audited = load(LeakageReport, leakage), load(AuditReport, audit)
    audited.model.require_same(estimated.model, record=f"audit {audit}")
    plausible = checked([*audited.audits, *([audited.output_floor] if audited.output_floor else [])])
    audited = audited.model_copy(update={"audits": plausible[: len(audited.audits)]})
    threat = _strongest(audited)
    pairs = matched(estimated, audited, threat, releases)
    if len(pairs) < FEWEST:
        raise CollabplanError(
            f"{leakage} and {audit} share {len(pairs)} pairs of cut and defense, at least {FEWEST} are needed; give "
            "both commands the same --cuts and --defense"
        )
    rows, discordant = measure_agreement(pairs, np.random.default_rng(seed))
    notes = []
    outrun = [each for each in audited.audits if _outrun(each, threat, releases)]
    if outrun:
        names = "; ".join(at_defense(each.cut_name, each.defense) for each in outrun)
        notes.append(
            f"left out, since the strongest attacks on one release were not run to their end: {names}; `collabplan "
            "attack --no-race` runs them, or compare with --releases any"
        )
    left_out = len(audited.audits) - len(pairs) - len(outrun)
    if left_out:
        notes.append(f"{left_out} audited pairs have no estimate in {leakage}, or no figure")
    beaten = [each for each in audited.audits if any("is under-trained" in note for note in each.notes)]
    if beaten:
        names = "; ".join(at_defense(each.cut_name, each.defense) for each in beaten)
        notes.append(f"under-trained, so too low: the audited index of {names}")
    if any(each.effort == "quick" for each in audited.audits):
        notes.append("audits of quick effort are lower bounds; their order may change with more effort")
    return AgreementReport(
        target=audited.target,
        model=audited.model,
        threat=threat,
        releases=releases,
        pair_count=len(pairs),
        rows=rows,
        discordant=discordant,
        notes=tuple(notes),
        provenance=collect_provenance(target_file=None, seed=seed),
    )


def matched(estimated: LeakageReport, audited: AuditReport, threat: Threat, releases: Releases) -> list[Pair]:
    """The pairs of cut and defense that both reports hold, and that this tier attacked with this number of releases."""
    rows = {_key(row): row for row in estimated.rows}
    pairs = []
    for each in audited.audits:
        row = rows.get(_key(each))
        results = [result for result in each.attacks if releases == "any" or result.queries == 1]
        found = tier_figures(results, each.linkage, each.attributes, lower_bound=each.effort == "quick")
        tiers = [tier for tier in found if tier.threat == threat]
        if row is None or not tiers or _outrun(each, threat, releases):
            continue
        pairs.append(
            Pair(
                label=at_defense(each.cut_name, each.defense),
                cut_id=each.cut_id,
                depth=each.depth,
                rate=each.defense.rate,
                defense=each.defense.unfitted.text,
                payload_bytes=each.payload_bytes,
                accuracy=None if each.accuracy is None else each.accuracy.value,
                audited=tiers[0].index,
                estimates=_estimates(row),
            )
        )
    return pairs


def _outrun(audit: Audit, threat: Threat, releases: Releases) -> bool:
    """Whether an attack that counts here may have been outrun by one that does not."""
    outrun = [each for each in audit.attacks if each.status == "outrun" and counts(each)]
    if threat == "query-free":
        return any(each.threat == threat for each in outrun)
    more = any(each.queries > 1 for each in audit.attacks)
    return releases == "one" and more and any(each.queries == 1 for each in outrun)


def _strongest(report: AuditReport) -> Threat:
    """The strongest tier that every audit has."""
    order: tuple[Threat, ...] = ("white-box", "black-box", "query-free")
    for threat in order:
        if report.audits and all(any(tier.threat == threat for tier in each.tiers) for each in report.audits):
            return threat
    return "black-box"


def _key(row: LeakageRow | Audit) -> tuple[object, ...]:
    """The cut and its defense without what was fitted to data: each report has its own ranges."""
    return row.cut_id, row.defense.unfitted


def _estimates(row: LeakageRow) -> dict[str, float]:
    """Every figure of a row that might rank it, by name."""
    leakage = row.leakage
    shown = leakage.shown_index or (leakage.index if leakage.status == "estimated" else None)
    found: dict[str, float | None] = {
        "leakage index (ridge)": None if shown is None else shown.value,
        "leakage index": leakage.index.value if leakage.status == "estimated" else None,
        "sandwich, lower end": leakage.information_low_nats,
        "resolvable noise": leakage.resolvable_noise,
        "dFIL": leakage.dfil,
        **{estimate.estimator: estimate.value_nats for estimate in leakage.estimates},
    }
    return {name: value for name, value in found.items() if value is not None}
