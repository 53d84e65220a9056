"""Tables that fit a terminal of 80 columns. Every head names its unit; a figure stands with its interval.

Names of nodes and cuts are cut in the middle where they are too long: their ends tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from ..records import (
    COVERS,
    DEFAULT_OBJECTIVES,
    Audited,
    Baseline,
    Candidate,
    Crossing,
    CutProfile,
    EdgePower,
    Interval,
    Link,
    NodeProfile,
    Objective,
    Plan,
    Profile,
    Timing,
    kept_in_words,
)

MAX_CUTS = 20
MAX_FRONT = 16
_NAMES, _NAMES_WITH_ENERGY = 20, 14
_SIGNS = 3
"""What an interval of negative numbers takes from the names: `-0.90 to -0.37` beside `0.370-0.900`."""
USUAL_BITS = 8
_MARKS = ">: the chosen plan; x: misses a budget, or failed on the confirm half. Leakage: "
_RECONSTRUCTION = (
    "0 no better than the prior, 1 the input itself; a: attacked, p: predicted from those that were (90 %), "
    "e: estimated."
)
_TOKENS = "token recovery, 0 the commonest tokens, 1 every token; e: estimated."


def expensive_nodes(profile: Profile, count: int = 8) -> Table:
    """The nodes that take the longest, with what they put out."""
    table = plain_table(f"Most expensive nodes ({min(count, len(profile.nodes))} of {len(profile.nodes)})")
    table.add_column("node", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    for head in ("ms", "share", "output\nKiB", "MFLOP"):
        table.add_column(head, justify="right", no_wrap=True)
    for node in sorted(profile.nodes, key=lambda n: -n.timing.p50_ms)[:count]:
        share = node.timing.p50_ms / profile.node_sum_ms if profile.node_sum_ms else 0.0
        table.add_row(
            escape(_node_name(node)),
            escape(middle(_operator(node.operator), 20)),
            spread(node.timing),
            f"{100 * share:.0f} %",
            number(node.output_bytes / 1024),
            "-" if node.flops is None else number(node.flops / 1e6),
        )
    table.caption = "ms: median ± half the interquartile range, in an interpreter; the sum is not the model's latency."
    if any(node.flops is None for node in profile.nodes):
        table.caption += " MFLOP -: not known."
    return table


def candidate_cuts(profile: Profile) -> Table:
    """The candidate cuts from the input to the output, thinned where there are many."""
    shown = thinned(profile.cuts)
    table = plain_table(f"Candidate cuts ({len(shown)} of {len(profile.cuts)}), input to output")
    table.add_column("cut", no_wrap=True)
    for head in ("edge ms", "payload\nKiB", "cloud ms", "edge\nMiB"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for cut in shown:
        table.add_row(
            escape(middle(cut.name, 28)),
            "-" if cut.edge is None else spread(cut.edge),
            number(cut.payload_bytes / 1024),
            "-" if cut.cloud is None else spread(cut.cloud),
            number(cut.edge_peak_bytes / 2**20),
            _marks(cut),
        )
    table.caption = _cut_caption(profile, shown)
    return table


def candidates(
    title: str, head: str, rows: Sequence[tuple[str, str, str, Candidate]], power: EdgePower | None = None
) -> Table:
    """Evaluated candidates: latency, accuracy and leakage, each above its interval; energy where it is known.

    Args:
        head: of the column that holds the rows' two names.
        rows: a mark (chosen, misses a budget), two names to stand one above the other, and the candidate.
        power: what energies were computed by.
    """
    table = plain_table(title)
    table.add_column("", no_wrap=True)
    table.add_column(head, no_wrap=True)
    table.add_column("p50 ms\n(90 %)", justify="right", no_wrap=True)
    table.add_column("p95\nms", justify="right", no_wrap=True)
    table.add_column("accuracy\n(95 %)", justify="right", no_wrap=True)
    table.add_column("leakage\n(95 %)", justify="right", no_wrap=True)
    table.add_column("payload\na sample", justify="right", no_wrap=True)
    known = any(candidate.edge_energy_mj is not None for *_, candidate in rows)
    if known:
        table.add_column("edge\nmJ", justify="right", no_wrap=True)
    wide = any(candidate.accuracy.accuracy.low < 0 for *_, candidate in rows)
    width = (_NAMES_WITH_ENERGY if known else _NAMES) - (_SIGNS if wide else 0)
    for mark, above, below, candidate in rows:
        table.add_row(
            mark,
            f"{escape(middle(above, width))}\n[dim]{escape(middle(below, width))}[/dim]",
            _with_interval(candidate.latency.p50_ms, latency),
            latency(candidate.latency.p95_ms),
            _with_interval(candidate.accuracy.accuracy, share),
            leakage(candidate),
            size(candidate.payload_bytes),
            *([energy(candidate)] if known else []),
            style=None if candidate.meets_budgets else "dim",
        )
    recovery = any(candidate.leakage.index_of == "token recovery" for *_, candidate in rows)
    table.caption = _MARKS + (_TOKENS if recovery else _RECONSTRUCTION)
    if known and power is not None:
        table.caption += f" Edge mJ: a request, {power.said}."
    return table


def front(
    rows: Sequence[Candidate],
    chosen: Candidate | None,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    power: EdgePower | None = None,
) -> Table:
    """The Pareto front by these objectives, as the search saw it; the plan is marked."""
    order = sorted(rows, key=lambda c: (not c.meets_budgets, c.index.high, c.index.value, c.latency.p95_ms))
    same = [i for i, c in enumerate(order) if chosen is not None and _point(c) == _point(chosen)]
    kept = _around(len(order), same[0] if same else None)
    return candidates(
        f"{front_text(objectives)} ({len(kept)} of {len(order)}), those within budgets first",
        "cut\ndropout",
        [(_mark(order[i], chosen=i in same), order[i].cut_name, dropout(order[i]), order[i]) for i in kept],
        power,
    )


def front_text(objectives: Sequence[Objective]) -> str:
    """`Front on the search half`, with what it is made of where that is not the usual."""
    said = "" if tuple(objectives) == DEFAULT_OBJECTIVES else f" by {', '.join(objectives)}"
    return f"Front on the search half{said}"


def comparison(plan: Plan | None, baselines: Sequence[Baseline], power: EdgePower | None = None) -> Table:
    """The chosen plan beside what people choose without evidence."""
    rows = []
    if plan:
        rows.append((_mark(plan.chosen, chosen=True), f"plan, {dropout(plan.chosen)}", plan.cut_name, plan.chosen))
    rows += [(_mark(b.candidate), b.role, b.candidate.cut_name, b.candidate) for b in baselines]
    return candidates(
        "On the confirm half, beside cuts chosen without evidence (no dropout)", "choice\ncut", rows, power
    )


def _mark(candidate: Candidate, *, chosen: bool = False) -> str:
    if chosen:
        return "[bold green]>[/bold green]"
    return "" if candidate.meets_budgets else "x"


def chosen_plan(plan: Plan) -> Table:
    """The plan in full: what it does, what it costs, what it tells."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = "Chosen plan (figures of the confirm half)", "left", "bold"
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    candidate, parts = plan.chosen, plan.chosen.latency.parts
    drop, index = candidate.accuracy.drop, candidate.leakage.index
    table.add_row("cut", escape(f"{plan.cut_name} ({plan.cut_kind}); {_sent(plan)}"))
    how, said = plan.tuning, ""
    if how is not None and plan.tuned_weights is not None:
        against = f", against linear reconstruction by {how.penalty:g}" if how.penalty and plan.directions else ""
        said = f"; cloud half fine-tuned under it ({how.epochs} epochs, {how.loss}{against})"
    table.add_row("defense", escape(defense(candidate) + bits_text(plan) + said))
    table.add_row(
        "latency",
        f"p50 {latency(candidate.latency.p50_ms.value)} ms {interval(candidate.latency.p50_ms, latency)}, "
        f"p95 {latency(candidate.latency.p95_ms)} ms, predicted",
    )
    table.add_row(
        "",
        f"edge {latency(parts.edge_ms)}, defense {latency(parts.defense_ms)}, "
        f"serialise {latency(parts.serialisation_ms)}, upload {latency(parts.transfer_ms)}, "
        f"cloud {latency(parts.cloud_ms)}, download {latency(parts.download_ms)} ms",
    )
    table.add_row(
        candidate.accuracy.metric,
        f"{share(candidate.accuracy.accuracy.value)} {interval(candidate.accuracy.accuracy, share)}, undefended "
        f"{share(candidate.accuracy.undefended)}; drop {share(drop.value)} {interval(drop, share)} "
        f"on {candidate.accuracy.sample_count:,} samples",
    )
    if candidate.audited is not None:
        for head, text in audited(candidate.audited):
            table.add_row(head, escape(text))
    table.add_row(
        "" if candidate.audited else "leakage",
        f"{_index_name(candidate)} {share(index.value)} {interval(index, share)}, {_standing(candidate)} "
        f"({_ends_of(candidate)})",
    )
    if candidate.leakage.saturated is not None:
        table.add_row("", escape(information(candidate)))
    table.add_row("payload", f"{size(candidate.payload_bytes)} a sample")
    table.add_row(
        "edge",
        f"{candidate.edge_parameter_count:,} parameters, peak {number(candidate.edge_peak_bytes / 2**20)} MiB",
    )
    if candidate.edge_energy_mj is not None and plan.edge_power is not None:
        table.add_row("", f"{number(candidate.edge_energy_mj)} mJ a request, {power_text(plan.edge_power)}")
    return table


