"""Attacks a plan until the rule to sign off is met (`records.sign_off`), the plan has fallen, or the time is up."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..attacks.time_limit import Clock, Deadline, TimeUp, until
from ..planner.audits import raced_for
from ..planner.budgets import judged, privacy_checks
from ..planner.plan_record import headline
from ..records import Audit, Audited, Certificate, Plan, parse_time_limit_s, save
from ..records.leftovers import clear_leftovers
from ..records.privacy import LEAKAGE, PRIVACY_BUDGETS
from .attack import attack_settings, open_run
from .attack_run import AttackRun
from .options import AttackOptions, CertifyOptions
from .plan_keeping import missing
from .planned import open_plan
from .reporter import Reporter
from .search_options import require_region
from .session import Session
from .workspace import Workspace

_RANK = ("quick", "standard", "thorough")


@dataclass(frozen=True, slots=True)
class Certified:
    """What came of certifying a plan.

    Attributes:
        plan: with everything that was found, as its file has it.
        missing: what it lacks to be signed off; empty once it is.
        fallen: the privacy budgets that attackers broke.
        timed_out: True if the time limit ended the attacks.
    """

    plan: Plan
    missing: tuple[str, ...]
    fallen: tuple[str, ...]
    timed_out: bool = False


def certify_plan(
    path: Path,
    model: str | Session | None,
    options: CertifyOptions,
    workspace: Workspace,
    reporter: Reporter,
    clock: Clock = time.monotonic,
) -> Certified:
    """Attack a plan seed by seed. Finished attacks are kept, those of `optimize` and `attack` are found.

    The plan's file is written after each seed, whole: with what attackers recovered, and with the certificate at last.

    Args:
        path: the plan's file.
        model: the target, if it has moved since; or a session of it.
        options: how hard, and how long.
        workspace: holds finished attacks.
        reporter: hears what is found and how far the attacks are.
        clock: tells the time that the limit counts, from this call on.

    Raises:
        CollabplanError: not a plan, another model, too little data, or inputs that no attack is built for.
    """
    deadline = Deadline.after(parse_time_limit_s(options.time_limit), clock)
    planned = open_plan(path, model, reporter, needs_data=True)
    clear_leftovers(path)
    if planned.plan.level == "by definition":
        return Certified(planned.plan, (), _fallen(planned.plan))
    first = planned.plan.provenance.seed or 0
    asked = AttackOptions(
        effort=options.effort,
        seed=first,
        seeds=options.seeds,
        device=options.device,
        memory=options.memory,
        artifacts=options.artifacts,
    )
    session = Session(planned.target, planned.traced)
    settings = replace(attack_settings(asked), raced_for=raced_for(planned.plan.budgets))
    run = open_run(session, planned, asked, settings, workspace, reporter)
    require_region(planned.plan.budgets, run.roles.region)
    run = replace(run, cuts=tuple(cut for cut in run.cuts if cut.id == planned.cut.id), metric=None)
    plan, timed_out = planned.plan, False
    try:
        with until(deadline), reporter.progress("certifying", counted=True) as advance:
            for count in range(1, options.seeds + 1):
                some = replace(run, settings=replace(settings, seeds=settings.seeds[:count]))
                (outcome,) = some.run(lambda _, __, what="": advance(count - 1, options.seeds, what), reporter.note)  # noqa: B023
                plan = _with(plan, outcome.record, some)
                save(plan, path)
                if _fallen(plan):
                    break
    except TimeUp:
        timed_out = True
    return Certified(plan, missing(plan), _fallen(plan), timed_out)


def _with(plan: Plan, audit: Audit, run: AttackRun) -> Plan:
    """The plan with an audit, if that is at least as strong as the one it has; signed off, it has its certificate."""
    assert audit.tiers
    found = Audited(
        effort=audit.effort,
        split="confirm",
        seeds=audit.seeds,
        attacks=tuple(attack.name for attack in run.settings.attacks),
        figures=audit.tiers[-1],
    )
    if plan.chosen.audited is not None and _strength(plan.chosen.audited) > _strength(found):
        known = judged(plan.chosen, plan.budgets)
        kept = plan.certificate if known.meets_budgets else None
        return plan.model_copy(update={"chosen": known, "certificate": kept})
    chosen = judged(plan.chosen.model_copy(update={"audited": found, "predicted": None}), plan.budgets)
    signed = not found.missing_to_sign_off and chosen.meets_budgets
    return plan.model_copy(
        update={
            "chosen": chosen,
            "headline": headline(chosen, plan.edge_power),
            "certificate": _certificate(audit, found, run) if signed else None,
        }
    )


def _strength(audited: Audited) -> tuple[bool, int, int]:
    return audited.split == "confirm", _RANK.index(audited.effort), audited.seeds


def _fallen(plan: Plan) -> tuple[str, ...]:
    """Privacy budgets that attackers broke.

    Attacks that FAILED or were quick prove nothing, and may break a budget all the same. The upper end of what others
    recovered counts, and the lower end of what quick ones did.
    """
    chosen, budgets = plan.chosen, plan.budgets
    if chosen.level == "by definition":
        return tuple(check.text for check in privacy_checks(chosen, budgets) if not check.holds)
    if chosen.level == "estimated" or chosen.audited is None:
        return ()
    figures, quick = chosen.audited.figures, chosen.audited.effort == "quick"
    found = []
    for budget in PRIVACY_BUDGETS:
        figure, limit = budget.of(figures), budget.limit(budgets)
        if figure is not None and limit is not None and (figure.low if quick else figure.high) > limit:
            name = "leakage index" if budget is LEAKAGE else budget.figure
            end = f"from {figure.low:.3f}" if quick else f"up to {figure.high:.3f}"
            found.append(f"{name} {end} against {limit:g}")
    return tuple(found)


def _certificate(audit: Audit, found: Audited, run: AttackRun) -> Certificate:
    figures = found.figures
    return Certificate(
        threat=figures.threat,
        attackers=tuple(dict.fromkeys(result.attack for result in audit.attacks)),
        effort=found.effort,
        seeds=run.settings.seeds,
        targets=figures.target_count,
        fewest_targets=figures.fewest_targets,
        index_high=figures.index.high,
        reconstruction_high=None if figures.reconstruction_rate is None else figures.reconstruction_rate.high,
        linkage_high=None if figures.linkage is None else figures.linkage.high,
        consistency_high=None if figures.consistency_excess is None else figures.consistency_excess.high,
        region_high=None if figures.region is None else figures.region.high,
        not_tried=_not_tried(audit, found, run),
    )


def _not_tried(audit: Audit, found: Audited, run: AttackRun) -> tuple[str, ...]:
    """Which attackers the certificate does not cover."""
    said = []
    outrun = sum(result.status == "outrun" for result in audit.attacks)
    if outrun:
        said.append(
            f"the end of {outrun} of {len(audit.attacks)} attacks, which were outrun: they were judged unlikely to "
            "reach the strongest"
        )
    if found.effort != "thorough":
        said.append("attackers at thorough effort")
    if run.roles.other is None:
        said.append("attackers with real images of another distribution (the target has no other_attacker_data)")
    if run.roles.sensitive is None:
        said.append("probes for sensitive attributes (the target has no sensitive_labels)")
    said.append(f"attackers with more than {len(run.roles.auxiliary)} images of the targets' distribution")
    said.append("attackers of a kind that this version does not have")
    return tuple(said)
