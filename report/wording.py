"""Plans, links and figures in words: what tables, explanations and pages say alike. No terminal is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import COVERS, Audit, Candidate, Crossing, DefenseRecord, EdgePower, Link, Plan, Profile, Returns

USUAL_BITS = 8
"""Of the quantizer; others are named."""


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


def same_point(first: Candidate, second: Candidate) -> bool:
    """Whether two candidates are of one cut and one defense, as the search counts them."""
    return (first.cut_id, first.defense.unfitted) == (second.cut_id, second.defense.unfitted)


def size(count: int) -> str:
    """Bytes in the unit that fits: 12 B, 4.00 KiB, 1.50 MiB."""
    if count < 1024:
        return f"{count} B"
    return f"{number(count / 1024)} KiB" if count < 2**20 else f"{number(count / 2**20)} MiB"


def share(value: float) -> str:
    """A figure between 0 and 1."""
    return f"{value:.3f}"


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


def crosses(crossing: Sequence[Crossing]) -> str:
    """`h crosses`, or `h, mask cross`."""
    names = ", ".join(each.name for each in crossing) or "nothing"
    return f"{names} {'cross' if len(crossing) > 1 else 'crosses'}"


def sent(plan: Plan) -> str:
    """What crosses, with the shape of one sample."""
    if plan.cut_kind == "edge-only" and plan.budgets.result_at == "edge":
        return "nothing is sent"
    return "crosses: " + ", ".join(f"{c.name} {'x'.join(map(str, c.sample_shape))}" for c in plan.crossing)


def by_definition_text(plan: Plan) -> str:
    """Why the leakage of a plan at the level *by definition* needs no attack: both extremes have that level."""
    if plan.chosen.index.high > 0:
        return "the input itself is sent, so whoever receives it needs no attack"
    return "nothing private is sent, so there is nothing to attack"


def short_defense(candidate: Candidate) -> str:
    """`element 0.3`, `element 0.3, tuned`, `rank=12, 3 bit, tuned`, or `none`."""
    return short_text(candidate.defense) + (", tuned" if candidate.tuned else "")


def short_text(record: DefenseRecord) -> str:
    """A defense in a table: `element 0.3`, `rank=12, 3 bit`, or `none`."""
    drop, noise, projection = record.dropout, record.noise, record.projection
    said = [
        f"{drop.granularity} {'keyed ' if record.masks == 'keyed' else ''}{drop.rate:g}" if drop else "",
        f"{noise.distribution[0]}{noise.std:g}" if noise else "",
        projection.text.removeprefix("projection:") if projection else "",
        *(custom.text for custom in record.customs),
        f"{record.bits or 'no'} bit" if record.bits != USUAL_BITS else "",
        "stochastic" if record.rounds_randomly else "",
    ]
    return ", ".join([*filter(None, said)] or ["none"])


def defense(candidate: Candidate) -> str:
    """`rank-4 projection, element dropout 0.3, gaussian noise 0.05`, or `no dropout, no noise`."""
    record = candidate.defense
    drop, noise, projection = record.dropout, record.noise, record.projection
    said = [
        projection.words if projection else "",
        *(custom.text for custom in record.customs),
        f"{drop.granularity} dropout {drop.rate:g}" if drop else "",
        f"{noise.distribution} noise {noise.std:g}" if noise else "",
    ]
    return ", ".join(filter(None, said)) or "no dropout, no noise"


def bits_text(plan: Plan) -> str:
    """`, 8-bit quantizer`, or nothing where tensors cross in their own dtype."""
    return f", {plan.defense.bits}-bit quantizer" if plan.defense.bits else ", not quantized"


def information(candidate: Candidate) -> str:
    """The sandwich's interval in one line, with what it is, or that it says nothing."""
    leak = candidate.leakage
    if leak.saturated:
        return f"information SATURATED at {leak.saturation_nats:.2f} nats ({leak.information_is}): ranks nothing"
    ends = f"{leak.information_low_nats:.2f} to {leak.information_high_nats:.2f} nats"
    return f"information {ends} ({leak.information_is})"


RETURNED: Mapping[str, str] = {
    "label": "the label alone",
    "label+probability": "the label and its probability to two digits",
    "top5": "five labels with their probabilities",
    "logits": "all that the model returns",
}
"""What a service returns (`Returns`), in words."""


def output_text(form: Returns, *, declared: bool) -> str:
    """What a service returns, in words."""
    return RETURNED[form] + ("" if declared else " (`returns` is not declared)")


def outrun_note(audits: Sequence[Audit]) -> list[str]:
    """How many attacks were not run to their end; nothing where all were."""
    results = [result for audit in audits for result in audit.attacks]
    outrun = sum(result.status == "outrun" for result in results)
    if not outrun:
        return []
    return [
        f"outrun: {outrun} of {len(results)} attacks were judged unlikely to reach the strongest index or "
        "reconstructed share, so they were not run to their end; --no-race runs them all, and may raise other figures"
    ]