def _index_name(candidate: Candidate) -> str:
    return candidate.leakage.index_name.removeprefix("leakage ")


def _ends_of(candidate: Candidate) -> str:
    """What 0 and 1 are."""
    if candidate.leakage.index_of == "token recovery":
        return f"0 the commonest tokens, 1 every token; read best by {candidate.leakage.token_attacker}"
    return "0 no better than the data prior, 1 perfect reconstruction"


def _standing(candidate: Candidate) -> str:
    """What the estimate is, so that it does not pass for an audit."""
    if candidate.leakage.status == "estimated" and candidate.audited is None:
        return "ESTIMATED, not audited"
    return candidate.leakage.status


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
    rates = {
        "reconstructed": figures.reconstruction_rate,
        "re-identified": figures.reidentification,
        "linked": figures.linkage,
    }
    known = [
        f"{name} {share(rate.value)} (up to {share(rate.high)})" for name, rate in rates.items() if rate is not None
    ]
    rows.append(("", ", ".join(known)))
    if not figures.conclusive:
        rows.append(("", f"not conclusive, since attacks FAILED: {', '.join(figures.failed)}"))
    return rows


def _sent(plan: Plan) -> str:
    """What crosses, with the shape of one sample."""
    if plan.cut_kind == "edge-only" and plan.budgets.result_at == "edge":
        return "nothing is sent"
    return "crosses: " + ", ".join(f"{c.name} {'x'.join(map(str, c.sample_shape))}" for c in plan.crossing)


