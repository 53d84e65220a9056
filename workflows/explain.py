"""Why a plan is what it is, in words: what it does, what was rejected and by how much, what its figures mean."""

from __future__ import annotations

from ..planner.budgets import checks
from ..records import Candidate, Objective, Plan
from ..report.wording import bits_text, by_definition_text, defense, power_text, same_point, size

_SHOWN = 3
"""Rejected candidates that are named."""


def explanation(plan: Plan) -> dict[str, list[str]]:
    """Sentences by heading."""
    return {
        "The plan": _what(plan),
        "Why this one": _why(plan),
        "Cuts chosen without evidence": [_baseline(plan, b.role, b.candidate) for b in plan.baselines],
        "What was rejected": _rejected(plan),
        "What the figures mean": _meaning(plan),
    }


def _what(plan: Plan) -> list[str]:

    chosen, parts = plan.chosen, plan.chosen.latency.parts
    times = {
        "the edge half": parts.edge_ms,
        "the defense": parts.defense_ms,
        "packing": parts.serialisation_ms,
        "the upload": parts.transfer_ms,
        "the cloud half": parts.cloud_ms,
        "the download": parts.download_ms,
    }
    slowest = max(times, key=lambda part: times[part])
    total = sum(times.values()) or 1.0
    return [
        f"The model is cut at {plan.cut_name} ({plan.cut_kind}): {size(chosen.payload_bytes)} a sample are "
        f"sent, under {defense(chosen)}{bits_text(plan)}.",
        f"A request takes {chosen.latency.p50_ms.value:.3g} ms (median) and {chosen.latency.p95_ms:.3g} ms (p95), "
        f"predicted; {times[slowest] / total:.0%} of it is {slowest}.",
        f"{chosen.accuracy.metric}: {chosen.accuracy.accuracy.value:.4f} of {chosen.accuracy.undefended:.4f}; the drop "
        f"is {chosen.accuracy.drop.value:.4f}, at most {chosen.accuracy.drop.high:.4f}.",
        f"{chosen.leakage.index_name.capitalize()}: {_index(chosen)}, at most {chosen.index.high:.3f}.",
        *_energy(plan),
    ]


def _energy(plan: Plan) -> list[str]:

    spent, power = plan.chosen.edge_energy_mj, plan.edge_power
    if spent is None or power is None:
        return []
    return [f"A request takes {spent:.3g} mJ on the device: its computing time at {power_text(power)}."]


def _why(plan: Plan) -> list[str]:

    found = [
        f"Of {plan.trials} measured candidates it leaks least (upper end of the index on the search split: "
        f"{plan.searched.index.high:.3f}) among those within all budgets, and keeps them on the confirm split too."
    ]
    held = checks(plan.chosen, plan.budgets)
    if not held:
        return [*found, "There is no budget."]
    tightest = max(held, key=lambda check: check.excess)
    if tightest.holds:
        found.append(f"Its tightest budget, with {-tightest.excess:.0%} to spare: {tightest.text}.")
    else:
        found.append(f"What it does not keep yet: {tightest.text}.")
    return found


def _baseline(plan: Plan, role: str, candidate: Candidate) -> str:
    accuracy = candidate.accuracy.accuracy.value - plan.chosen.accuracy.accuracy.value
    cut = "" if candidate.cut_name == role else f" ({candidate.cut_name})"
    said = (
        f"{role}{cut}: {_faster(candidate, plan.chosen)} at p95, accuracy {accuracy:+.4f}, "
        f"{candidate.leakage.index_name} {_index(candidate)}, the plan's is {plan.chosen.index.value:.3f}"
    )
    return said + (f"; misses a budget: {', '.join(candidate.violations)}." if candidate.violations else ".")


def _faster(candidate: Candidate, chosen: Candidate) -> str:
    difference = candidate.latency.p95_ms - chosen.latency.p95_ms
    if abs(difference) < 0.005 * chosen.latency.p95_ms:
        return "as fast"
    return f"{abs(difference):.3g} ms {'slower' if difference > 0 else 'faster'}"


def _index(candidate: Candidate) -> str:
    """The index with what it is; where nothing is known of it, that it counts as 1."""
    index = candidate.index
    if candidate.index_is == "predicted" and index.high - index.low >= 1:
        return "unknown (not attacked, nothing is predicted: it counts as 1)"
    return f"{index.value:.3f} ({candidate.index_is})"


