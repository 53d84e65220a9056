"""Brings a plan and everything that is known of it into one `Report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..attacks.galleries import Gallery
from ..records import Audit, AuditReport, LeakageReport, Plan
from .decision import decision
from .document import Item, Report, Section, Step
from .evidence import Evidence, evidence_of
from .pictures import is_plans, pictures_of
from .tables import Depth, agreement, candidate_rows, every_candidate, latency_section, strip_rows


@dataclass(frozen=True)
class ReportSources:
    """What a report is made from.

    Attributes:
        plan: the plan.
        plan_file: its name, for the commands that are suggested.
        audits: of the same model (`collabplan attack -o`).
        leakage: estimates of the same model (`collabplan leakage -o`).
        galleries: kept audits with their pictures; those of other models are left out.
        pictures: False leaves the galleries' pictures out; their figures count all the same.
        depths: every cut of the model with its undefended latency and payload, edge to cloud.
        why: why this plan was chosen, sentences by heading.
    """

    plan: Plan
    plan_file: str = "plan.json"
    audits: Sequence[AuditReport] = ()
    leakage: LeakageReport | None = None
    galleries: Sequence[Gallery] = ()
    pictures: bool = True
    depths: Sequence[Depth] = ()
    why: Mapping[str, Sequence[str]] = field(default_factory=dict)


def make_report(sources: ReportSources) -> Report:
    """The report of a plan. Nothing is run and nothing is read.

    Raises:
        MismatchError: an audit or estimate is of another model.
    """
    plan = sources.plan
    models = [each.model for each in sources.audits]
    for model in [*models, *([] if sources.leakage is None else [sources.leakage.model])]:
        plan.model.require_same(model, record="the plan")
    galleries = [each for each in sources.galleries if each.model == plan.model]
    audits = [*(audit for each in sources.audits for audit in each.audits), *(each.audit for each in galleries)]
    mine = _of_the_plan(sources, galleries)
    evidence = evidence_of(plan, mine)
    strip, left_out = strip_rows(plan, evidence.index, sources.depths, sources.leakage, audits)
    portable = plan.portable()
    return Report(
        title=f"Split plan of {plan.model.name}",
        decision=decision(plan, evidence),
        strip=strip,
        strip_said=_strip_said(sources),
        strip_left_out=left_out,
        objectives=plan.objectives,
        candidates=candidate_rows(plan, evidence.index),
        candidates_said=_candidates_said(plan),
        pictures=pictures_of(plan, galleries if sources.pictures else ()),
        agreement=agreement(plan, sources.leakage, audits),
        latency=latency_section(plan),
        why=tuple(Section(heading=heading, sentences=tuple(said)) for heading, said in sources.why.items()),
        next_steps=_next_steps(plan, evidence, sources.plan_file),
        how_sure=_how_sure(plan, evidence),
        provenance=_provenance(portable, audits),
    )


def _of_the_plan(sources: ReportSources, galleries: Sequence[Gallery]) -> list[Audit]:
    """The audits of the plan's own cut, defense and weights.

    A report of audits does not say which weights it attacked: it counts as the plan's where the plan's defense was
    fitted as the report says.
    """
    plan = sources.plan
    reported = [
        audit
        for each in sources.audits
        for audit in each.audits
        if audit.cut_id == plan.cut_id and audit.defense == plan.defense
    ]
    return [*reported, *(each.audit for each in galleries if is_plans(plan, each))]


def _strip_said(sources: ReportSources) -> str:
    if sources.depths:
        return "Every cut of the profile, without a defense. Leakage is the upper end of its interval."
    return (
        "The cuts of the plan's candidates alone: no profile of this model was found, so other cuts are not shown "
        "(give --profile)."
    )


def _candidates_said(plan: Plan) -> str:
    shown = len(every_candidate(plan))
    return (
        f"{plan.trials:,} candidates were measured; a plan keeps the front, the baselines and itself: {shown} rows. "
        "The plan and the baselines were measured on the confirm split, the front on the search split. Leakage counts "
        "by its upper end."
    )


def _next_steps(plan: Plan, evidence: Evidence, file: str) -> tuple[Step, ...]:
    steps = []
    attackable = plan.unattackable is None and plan.chosen.leakage.index_of != "token recovery"
    if evidence.level == "estimated" and attackable:
        steps.append(
            Step(what="See what attackers recover: a first look, lower bounds.", command=f"collabplan attack {file}")
        )
    if evidence.level in ("estimated", "attacked, quick", "attacked, standard") and attackable:
        steps.append(
            Step(
                what="Search again with a privacy budget, so that the winner must withstand all attacks. Takes hours.",
                command="collabplan optimize --max-reconstruction 0.1 --audit-effort standard --audit-seeds 3",
            )
        )
    if plan.link.source == "assumed":
        steps.append(Step(what="Measure your network to the server.", command="collabplan link HOST:PORT -o link.json"))
    if plan.measured is None:
        steps.append(
            Step(
                what="Run both halves and measure latency and accuracy.", command=f"collabplan verify {file} -o {file}"
            )
        )
    steps.append(Step(what="See what else was found.", command=f"collabplan front {file}"))
    if evidence.level == "input sent as it is":
        steps.append(
            Step(what="Find a plan that sends less than the input.", command="collabplan optimize --max-leakage 0.8")
        )
    if evidence.level in ("signed off", "nothing private sent"):
        steps.append(Step(what="Write what device and server need.", command=f"collabplan bundle {file} -o bundle"))
    return tuple(steps)


def _how_sure(plan: Plan, evidence: Evidence) -> tuple[str, ...]:
    accuracy = plan.chosen.accuracy
    found = [evidence.why]
    if evidence.missing:
        found.append(f"Signing off still takes: {'; '.join(evidence.missing)}.")
    found += [
        f"Accuracy was measured on {accuracy.sample_count:,} samples that the search never saw; its interval covers "
        "the choice of samples and no other distribution.",
        "Attacks show how much was recovered, never that nothing more can be.",
    ]
    if plan.measured is None:
        found.append("Latency is a prediction; a budget is held against its p95, where all parts are slow at once.")
    return tuple(found)


def _provenance(plan: Plan, audits: Sequence[Audit]) -> tuple[Item, ...]:
    made = plan.provenance
    values = {
        "Model": f"{plan.model.name}, {plan.model.parameter_count:,} parameters",
        "Structure": plan.model.structure_hash,
        "Weights": plan.model.weights_hash,
        "Target": plan.target.spec,
        "Cut": f"{plan.cut_name} ({plan.cut_id})",
        "Defense": plan.defense.unfitted.text,
        "Search": f"{plan.study}, {plan.trials:,} candidates, seed {made.seed}",
        "Audits read": f"{len(audits)}",
        "Device": f"{plan.edge_device.name} ({plan.edge_device.device}, {plan.edge_device.threads} threads)",
        "Cloud": f"{plan.cloud_device.name} ({plan.cloud_device.device}, {plan.cloud_device.threads} threads)",
        "Made": made.created_utc,
        "Versions": f"collabplan {made.collabplan_version}, Python {made.python_version}, torch {made.torch_version}",
        "Machine": f"{made.processor}, {made.cores} cores, {made.platform}",
        "Git": "" if made.git_revision is None else made.git_revision + (" with changes" if made.git_dirty else ""),
        "Command": " ".join(made.command),
    }
    return tuple(Item(name=name, value=value) for name, value in values.items() if value)
