"""Which command comes after one that found or showed a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..records import Plan
    from ..report.evidence import Level

PRIVATE_ENOUGH = 0.8
"""The leakage budget that is named to whose plan sends the input as it is."""


def to_attack(plan: Plan, file: Path | str) -> tuple[str, str]:
    """The command that shows what attackers recover, and why; another one where attacks say nothing about the plan."""
    if plan.cut_kind == "edge-only":
        return to_deploy(plan, file)
    if plan.level == "by definition" and plan.chosen.index.high > 0:
        latency = plan.budgets.latency_p95_ms
        budget = "" if latency is None else f" --budget-ms {latency:g}"
        return f"collabplan optimize{budget} --max-leakage {PRIVATE_ENOUGH:g}", "this plan sends the input itself"
    if plan.chosen.leakage.index_of == "token recovery":
        return f"collabplan split {file} -o halves", "there is no attack on tokens yet"
    if plan.unattackable is not None:
        return f"collabplan split {file} -o halves", "no attack applies to its inputs"
    return f"collabplan attack {file}", "what attackers really recover"


def to_deploy(plan: Plan, file: Path | str) -> tuple[str, str]:
    """The command that writes what the machines need, and what that is."""
    alone = plan.cut_kind == "edge-only"
    return (
        f"collabplan bundle {file} -o bundle",
        "the device's part: no server" if alone else "what device and cloud need",
    )


def after_report(plan: Plan, file: Path | str, badge: Level) -> str:
    """The command that comes after reading a plan's report: the next piece of evidence, or what the machines need.

    Args:
        plan: the plan.
        file: its file.
        badge: of the report, which counts attacks that the plan does not hold too.
    """
    if badge in ("attacked, quick", "attacked, standard") and plan.budgets.private:
        return f"collabplan certify {file}"
    if badge in ("attacked, quick", "attacked, standard", "signed off"):
        return to_deploy(plan, file)[0]
    return to_attack(plan, file)[0]