def crosses(crossing: Sequence[Crossing]) -> str:
    """`h crosses`, or `h, mask cross`."""
    names = ", ".join(each.name for each in crossing) or "nothing"
    return f"{names} {'cross' if len(crossing) > 1 else 'crosses'}"


def information(candidate: Candidate) -> str:
    """The sandwich's interval in one line, with what it is, or that it says nothing."""
    leak = candidate.leakage
    if leak.saturated:
        return f"information SATURATED at {leak.saturation_nats:.2f} nats ({leak.information_is}): ranks nothing"
    ends = f"{leak.information_low_nats:.2f} to {leak.information_high_nats:.2f} nats"
    return f"information {ends} ({leak.information_is})"


def link_text(link: Link, edge_slowdown: float = 1.0) -> str:
    """The link in one line, and whether it is an assumption."""
    spread_text = (
        f" (spread ±{100 * link.bandwidth_spread:.0f} % and ±{100 * link.rtt_spread:.0f} %)"
        if link.bandwidth_spread or link.rtt_spread
        else ""
    )
    down = "each way" if link.download_bps is None else f"up and {number(link.download_bps / 1e6)} down"
    rates = (
        f"{number(link.bandwidth_bps / 1e6) if link.source == 'measured' else f'{link.bandwidth_bps / 1e6:g}'} Mbit/s"
    )
    trip = f"{link.rtt_ms:.3g}" if link.source == "measured" else f"{link.rtt_ms:g}"
    text = f"link {rates} {down}, round trip {trip} ms{spread_text}, {link.source}"
    if link.source == "measured":
        text += f" by {link.sample_count} echoes"
    if not link.slow_start:
        text += ", without TCP's slow start"
    if link.source == "assumed":
        text += ": give --bandwidth and --rtt of your own"
    if edge_slowdown != 1:
        text += f"; edge declared {edge_slowdown:g} times slower than profiled"
    return text


