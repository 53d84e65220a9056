"""The table of `collabplan attack`: cuts by depth, a row per defense, the worst case of each threat model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from rich.markup import escape
from rich.table import Table

from ..attacks.orders import other_orders
from ..records import Audit, AuditReport, Interval, Threat, TierFigures
from ..report.wording import output_text, outrun_note
from ..workflows.defense_options import at_defense, differ_by_rate, shown_defense
from .leakage_table import bar
from .marks import FAILED, LOWER_BOUND, UNFINISHED
from .marks import legend as marks_legend
from .tables import Column, fitted, middle, plain_table

WIDTHS = ((28, 28), (22, 24), (18, 20), (15, 20), (13, 20))
"""Of the cuts' names and the defenses: what to try before a column is dropped."""

BAR = 5
TIERS: tuple[Threat, ...] = ("query-free", "black-box", "white-box")


def attack_table(report: AuditReport, width: int) -> Table:
    """Cuts by depth, a row per defense, then the model's output, in at most `width` columns."""
    rows = [*report.audits, *([report.output_floor] if report.output_floor is not None else [])]
    columns = [column for column in _columns(_accuracy(rows)) if any(column.cell(row) for row in rows)]
    return fitted(columns, width, lambda left: [_filled(left, report, *widths) for widths in WIDTHS])


