"""The tables of plans: the front, the plan beside cuts chosen without evidence, and the plan in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from ..records import (
    DEFAULT_OBJECTIVES,
    Audited,
    Baseline,
    Candidate,
    EdgePower,
    FloorIndex,
    Interval,
    Objective,
    Plan,
)
from ..report.wording import (
    bits_text,
    by_definition_text,
    defense,
    information,
    number,
    output_text,
    power_text,
    same_point,
    sent,
    share,
    short_defense,
    size,
)
from .marks import legend
from .tables import counted, interval, middle, narrowed, plain_table, with_interval

MAX_FRONT = 16
NAMES = (20, 17, 14, 11, 8)
"""Widths of names of cuts and defenses: the first that leaves room for the figures."""
_FIGURES = ("p50 ms\n(90 %)", "p95\nms", "accuracy\n(95 %)", "leakage\n(95 %)", "payload\na sample")
_RECONSTRUCTION = "leakage: 0 no better than the prior, 1 the input itself"
_TOKENS = "leakage: token recovery, 0 the commonest tokens, 1 every token"
Row = tuple[str, str, str, Candidate]
"""A mark (chosen, misses a budget), behind a number or alone, two names to stand one above the other, the candidate."""


def candidates(title: str, head: str, rows: Sequence[Row], power: EdgePower | None = None) -> Table:
    """Evaluated candidates: latency, accuracy and leakage, each above its interval; energy where it is known.

    Args:
        head: of the column that holds the rows' two names.
        rows: from the first to the last.
        power: what energies were computed by.
    """
    return narrowed(lambda width: _candidates(title, head, rows, power, width), NAMES)


def _candidates(title: str, head: str, rows: Sequence[Row], power: EdgePower | None, width: int) -> Table:
    table = plain_table(title)
    known = any(candidate.edge_energy_mj is not None for *_, candidate in rows)
    table.add_column("", no_wrap=True)
    table.add_column(head, no_wrap=True)
    for name in (*_FIGURES, *(["edge\nmJ"] if known else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for mark, above, below, candidate in rows:
        names = f"{escape(middle(above, width))}\n[dim]{escape(middle(below, width))}[/dim]"
        cells = [*_figures(candidate), *([energy(candidate)] if known else [])]
        shown = mark.replace(">", "[bold green]>[/bold green]")
        table.add_row(shown, names, *cells, style=None if candidate.meets_budgets else "dim")
    if known and power is not None:
        table.caption = f"Edge mJ: a request, {power.said}."
    return table


def rows_legend(rows: Sequence[Row]) -> list[str]:
    """How to read tables of candidates that hold these rows."""
    if not rows:
        return []
    recovery = any(candidate.leakage.index_of == "token recovery" for *_, candidate in rows)
    kinds = {candidate.index_is[0] for *_, candidate in rows if candidate.index_is != "by-definition"}
    return [_TOKENS if recovery else _RECONSTRUCTION, *legend({*"".join(mark for mark, *_ in rows)} | kinds)]


def _figures(candidate: Candidate) -> list[str]:
    """A candidate's cells under `_FIGURES`."""
    return [
        with_interval(candidate.latency.p50_ms),
        number(candidate.latency.p95_ms),
        with_interval(candidate.accuracy.accuracy, share),
        leakage(candidate),
        size(candidate.payload_bytes),
    ]


def front(
    rows: Sequence[Candidate],
    chosen: Candidate | None,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    power: EdgePower | None = None,
) -> Table:
    """The Pareto front by these objectives, as the search saw it; the plan is marked."""
    shown = front_rows(rows, chosen)
    rest = "all: --json" if len(shown) < len(rows) else ""
    title = counted(front_text(objectives), f"{len(shown)} of {len(rows)}", rest)
    return candidates(title, "cut\ndefense", shown, power)


def front_rows(rows: Sequence[Candidate], chosen: Candidate | None) -> list[Row]:
    """The rows of `front`: at most `MAX_FRONT`, the chosen one among them, those within budgets first."""
    order = sorted(rows, key=lambda c: (not c.meets_budgets, c.index.high, c.index.value, c.latency.p95_ms))
    same = [i for i, c in enumerate(order) if chosen is not None and same_point(c, chosen)]
    kept = _around(len(order), same[0] if same else None)
    return [(_mark(order[i], chosen=i in same), order[i].cut_name, short_defense(order[i]), order[i]) for i in kept]