def power_text(power: EdgePower) -> str:
    """The device's power in one line, and whether it was measured."""
    radio = f" and {power.joules_per_megabyte:g} J/MB" if power.joules_per_megabyte else ""
    return f"power {number(power.watts)} W{radio}, {power.said}"


def measured_power(profile: Profile) -> str:
    """What a counter said while the profile was made, or why none did."""
    power = profile.power
    if power is None:
        return f"power not measured: {profile.power_missing or 'the profile is older'}"
    return (
        f"power {number(power.watts)} W over {power.seconds:.1f} s of whole-model runs, {number(power.idle_watts)} W "
        f"at rest before ({COVERS[power.source]})"
    )


def thinned(cuts: Sequence[CutProfile], limit: int = MAX_CUTS) -> list[CutProfile]:
    """At most `limit` cuts by depth: the two ends, then those that one private tensor crosses, then others.

    Of each kind they are evenly spread. Public inputs cross with any tensor that is computed with them: they do not
    count.
    """
    ordered = sorted(cuts, key=lambda cut: cut.depth)
    if len(ordered) <= limit:
        return ordered
    inner, room = ordered[1:-1], limit - 2
    single = [cut for cut in inner if cut.searchable and sum(not crossing.public for crossing in cut.crossing) <= 1]
    others = [cut for cut in inner if cut not in single]
    kept = _spread(single, room)
    kept += _spread(others, room - len(kept))
    return [ordered[0], *sorted(kept, key=lambda cut: cut.depth), ordered[-1]]


