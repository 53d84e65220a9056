"""The first screen: what the plan does, costs and leaks, in one sentence; three figures; what was not tested.

Harm is rounded up and benefit down. "At most" is said only of attacks that train until they gain nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..records import Candidate, Interval, Plan
from .document import Decision, Figure
from .evidence import BY_DEFINITION, Evidence
from .wording import link_text, number, size

UNIT_METRICS = ("top-1", "accuracy", "correct")
"""Metrics that are shares of samples begin so; they are shown in percent."""


def decision(plan: Plan, evidence: Evidence) -> Decision:
    """The first screen of a plan."""
    return Decision(
        sentence=sentence(plan, evidence),
        badge=evidence.level,
        badge_means=evidence.why,
        figures=(_privacy(plan, evidence), _accuracy(plan.chosen), _latency(plan)),
        budgets=_budgets(plan),
        missed=(*plan.chosen.violations, *(() if plan.measured is None else plan.measured.violations)),
        missing_to_sign_off=evidence.missing,
        assumed=_assumed(plan),
        not_tested=_not_tested(plan, evidence),
    )


def sentence(plan: Plan, evidence: Evidence) -> str:
    """The decision in one sentence of plain English."""
    latency = plan.chosen.latency
    takes = f"a request takes {number(latency.p50_ms.value)} ms (95 of 100 at most {number(latency.p95_ms)} ms)"
    if plan.measured is not None:
        measured = plan.measured
        takes = (
            f"a request takes {number(measured.p50_ms.value)} ms as measured "
            f"(95 of 100 at most {number(max(latency.p95_ms, measured.total.p95_ms))} ms)"
        )
    return f"{_what(plan)}; {_leaks(plan, evidence)}; {_keeps(plan.chosen)}; {takes}."


def _what(plan: Plan) -> str:
    if plan.cut_kind == "cloud-only":
        return f"Send the input as it is ({sent_numbers(plan)}) and run the whole network in the cloud"
    if plan.cut_kind == "edge-only":
        sent = "send nothing" if plan.budgets.result_at == "edge" else "send only the answer"
        return f"Run the whole network on the device and {sent}"
    return f"Run the network up to {plan.cut_name} on the device and send {sent_numbers(plan)}"


def sent_numbers(plan: Plan) -> str:
    """How many numbers leave for one sample, `4 numbers (4 B)`; only the bytes where that cannot be told."""
    elements = sum(crossing.sample_elements for crossing in plan.crossing)
    bytes_ = plan.chosen.payload_bytes
    projection, bits = plan.defense.projection, plan.defense.bits
    count: int | None = elements
    if projection is not None:
        simple = len(plan.crossing) == 1
        count = projection.rank if simple and projection.rank else None
        if count is None and simple and bits:
            count = bytes_ * 8 // bits
    return size(bytes_) if count is None else f"{count:,} number{'s' * (count != 1)} ({size(bytes_)})"


def _leaks(plan: Plan, evidence: Evidence) -> str:
    chosen = plan.chosen
    if evidence.level == "nothing private sent":
        return "nothing private leaves"
    if evidence.level == "input sent as it is":
        return "whoever receives it has the input itself"
    if chosen.leakage.index_of == "token recovery":
        tokens = f"{up(evidence.index.high)} of 100 private tokens"
        return f"by estimate, up to {tokens} can be read, and nobody has attacked it"
    if evidence.level == "estimated":
        return (
            f"by estimate alone, up to {up(evidence.index.high)} % of the private input can be reconstructed, and "
            "nobody has attacked it"
        )
    rate = evidence.rate
    if rate is None:
        said = f"{up(evidence.index.high)} % of the private input comes back"
    else:
        said = f"{up(rate.high)} of 100 pictures come back recognisable"
    if evidence.at_most:
        return f"at most {said}"
    if evidence.failed:
        return f"up to {said} in the attacks that ended, and {len(evidence.failed)} FAILED, which proves nothing"
    return f"up to {said} under quick attacks, and stronger ones recover more"


def _keeps(chosen: Candidate) -> str:
    accuracy = chosen.accuracy
    before, after = accuracy.undefended, accuracy.accuracy.value
    worst = accuracy.undefended - accuracy.drop.high
    name = "accuracy" if is_share(accuracy.metric) else accuracy.metric
    if round(after, 4) >= round(before, 4):
        said = f"{name} stays at {score(accuracy.metric, after)}"
    else:
        plain = score(accuracy.metric, before).removesuffix(" %")
        said = f"{name} falls from {plain} to {score(accuracy.metric, after)}"
    return said if worst >= after else f"{said} (at worst {score(accuracy.metric, worst, down=True)})"


def _privacy(plan: Plan, evidence: Evidence) -> Figure:
    index, rate = evidence.index, evidence.rate
    name = plan.chosen.leakage.index_name.capitalize()
    if rate is not None:
        note = f"Pictures that attackers rebuilt recognisably. {name}: {_ends(index)}."
        value = f"{up(rate.high)} of 100"
        limits = f"measured {100 * rate.value:.1f}, {_percent(rate)} per 100 (95 %)"
        if not evidence.at_most:
            value = f"\u2265 {down(rate.value)} of 100"
            note = f"{note} A lower bound: more effort recovers more."
        return Figure(name="Recognisable pictures", value=value, interval=limits, note=note, interval_values=rate)
    if evidence.level in BY_DEFINITION:
        note = "0: nothing private crosses. 1: the input itself crosses."
        return Figure(name=name, value=number(index.value), interval="by definition", note=note, interval_values=index)
    what = {
        "token recovery": "Private tokens that can be read: 0 only the commonest, 1 every one.",
        "leakage index": "0: nothing beyond the average input. 1: the input itself.",
    }[plan.chosen.leakage.index_name]
    standing = "Upper end of an estimate; not attacked." if evidence.level == "estimated" else "Upper end of attacks."
    return Figure(
        name=name,
        value=f"up to {math.ceil(100 * index.high) / 100:.2f}",
        interval=f"{number(index.value)}, {_ends(index)}",
        note=f"{standing} {what}",
        interval_values=index,
    )


def _accuracy(chosen: Candidate) -> Figure:
    found = chosen.accuracy
    metric, drop = found.metric, found.drop
    unit = "points" if is_share(metric) else ""
    factor = 100 if is_share(metric) else 1
    lost = (
        f"Undefended {score(metric, found.undefended)}; loses up to {max(drop.high, 0.0) * factor:.3g} {unit}".rstrip()
    )
    return Figure(
        name=metric[0].upper() + metric[1:],
        value=score(metric, found.accuracy.value),
        interval=f"{score(metric, found.accuracy.low)} to {score(metric, found.accuracy.high)} (95 %)",
        note=f"{lost}. {found.sample_count:,} samples that the search never saw.",
        interval_values=found.accuracy,
    )


def _latency(plan: Plan) -> Figure:
    predicted, measured = plan.chosen.latency, plan.measured
    if measured is None:
        return Figure(
            name="Latency of a request",
            value=f"{number(predicted.p50_ms.value)} ms",
            interval=f"{_milliseconds(predicted.p50_ms)} (90 %)",
            note=f"Predicted from profiles, never run. 95 of 100 requests within {number(predicted.p95_ms)} ms.",
            interval_values=predicted.p50_ms,
        )
    return Figure(
        name="Latency of a request",
        value=f"{number(measured.p50_ms.value)} ms",
        interval=f"{_milliseconds(measured.p50_ms)} (90 %)",
        note=f"Measured{' over a simulated link' if measured.shaped else ''}; predicted "
        f"{number(measured.predicted.p50_ms.value)} ms. 95 of 100 within {number(measured.total.p95_ms)} ms.",
        interval_values=measured.p50_ms,
    )


def _budgets(plan: Plan) -> tuple[str, ...]:
    asked = plan.budgets
    texts: dict[str, Callable[[Any], str]] = {
        "latency_p95_ms": lambda v: f"latency at p95 within {v:g} ms",
        "max_accuracy_drop": lambda v: f"at most {100 * v:g} points of accuracy lost",
        "min_accuracy": lambda v: f"accuracy of at least {100 * v:g} %",
        "max_leakage": lambda v: f"leakage index within {v:g}",
        "max_reconstruction": lambda v: f"at most {100 * v:g} of 100 pictures recognisable",
        "max_linkage": lambda v: f"at most {100 * v:g} of 100 releases linked to their input",
        "max_consistency": lambda v: f"at most {100 * v:g} of 100 answers kept that the label does not give away",
        "max_region": lambda v: f"leakage index of the region of interest within {v:g}",
        "max_payload_bytes": lambda v: f"at most {size(v)} sent",
        "edge_memory_bytes": lambda v: f"at most {size(v)} of memory on the device",
        "max_edge_parameters": lambda v: f"at most {v:,} parameters on the device",
        "max_edge_energy_mj": lambda v: f"at most {v:g} mJ on the device",
    }
    return tuple(say(value) for name, say in texts.items() if (value := getattr(asked, name)) is not None)


def _assumed(plan: Plan) -> tuple[str, ...]:
    link = link_text(plan.link, plan.edge_slowdown).partition("; edge declared")[0]
    found = [
        f"{link[0].upper()}{link[1:]}.",
        f"Device: {plan.edge_device.name}, {_threads(plan.edge_device.threads)}"
        + (f", declared {plan.edge_slowdown:g} times slower than profiled." if plan.edge_slowdown != 1 else "."),
        f"Cloud: {plan.cloud_device.name} ({plan.cloud_device.device}).",
        "Inputs in use come from the same distribution as the validation data.",
        "The attacker knows the network, the defense and its parameters, and owns inputs of the same kind.",
    ]
    if plan.batch != 1:
        found.append(f"A request holds {plan.batch} samples.")
    return tuple(found)


def _not_tested(plan: Plan, evidence: Evidence) -> tuple[str, ...]:
    found = []
    if evidence.level == "estimated":
        found.append("No attack was run on this plan.")
    elif evidence.level == "attacked, quick":
        found.append("Attacks with more effort than quick, which recover more.")
    found += [f"Attack that FAILED: {name}." for name in evidence.failed]
    if plan.measured is None:
        found.append("The plan was never run: latency is predicted (`collabplan verify` measures it).")
    elif plan.measured.shaped:
        found.append("A real network: the link was simulated on one machine.")
    if plan.edge_slowdown != 1:
        found.append("The real device: its slowness is declared, not measured.")
    if plan.link.source == "assumed":
        found.append("Your network: the link is assumed.")
    if not plan.budgets.private:
        found.append("Any privacy budget: none was given.")
    found += [
        "Data of another distribution, and attackers with other knowledge than the attacks here have.",
        "Other programs on the device or the server at the same time.",
    ]
    return tuple(found)


def is_share(metric: str) -> bool:
    """Whether a metric is a share of samples, shown in percent."""
    return metric.lower().startswith(UNIT_METRICS)


def score(metric: str, value: float, *, down: bool = False) -> str:
    """A metric's value: percent where it is a share, else three decimals."""
    if not is_share(metric):
        return f"{value:.3f}"
    percent = math.floor(1000 * value + 1e-9) / 10 if down else 100 * value
    return f"{percent:.1f} %"


def up(share: float) -> int:
    """A share as whole percent, rounded up and within 0 and 100."""
    return min(100, max(0, math.ceil(100 * share - 1e-9)))


def down(share: float) -> int:
    """A share as whole percent, rounded down and within 0 and 100."""
    return min(100, max(0, math.floor(100 * share + 1e-9)))


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def _percent(value: Interval) -> str:
    return f"{max(0.0, 100 * value.low):.1f} to {100 * value.high:.1f}"


def _ends(value: Interval) -> str:
    return f"{value.low:.2f} to {math.ceil(100 * value.high - 1e-9) / 100:.2f} ({100 * value.level:.0f} %)"


def _milliseconds(value: Interval) -> str:
    return f"{number(value.low)} to {number(value.high)} ms"