def front_text(objectives: Sequence[Objective]) -> str:
    """`Front on the search split`, with the objectives if they are not the default ones."""
    said = "" if tuple(objectives) == DEFAULT_OBJECTIVES else f" by {', '.join(objectives)}"
    return f"Front on the search split{said}"


def comparison(plan: Plan | None, baselines: Sequence[Baseline], power: EdgePower | None = None) -> Table:
    """The chosen plan beside what people choose without evidence."""
    title = "On the confirm split, beside cuts chosen without evidence (undefended)"
    return candidates(title, "choice\ncut", compared_rows(plan, baselines), power)


def compared_rows(plan: Plan | None, baselines: Sequence[Baseline]) -> list[Row]:
    """The rows of `comparison`."""
    rows: list[Row] = []
    if plan:
        rows.append(
            (_mark(plan.chosen, chosen=True), f"plan, {short_defense(plan.chosen)}", plan.cut_name, plan.chosen)
        )
    return rows + [(_mark(b.candidate), b.role, b.candidate.cut_name, b.candidate) for b in baselines]


def _mark(candidate: Candidate, *, chosen: bool = False) -> str:
    if chosen:
        return ">"
    return "" if candidate.meets_budgets else "x"


def chosen_plan(plan: Plan) -> Table:
    """The plan in full: what it does, what it costs, how much it leaks."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = "Chosen plan (figures of the confirm split)", "left", "bold"
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for head, text in [
        *_what_it_does(plan), *_what_it_costs(plan.chosen), *_what_it_leaks(plan.chosen), ("level", level_text(plan)),
    ]:  # fmt: skip
        table.add_row(head, text)
    for head, text in _what_the_device_needs(plan):
        table.add_row(head, text)
    return table


def level_text(plan: Plan) -> str:
    """How well the leakage is supported, and whether that proves the privacy budgets."""
    said = f"{plan.level} (estimated < quick < standard < signed off)"
    if plan.level == "by definition":
        said = f"by definition: {by_definition_text(plan)}"
    if plan.certificate is not None and plan.proven:
        said += f"; certified: {len(plan.certificate.attackers)} attackers, {len(plan.certificate.seeds)} seeds"
    return said if plan.proven else f"{said}; NOT YET PROVEN within the privacy budgets"


def _what_it_does(plan: Plan) -> list[tuple[str, str]]:
    how, tuned = plan.tuning, ""
    if how is not None and plan.tuned_weights is not None:
        against = f", against linear reconstruction by {how.penalty:g}" if how.penalty and plan.projection else ""
        tuned = f"; cloud half fine-tuned under it ({how.epochs} epochs, {how.loss}{against})"
    return [
        ("cut", escape(f"{plan.cut_name} ({plan.cut_kind}); {sent(plan)}")),
        ("defense", escape(defense(plan.chosen) + bits_text(plan) + tuned)),
    ]


def _what_it_costs(chosen: Candidate) -> list[tuple[str, str]]:
    parts, accuracy, drop = chosen.latency.parts, chosen.accuracy, chosen.accuracy.drop
    return [
        (
            "latency",
            f"p50 {number(chosen.latency.p50_ms.value)} ms {interval(chosen.latency.p50_ms)}, "
            f"p95 {number(chosen.latency.p95_ms)} ms, predicted",
        ),
        (
            "",
            f"edge {number(parts.edge_ms)}, defense {number(parts.defense_ms)}, "
            f"serialise {number(parts.serialisation_ms)}, upload {number(parts.transfer_ms)}, "
            f"cloud {number(parts.cloud_ms)}, download {number(parts.download_ms)} ms",
        ),
        (
            accuracy.metric,
            f"{share(accuracy.accuracy.value)} {interval(accuracy.accuracy, share)}, undefended "
            f"{share(accuracy.undefended)}; drop {share(drop.value)} {interval(drop, share)} "
            f"on {accuracy.sample_count:,} samples",
        ),
    ]


def _what_it_leaks(chosen: Candidate) -> list[tuple[str, str]]:
    index = chosen.leakage.index
    rows = [] if chosen.audited is None else [(head, escape(text)) for head, text in audited(chosen.audited)]
    standing = chosen.standing if chosen.audited is None else chosen.leakage.status
    rows.append(
        (
            "" if chosen.audited else "leakage",
            f"{_index_name(chosen)} {share(index.value)} {interval(index, share)}, {standing} ({_ends_of(chosen)})",
        )
    )
    if chosen.leakage.saturated is not None:
        rows.append(("", escape(information(chosen))))
    return rows


def _what_the_device_needs(plan: Plan) -> list[tuple[str, str]]:
    chosen = plan.chosen
    memory = number(chosen.edge_peak_bytes / 2**20)
    rows = [
        ("payload", f"{size(chosen.payload_bytes)} a sample"),
        ("edge", f"{chosen.edge_parameter_count:,} parameters, peak {memory} MiB"),
    ]
    if chosen.edge_energy_mj is not None and plan.edge_power is not None:
        rows.append(("", f"{number(chosen.edge_energy_mj)} mJ a request, {power_text(plan.edge_power)}"))
    return rows


def _index_name(candidate: Candidate) -> str:
    return candidate.leakage.index_name.removeprefix("leakage ")


def _ends_of(candidate: Candidate) -> str:
    """What 0 and 1 are."""
    if candidate.leakage.index_of == "token recovery":
        return f"0 the commonest tokens, 1 every token; read best by {candidate.leakage.token_attacker}"
    return "0 no better than the data prior, 1 perfect reconstruction"


def audited(found: Audited) -> list[tuple[str, str]]:
    """What attackers recovered, in rows of a head and a text."""
    figures = found.figures
    said = f"{found.effort} effort, {found.seeds} seed{'s' * (found.seeds > 1)}, {len(found.attacks)} attacks"
    index = figures.index
    bound = "; a LOWER BOUND: more effort recovers more" if figures.lower_bound else ""
    rows = [
        (
            "leakage",
            f"index {share(index.value)} [{share(index.low)}, {share(index.high)}], AUDITED, {figures.threat} "
            f"({figures.index_attack}): {said}{bound}",
        )
    ]
    if found.floor is not None and figures.excess is not None:
        rows.append(("", floor_text(found.floor, figures.excess)))
    rates = {
        "reconstructed": figures.reconstruction_rate,
        "re-identified": figures.reidentification,
        "linked": figures.linkage,
    }
    rows.append(("", _with_upper_ends(rates)))
    beyond = {
        "consistent": figures.consistency_excess,
        "features": figures.features_excess,
        "SSIM": figures.ssim_excess,
        "MS-SSIM": figures.ms_ssim_excess,
    }
    if seen := _with_upper_ends(beyond):
        classes = " of the class" if figures.consistency_excess is not None else ""
        rows.append(("", f"beyond the mean image{classes}: {seen}"))
    if seen := _with_upper_ends({"region index": figures.region}):
        rows.append(("", seen))
    missing = found.missing_to_sign_off
    rows.append(("", f"signing off still takes {'; '.join(missing)}" if missing else "evidence enough to sign off"))
    return rows


def _with_upper_ends(figures: Mapping[str, Interval | None]) -> str:
    """`linked 1.000 (up to 1.000), ...` of those that are known."""
    return ", ".join(
        f"{name} {share(each.value)} (up to {share(each.high)})" for name, each in figures.items() if each is not None
    )


def floor_text(floor: FloorIndex, excess: Interval) -> str:
    """What the release tells beyond the output."""
    given = output_text(floor.of, declared=floor.declared)
    index = share(floor.index.value)
    return f"excess {share(excess.value)} (up to {share(excess.high)}) over {given}, whose index is {index}"


def leakage(candidate: Candidate) -> str:
    """The index above its interval with what it is, or how it follows from the definition."""
    index = candidate.index
    if candidate.index_is == "by-definition":
        return f"{share(index.value)}\n[dim]by definition[/dim]"
    return f"{candidate.index_is[0]} {with_interval(index, share)}"


def energy(candidate: Candidate) -> str:
    """Millijoules of a request on the device, or `-` where nothing is known of its power."""
    return "-" if candidate.edge_energy_mj is None else number(candidate.edge_energy_mj)


def _around(count: int, chosen: int | None) -> list[int]:
    """Which of `count` rows to show: all, or the first ones and the chosen."""
    kept = list(range(min(count, MAX_FRONT)))
    if chosen is not None and chosen not in kept:
        kept[-1] = chosen
    return kept