def _spread(cuts: Sequence[CutProfile], count: int) -> list[CutProfile]:
    """At most `count` of them, evenly spread."""
    if len(cuts) <= count:
        return list(cuts)
    return [cuts[(2 * i + 1) * len(cuts) // (2 * count)] for i in range(count)]


def dropout(candidate: Candidate) -> str:
    """`element 0.3`, `element 0.3, tuned`, `keep 12, 3 bit, tuned`, or `no dropout`."""
    said = [
        f"{candidate.dropout} {candidate.rate:g}" if candidate.rate else "",
        f"{candidate.noise[0]}{candidate.noise_std:g}" if candidate.noise != "none" else "",
        f"keep {candidate.kept:g}" if candidate.kept != 1 else "",
        f"{candidate.bits or 'no'} bit" if candidate.bits != USUAL_BITS else "",
    ]
    return ", ".join([*filter(None, said)] or ["no dropout"]) + (", tuned" if candidate.tuned else "")


def defense(candidate: Candidate) -> str:
    """`element dropout 0.3`, or `no dropout`; with its noise and the directions that it keeps."""
    said = f"{candidate.dropout} dropout {candidate.rate:g}" if candidate.rate else "no dropout"
    if candidate.kept != 1:
        kept = kept_in_words(candidate.kept)
        said = f"{said} of {kept}" if candidate.rate else f"{kept}, {said}"
    return said + (f", {candidate.noise} noise {candidate.noise_std:g}" if candidate.noise != "none" else "")


def bits_text(plan: Plan) -> str:
    """`, 8-bit quantizer`, or nothing where tensors cross in their own dtype."""
    return f", {plan.defense.bits}-bit quantizer" if plan.defense.bits else ", not quantized"


def leakage(candidate: Candidate) -> str:
    """The index above its interval with what it is, or how it follows from the definition."""
    index = candidate.index
    if candidate.index_is == "by-definition":
        return f"{share(index.value)}\n[dim]by definition[/dim]"
    return f"{candidate.index_is[0]} {_with_interval(index, share)}"


def interval(value: Interval, form: object = None) -> str:
    """`[low, high]`, with markup escaped."""
    write = form if callable(form) else number
    return rf"\[{write(value.low)}, {write(value.high)}]"


def spread(timing: Timing) -> str:
    """Median ± half the interquartile range; marked where it scatters."""
    return f"{latency(timing.p50_ms)} ±{latency(timing.iqr_ms / 2)}{'!' if timing.scatters else ' '}"


def energy(candidate: Candidate) -> str:
    """Millijoules of a request on the device, or `-` where nothing is known of its power."""
    return "-" if candidate.edge_energy_mj is None else number(candidate.edge_energy_mj)


def latency(ms: float) -> str:
    """Milliseconds with three figures."""
    return number(ms)


def number(value: float) -> str:
    """Three figures, without exponents: 0.012, 1.23, 45.6, 789, 12,345."""
    size = abs(value)
    if 0 < size < 0.0005:
        return "<0.001"
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 or value == 0 else f"{value:.3f}"


def size(count: int) -> str:
    """Bytes in the unit that fits: 12 B, 4.00 KiB, 1.50 MiB."""
    if count < 1024:
        return f"{count} B"
    return f"{number(count / 1024)} KiB" if count < 2**20 else f"{number(count / 2**20)} MiB"


def share(value: float) -> str:
    """A figure between 0 and 1."""
    return f"{value:.3f}"


def middle(text: str, width: int) -> str:
    """`text` in at most `width` characters, cut in the middle."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def _with_interval(value: Interval, form: object) -> str:
    write = form if callable(form) else number
    ends = f"{value.low:.2f} to {value.high:.2f}" if value.low < 0 else f"{write(value.low)}-{write(value.high)}"
    return f"{write(value.value)}\n[dim]{ends}[/dim]"


def plain_table(title: str) -> Table:
    """A table without frame; no title where it is empty."""
    return Table(
        title=escape(title) or None,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _node_name(node: NodeProfile) -> str:
    return middle(node.module or node.name, 26)


def _operator(operator: str) -> str:
    return operator.removeprefix("aten.").removesuffix(".default")


def _marks(cut: CutProfile) -> str:
    """One letter each: r raw input crosses, i interpolated timing, n not searchable."""
    marks = ""
    if any(crossing.raw_input for crossing in cut.crossing):
        marks += "r"
    if cut.interpolated:
        marks += "i"
    if not cut.searchable:
        marks += "n"
    return marks


def _cut_caption(profile: Profile, shown: Sequence[CutProfile]) -> str:
    memory = "computed from shapes" if profile.peak_memory_method == "liveness" else "measured"
    parts = [
        f"Whole model {spread(profile.whole).strip()} ms at batch {profile.batch}. Edge MiB is peak memory, {memory}."
    ]
    seen = {mark for cut in shown for mark in _marks(cut)}
    meanings = {"r": "the raw input crosses", "i": "timing interpolated", "n": "cannot be searched"}
    parts += [f"{mark}: {meaning}." for mark, meaning in meanings.items() if mark in seen]
    timings = [t for cut in shown for t in (cut.edge, cut.cloud) if t is not None]
    if any(timing.scatters for timing in timings):
        parts.append("!: scatters by more than 10 %.")
    if len(shown) < len(profile.cuts):
        parts.append("All cuts: --json, or the profile's file.")
    return " ".join(parts)


def _around(count: int, chosen: int | None) -> list[int]:
    """Which of `count` rows to show: all, or the first ones and the chosen."""
    kept = list(range(min(count, MAX_FRONT)))
    if chosen is not None and chosen not in kept:
        kept[-1] = chosen
    return kept


def _point(candidate: Candidate) -> tuple[object, ...]:
    at, known = candidate.cut_id, candidate
    wire = (known.bits, known.noise, round(known.noise_std, 6), round(known.kept, 6))
    return at, known.dropout, round(known.rate, 6), *wire
