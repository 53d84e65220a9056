"""`collabplan agreement`: do the estimates of a leakage report rank as the attacks of an audit report do?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import Debug, Json, OutputFile, examples

if TYPE_CHECKING:
    from ..attacks import Pair
    from ..records import AgreementReport, Audit, AuditReport, LeakageReport, LeakageRow, Releases, Threat

EXAMPLES = examples(
    (
        "estimate, attack, compare",
        "collabplan leakage model.py -o leakage.json && \\\n"
        "  collabplan attack model.py --dropout 0,0.3,0.6,0.9 -o audit.json && \\\n"
        "  collabplan agreement leakage.json audit.json",
    ),
)


def agreement(
    leakage: Annotated[Path, typer.Argument(metavar="LEAKAGE", help="Written by `collabplan leakage -o`.")],
    audit: Annotated[Path, typer.Argument(metavar="AUDIT", help="Written by `collabplan attack -o`.")],
    releases: Annotated[
        Literal["one", "any"],
        typer.Option(
            help="Attackers with one release of each input, as estimates assume, or with as many as were tried."
        ),
    ] = "one",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the bootstrap.")] = 0,
    file: OutputFile = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Rank correlation between every estimate and what attacks really recovered, beside trivial proxies.

    Both reports must be of the same model. (cut, defense) pairs that both hold are compared; nothing is run.
    """
    from ..records import AuditReport, LeakageReport, load, save
    from .agreement_table import agreement_table, remarks
    from .output import Output

    output = Output(as_json=as_json)
    estimated, audited = load(LeakageReport, leakage), load(AuditReport, audit)
    made = make_report(estimated, audited, leakage, audit, releases, seed)
    output.show(agreement_table(made))
    for line in remarks(made):
        output.say(line)
    if file is not None:
        save(made, file)
        output.wrote("agreement report", file)
    output.document(made)


def make_report(
    estimated: LeakageReport, audited: AuditReport, leakage: Path, audit: Path, releases: Releases, seed: int
) -> AgreementReport:
    """The comparison of two reports.

    Raises:
        MismatchError: they are of different models.
        CollabplanError: they share fewer than three pairs that were attacked.
    """
    import numpy as np

    from ..attacks import measure_agreement
    from ..attacks.agreement import FEWEST
    from ..records import AgreementReport, CollabplanError, collect_provenance

    audited.model.require_same(estimated.model, record=f"audit {audit}")
    threat = _strongest(audited)
    pairs = matched(estimated, audited, threat, releases)
    if len(pairs) < FEWEST:
        raise CollabplanError(
            f"{leakage} and {audit} share {len(pairs)} pairs of cut and defense, at least {FEWEST} are needed; give "
            "both commands the same --cuts, --dropout, --noise and --bits"
        )
    rows, discordant = measure_agreement(pairs, np.random.default_rng(seed))
    notes = []
    left_out = len(audited.audits) - len(pairs)
    if left_out:
        notes.append(f"{left_out} audited pairs have no estimate in {leakage}, or no figure")
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
    """The pairs of cut and defense that both reports hold, and that this tier attacked with so many releases."""
    from ..attacks import Pair, tier_figures

    rows = {_key(row): row for row in estimated.rows}
    pairs = []
    for each in audited.audits:
        row = rows.get(_key(each))
        results = [result for result in each.attacks if releases == "any" or result.queries == 1]
        found = tier_figures(results, each.linkage, each.attributes, lower_bound=each.effort == "quick")
        tiers = [tier for tier in found if tier.threat == threat]
        if row is None or not tiers:
            continue
        rate = each.defense.rate if each.defense.dropout != "none" else 0.0
        pairs.append(
            Pair(
                label=f"{each.cut_name} at {rate:g}",
                cut_id=each.cut_id,
                depth=each.depth,
                rate=rate,
                payload_bytes=each.payload_bytes,
                accuracy=None if each.accuracy is None else each.accuracy.value,
                audited=tiers[0].index,
                estimates=_estimates(row),
            )
        )
    return pairs


def _strongest(report: AuditReport) -> Threat:
    """The strongest tier that every audit has."""
    order: tuple[Threat, ...] = ("white-box", "black-box", "query-free")
    for threat in order:
        if report.audits and all(any(tier.threat == threat for tier in each.tiers) for each in report.audits):
            return threat
    return "black-box"


def _key(row: LeakageRow | Audit) -> tuple[object, ...]:
    """A cut and all that tells defenses apart but what was fitted to data: each report has its own ranges."""
    return row.cut_id, row.defense.model_copy(update={"directions": None, "ranges": ()})


def _estimates(row: LeakageRow) -> dict[str, float]:
    """Every figure of a row that might rank it, by name."""
    leakage = row.leakage
    found: dict[str, float | None] = {
        "leakage index (ridge)": leakage.index.value if leakage.status == "estimated" else None,
        "sandwich, lower end": leakage.information_low_nats,
        "resolvable noise": leakage.resolvable_noise,
        "dFIL": leakage.dfil,
        **{estimate.estimator: estimate.value_nats for estimate in leakage.estimates},
    }
    return {name: value for name, value in found.items() if value is not None}