def _rejected(plan: Plan) -> list[str]:
    """Candidates of the front that would leak less but miss a budget, then those within budgets that leak more."""
    mine = plan.searched
    others = [candidate for candidate in plan.front if not same_point(candidate, mine)]
    tempting = sorted(
        (c for c in others if c.violations and c.index.high < mine.index.high), key=lambda c: c.index.high
    )
    second = sorted((c for c in others if not c.violations), key=lambda c: c.index.high)
    found = [
        f"{c.cut_name} with {defense(c)} would leak less, up to {c.index.high:.3f} ({c.index_is}), but misses: "
        f"{', '.join(c.violations)}."
        for c in tempting[-_SHOWN:]
    ]
    found += [
        f"{c.cut_name} with {defense(c)} is within the budgets and leaks more, up to {c.index.high:.3f} "
        f"({c.index_is}), at {c.accuracy.accuracy.value - mine.accuracy.accuracy.value:+.4f} accuracy, "
        f"{_faster(c, mine)}{_costs(c, mine, plan.objectives)}."
        for c in second[:_SHOWN]
    ]
    made_of = f"The front is made of {', '.join(plan.objectives)}."
    return [made_of, *(found or ["It holds no other candidate."])]


def level_sentence(plan: Plan) -> str:
    """The level of a plan's evidence, and what it proves."""
    if plan.level == "by definition":
        return f"Level: by definition: {by_definition_text(plan)}."
    said = f"Level: {plan.level}, of estimated, quick, standard and signed off."
    if plan.proven:
        return said
    if plan.unattackable is not None:
        return f"{said} The privacy budgets are not proven, and no attack here can prove them."
    return f"{said} The privacy budgets are not yet proven: run `collabplan certify`."


def _costs(candidate: Candidate, mine: Candidate, objectives: tuple[Objective, ...]) -> str:
    """Energy and payload beside the plan's, where the front is made of them."""
    said = ""
    if "energy" in objectives and candidate.edge_energy_mj is not None and mine.edge_energy_mj is not None:
        said += f", {candidate.edge_energy_mj:.3g} mJ on the device against {mine.edge_energy_mj:.3g}"
    if "payload" in objectives:
        said += f", {size(candidate.payload_bytes)} sent against {size(mine.payload_bytes)}"
    return said


def _meaning(plan: Plan) -> list[str]:
    chosen = plan.chosen
    found = ["Latency is predicted from profiles and a link formula; contention and another network are not in it."]
    if plan.edge_power is not None:
        found.append(
            "Energy is power times computing time, and the radio's declared joules. A declared power is no "
            "measurement; a measured one is of all that its counter counts and of nothing else on the device."
        )
    if chosen.audited is not None:
        audited = chosen.audited
        found.append(
            f"The index is what {len(audited.attacks)} attacks really recovered ({audited.effort} effort, seeds: "
            f"{audited.seeds}, worst: {audited.figures.index_attack}, {audited.figures.threat})"
            + (", a lower bound: more effort recovers more." if audited.figures.lower_bound else ".")
        )
        if not audited.figures.conclusive:
            found.append(f"It is not conclusive: {', '.join(audited.figures.failed)} FAILED.")
    elif chosen.leakage.status == "estimated" and chosen.leakage.index_of == "token recovery":
        found.append(
            f"Token recovery is the share of the tokens of {chosen.leakage.token_input} that attackers read exactly, "
            "beyond what the commonest tokens give away: 0 none, 1 all (wherever they stand, if a pooling has taken "
            "the places away). It is ESTIMATED by cheap attackers, not audited: no attack on token inputs is built, "
            "and a search over whole sequences, or a language model, recovers more. Keep the tokens private."
        )
    elif chosen.leakage.status == "estimated":
        found.append(
            "The index is ESTIMATED by cheap attackers, not audited: a stronger attacker recovers more. "
            + (
                "Run `collabplan attack` on the plan before you sign."
                if plan.unattackable is None
                else f"No attack here applies to the plan: {plan.unattackable}."
            )
        )
    else:
        found.append(f"The index follows from the definition ({chosen.leakage.status}): no attack is needed.")
    found.append(level_sentence(plan))
    found.append("No figure says anything about data of another distribution than the validation data's.")
    return found