def _filled(columns: Sequence[Column[Audit]], report: AuditReport, names: int, defenses: int) -> Table:
    table = plain_table("")
    beside = [audit.defense for audit in report.audits]
    head = "drop" if differ_by_rate(beside) else "defense"
    for name, justify in (("cut", "left"), (head, "right"), ("audited\nindex", "left")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    for _, group in groupby(report.audits, key=lambda audit: audit.cut_id):
        for position, audit in enumerate(group):
            name = middle(audit.cut_name, names) if position == 0 else ""
            _add(table, name, middle(shown_defense(audit.defense, beside), defenses), audit, columns)
    if report.output_floor is not None:
        table.add_section()
        _add(table, "output alone", "0", report.output_floor, columns)
    return table


def _add(table: Table, name: str, defense: str, audit: Audit, columns: Sequence[Column[Audit]]) -> None:
    worst = _worst(audit)
    shown = "-" if worst is None else bar(worst.index.value, worst.index.high, BAR)
    table.add_row(escape(name), escape(defense), shown, *(column.cell(audit) for column in columns))


def _accuracy(rows: Sequence[Audit]) -> Callable[[Interval | None], str]:
    """How accuracy is shown: in percent, unless a metric of the target's own is no share of 1."""
    known = [row.accuracy.value for row in rows if row.accuracy is not None]
    return _share if all(0 <= value <= 1 for value in known) else _number


def _columns(accuracy: Callable[[Interval | None], str]) -> list[Column[Audit]]:
    return [
        Column("", lambda audit: _of_worst(audit, lambda tier: f"{tier.index.value:.3f}{_mark(audit, tier)}")),
        Column("ex-\ncess", lambda audit: _of_worst(audit, lambda tier: _number(tier.excess))),
        Column("95 %\ninterval", lambda audit: _of_worst(audit, lambda tier: _ends(tier.index)), drops=4),
        Column("by", lambda audit: _of_worst(audit, lambda tier: tier.index_attack), drops=5),
        *(Column(f"{threat}\nindex", partial(_index_of, threat), drops=6) for threat in TIERS[:2]),
        Column("re-iden-\ntified", lambda audit: _of_worst(audit, lambda tier: _share(tier.reidentification)), drops=1),
        Column("linked", lambda audit: _of_worst(audit, lambda tier: _share(tier.linkage))),
        Column("recon-\nstructed", lambda audit: _of_worst(audit, lambda tier: _share(tier.reconstruction_rate))),
        Column("region\nindex", lambda audit: _of_worst(audit, lambda tier: _number(tier.region)), drops=2),
        Column("within\nclass", lambda audit: _of_worst(audit, lambda tier: _number(tier.within_class)), drops=4),
        Column("consis-\ntent", lambda audit: _of_worst(audit, lambda tier: _share(tier.consistency_excess)), drops=4),
        Column("attribute", lambda audit: _of_worst(audit, lambda tier: _share(tier.attribute)), drops=2),
        Column("fea-\ntures", lambda audit: _of_worst(audit, lambda tier: _number(tier.features_excess)), drops=5),
        Column("SSIM", lambda audit: _of_worst(audit, lambda tier: _number(tier.ssim_excess)), drops=7),
        Column("MS-\nSSIM", lambda audit: _of_worst(audit, lambda tier: _number(tier.ms_ssim_excess)), drops=7),
        Column("accu-\nracy", lambda audit: accuracy(audit.accuracy), drops=2),
    ]


def legend(report: AuditReport) -> list[str]:
    """How to read the columns."""
    floor = [] if report.output_floor is None else [report.output_floor]
    audits = list(report.audits) or floor
    if not audits:
        return []
    tiers = {tier.threat for audit in audits for tier in audit.tiers}
    strongest = next((threat for threat in reversed(TIERS) if threat in tiers), None)
    chance = audits[0].chance
    lines = [
        f"index: AUDITED, the worst of all {strongest} and weaker attacks that were run; 0 no better than the mean "
        "image, 1 the input itself; bar: the index, ░ to its interval's high end. Stronger attacks may exist",
        f"re-identified: the reconstruction's nearest original is its own (chance {chance:.1%}); linked: the release "
        "itself was matched to its candidate, which takes no reconstruction",
    ]
    if report.output_floor is not None:
        lines.append(_about_floor(report))
    lines += [*_perceptual(audits), *_beside(audits[0]), *_other_orders(report)]
    lines += outrun_note(report.audits)
    # The column "drop" shows no more than a rate where the defenses differ by that alone.
    others: dict[str, dict[str, None]] = {}
    for audit in report.audits:
        if (rest := audit.defense.unfitted.without("dropout").text) != "none":
            others.setdefault(rest, {})[audit.cut_name] = None
    lines += [f"beside dropout: {text} at {', '.join(names)}" for text, names in others.items()]
    return lines + marks_legend(
        mark for audit in [*report.audits, *floor] for tier in audit.tiers for mark in _mark(audit, tier)
    )


VISUAL = 2
"""Place of 0.3 in the curves over the SSIM."""


def _about_floor(report: AuditReport) -> str:
    """What the last row attacks, and what the excess is."""
    given = output_text(report.floor_of, declared=report.returns is not None)
    if not any(tier.excess is not None for audit in report.audits for tier in audit.tiers):
        return f"output alone: attacks on {given}"
    return f"output alone: attacks on {given}, the floor; excess: (index - floor) / (1 - floor)"


def _perceptual(audits: Sequence[Audit]) -> list[str]:
    """What the columns of perceptual figures hold; nothing where no audit has one."""
    tiers = [tier for audit in audits for tier in audit.tiers]
    names = {
        "consistency": "consistent (the network keeps its answer)",
        "features": "features (distance in the network's own)",
        "ssim": "SSIM",
        "ms_ssim": "MS-SSIM",
    }
    known = [said for name, said in names.items() if any(getattr(tier, f"{name}_excess") is not None for tier in tiers)]
    if not known:
        return []
    classes = any(floor.of == "class mean" for audit in audits for floor in audit.floors)
    than = "the mean image of the original's class, which takes the label alone" if classes else "the mean image"
    scales = max((floor.figures.ms_ssim_scales for audit in audits for floor in audit.floors), default=0)
    at = f"; MS-SSIM is at {scales} scales, as many of 5 as the images admit" if scales else ""
    return [f"{', '.join(known)}: what there is beyond {than}, (figure - its) / (1 - its), empty if that is near 1{at}"]


def _beside(audit: Audit) -> list[str]:
    """What images that use no release reach of the figures that look good without any."""
    said = []
    for floor in audit.floors:
        figures = floor.figures
        shares = [f"{figures.ssim_curve[VISUAL]:.0%} reach an SSIM of 0.3"] if figures.ssim_curve else []
        if figures.reconstruction_rate is not None:
            shares.append(f"{figures.reconstruction_rate.value + figures.prior_rate:.1%} are re-identified as well")
        shares += [f"{figures.consistency.value:.0%} keep the answer"] if figures.consistency is not None else []
        shares += [f"features {figures.features.value:.2f}"] if figures.features is not None else []
        shares += [f"MS-SSIM {figures.ms_ssim.value:.2f}"] if figures.ms_ssim is not None else []
        said += [f"{floor.of}: {', '.join(shares)}"] if shares else []
    return [f"guesses that use no release, for comparison: {'; '.join(said)}"] if said else []


_NAMES = {"ssim": "SSIM", "ms_ssim": "MS-SSIM"}


def _other_orders(report: AuditReport) -> list[str]:
    """Where another figure than the index says that the other of two rows reveals more."""
    return [
        f"another order by {_NAMES.get(found.figure, found.figure.replace('_', ' '))}: {_where(found.first)} reveals "
        f"more than {_where(found.second)}, by the index less"
        for found in other_orders(report.audits)
    ]


def _where(audit: Audit) -> str:
    return at_defense(audit.cut_name, audit.defense)


def failures(report: AuditReport) -> list[str]:
    """Which attacks failed where, and why."""
    lines = []
    for audit in [*report.audits, *([report.output_floor] if report.output_floor is not None else [])]:
        for result in audit.attacks:
            if result.status == "failed":
                where = at_defense(audit.cut_name, audit.defense)
                lines.append(f"FAILED at {where}: {result.attack}: {result.reason}")
    return lines


def _worst(audit: Audit) -> TierFigures | None:
    return audit.tiers[-1] if audit.tiers else None


def _of_worst(audit: Audit, shown: Callable[[TierFigures], str]) -> str:
    worst = _worst(audit)
    return "" if worst is None else shown(worst)


def _mark(audit: Audit, tier: TierFigures) -> str:
    bound = LOWER_BOUND if audit.effort == "quick" else UNFINISHED
    return (bound if tier.lower_bound else "") + ("" if tier.conclusive else FAILED)


def _index_of(threat: Threat, audit: Audit) -> str:
    found = [tier for tier in audit.tiers if tier.threat == threat]
    return f"{found[0].index.value:.3f}{_mark(audit, found[0])}" if found else ""


def _number(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure.value:.3f}"


def _ends(interval: Interval) -> str:
    return f"{interval.low:.3f}-{interval.high:.3f}"


def _share(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.value:.1%}"
