"""What attackers really recover at each cut, under each defense, or at a plan's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..attacks import ALWAYS, ATTACKS, EFFORTS, AuditOutcome, attack_named, budget_objection
from ..attacks.audit_target import attacked_input
from ..attacks.excess import over_floor
from ..attacks.pictures import save_grid
from ..defenses import defenses_of
from ..estimators.secrets import NOTHING
from ..graph import TracedGraph, candidate_cuts
from ..planner.accuracy import Evaluate
from ..planner.artifacts import open_artifacts
from ..planner.audits import raced_for
from ..planner.readings import Reading
from ..profilers.placement import on_device
from ..profilers.timers import resolve_device
from ..records import (
    ALONE,
    AuditReport,
    BudgetError,
    Budgets,
    CollabplanError,
    TargetError,
    collect_provenance,
    hash_json,
)
from ..records.memory import memory_bytes
from ..records.privacy import PRIVACY_BUDGETS
from ..targets.input_options import InputOptions
from ..targets.target import Target, TargetData
from .attack_data import divide
from .attack_run import AttackRun, AttackSettings
from .cut_choice import choose_cuts, crossing_limit
from .defense_options import at_defense, early_defenses, parts
from .options import AttackOptions
from .planned import LoadedPlan, open_plan, plans_cuts
from .promises import metric_of
from .reporter import Reporter
from .search_options import checked_budgets, require_region
from .session import Session, open_session
from .workspace import Workspace

EVERY = "all"
UNDECLARED = (
    "the target does not declare what its service returns (`returns`): no more than the label counts as given away, so "
    "the excess is the greatest that it can be"
)
UNKNOWN = (
    "the target does not declare what its service returns, and the model's output is no row of class scores: no excess "
    "is reported; declare returns = 'logits' if the service gives all of the output away"
)


@dataclass(frozen=True, slots=True)
class Attacked:
    """An audit report with what the leakage budget says of it.

    Attributes:
        report: every audit.
        missed: why privacy budgets are not shown to hold, cut by cut; empty if they hold or there are none.
    """

    report: AuditReport
    missed: tuple[str, ...]

    def require_within(self) -> None:
        """Refuse privacy budgets that the audits do not prove.

        Raises:
            BudgetError: names each cut and why; the exit code is 1.
        """
        if self.missed:
            raise BudgetError(f"a privacy budget is not shown to hold. {'; '.join(self.missed)}")


def attack(
    spec: str | Target | Session | LoadedPlan,
    inputs: InputOptions,
    options: AttackOptions,
    workspace: Workspace,
    reporter: Reporter,
) -> Attacked:
    """Attack each cut under each defense, or a plan. Finished attacks are kept in the workspace.

    Args:
        spec: the target, a session of it, a plan file (`.json`) or a plan with its model.
        inputs: what the command line says of the target's inputs.
        options: cuts, defenses, attacks and effort.
        workspace: holds finished attacks.
        reporter: hears what is found and how far the attacks are.

    Raises:
        CollabplanError: an option that is not possible, an unknown cut, too little data, or inputs that no attack is
            built for.
    """
    settings = attack_settings(options)
    if isinstance(spec, str) and spec.endswith(".json"):
        spec = open_plan(Path(spec), None, reporter, needs_data=True, given=inputs)
    planned = spec if isinstance(spec, LoadedPlan) else None
    if isinstance(spec, LoadedPlan):
        session = Session(spec.target, spec.traced)
    elif isinstance(spec, Session):
        session = spec
    else:
        session = open_session(spec, inputs, reporter, needs_data=True)
    settings = replace(settings, defenses=defenses_of(options.defense))
    given = {each.name: limit for each in PRIVACY_BUDGETS if (limit := getattr(options, each.name)) is not None}
    asked = Budgets() if planned is None else planned.plan.budgets
    budgets = checked_budgets(**asked.model_dump() | given)
    settings = replace(settings, raced_for=raced_for(budgets))
    run = open_run(session, planned, options, settings, workspace, reporter)
    require_region(budgets, run.roles.region)
    with reporter.progress("attacking", counted=True) as advance:
        outcomes = run.run(advance, reporter.note)
    report = _report(session.target, run, outcomes, options.pictures)
    return Attacked(report, _missed(report, run, budgets))


def attack_settings(options: AttackOptions) -> AttackSettings:
    """The options as one record.

    Raises:
        CollabplanError: one that is not possible; it names the option and what would be.
    """
    named = parts(options.attacks)
    if not named:
        raise CollabplanError(f"--attacks is empty; give {EVERY}, or some of {', '.join(ATTACKS)}")
    names = list(ATTACKS) if named == [EVERY] else list(dict.fromkeys([*ALWAYS, *named]))
    return AttackSettings(
        defenses=early_defenses(options.defense) or (),
        attacks=tuple(attack_named(name) for name in names),
        effort=EFFORTS[options.effort],
        seeds=tuple(range(options.seed, options.seed + options.seeds)),
        device=resolve_device(options.device),
        racing=options.race,
        memory_bytes=memory_bytes(options.memory),
    )


def picture(outcome: AuditOutcome, folder: Path) -> Path | None:
    """Write originals beside every attack's reconstructions as one PNG; None where inputs are no images."""
    made = outcome.record
    if outcome.originals.ndim != 4 or not outcome.pictures:
        return None
    text = made.defense.unfitted.text
    mark = "" if text in ("none", "quantizer:none") else f"-{hash_json(text)[:8]}"
    path = folder / f"{made.depth:03d}-{made.cut_name.replace('/', '_').replace(' ', '')[:60]}{mark}.png"
    save_grid(outcome.originals, outcome.pictures, path)
    return path


def open_run(
    session: Session,
    planned: LoadedPlan | None,
    options: AttackOptions,
    settings: AttackSettings,
    workspace: Workspace,
    reporter: Reporter,
) -> AttackRun:
    """Read the data, divide it among target and attacker, and choose the cuts.

    Args:
        session: of the target that is attacked.
        planned: the plan that is attacked; None: cuts and defenses of the options.
        options, settings: which cuts, and how they are attacked.
        workspace: holds finished attacks.
        reporter: hears what is found.

    Raises:
        CollabplanError: an unknown cut, too little data, or inputs that no attack is built for.
    """
    target, traced = session.target, session.traced
    position = attacked_input(traced)
    with reporter.progress("reading the data"):
        data = target.load_data(traced)
        metric, notes = _metric(target, traced, data)
    roles, findings = divide(data)
    reporter.note("Data", findings)
    shown = roles.targets.inputs[position]
    if not bool((shown != shown[:1]).any()):
        raise CollabplanError(NOTHING)
    placed = on_device(traced, settings.device)
    if planned is None:
        wanted, crossing = options.cuts, crossing_limit(placed, options.max_crossing, reporter)
        every = candidate_cuts(placed, crossing)
    else:
        wanted, crossing = planned.plan.cut_id, planned.plan.target.max_crossing
        every = plans_cuts(planned.plan, placed)
    run = AttackRun(
        target=target,
        traced=placed,
        cuts=tuple(choose_cuts(every, wanted, crossing)),
        plan=None if planned is None else planned.plan,
        roles=roles,
        scaling=data.pixel_scaling(traced),
        settings=settings,
        folder=workspace.prepare() / "audits",
        metric=metric,
        notes=notes,
        exchange=ALONE if options.artifacts is None else open_artifacts(options.artifacts),
        memory=lambda: workspace.memory(settings.memory_bytes),
    )
    return run if planned is None else replace(run, tuned=planned.tuned, projection=planned.projection)


def _metric(target: Target, traced: TracedGraph, data: TargetData) -> tuple[Evaluate | Reading | None, list[str]]:
    """How accuracy is measured, and notes; None without labels, or if the outputs fit no metric."""
    if target.evaluate is None and data.validation.labels is None:
        return None, []
    try:
        return metric_of(target, traced, data), []
    except TargetError as error:
        return None, [f"accuracy is not reported: {error}"]


def _report(target: Target, run: AttackRun, outcomes: Sequence[AuditOutcome], pictures: Path | None) -> AuditReport:
    """The report; pictures are written where a folder is given."""
    audits = [outcome.record for outcome in outcomes]
    floor = next((audit for audit in audits if audit.cut_kind == "edge-only"), None)
    form, returns = run.floor[0], target.returns
    # All that an undeclared output could tell is no floor: it would make the excess smaller than it may be.
    known = floor if returns is not None or form == "label" else None
    undeclared = [] if floor is None or returns is not None else [UNDECLARED if known else UNKNOWN]
    written = [] if pictures is None else [picture(outcome, pictures) for outcome in outcomes]
    return AuditReport(
        target=target.identity,
        model=run.traced.identity,
        data_hash=run.roles.targets.content_hash,
        audits=tuple(over_floor(audit, known) for audit in audits if audit.cut_kind != "edge-only"),
        output_floor=floor,
        floor_of=form,
        returns=returns,
        pictures=tuple(str(path) for path in written if path is not None),
        notes=(*run.notes, *undeclared),
        provenance=collect_provenance(target_file=target.file, seed=run.settings.seeds[0]),
    )


def _missed(report: AuditReport, run: AttackRun, budgets: Budgets) -> tuple[str, ...]:
    """Why the audits do not prove the privacy budgets, cut by cut; empty where there are none."""
    asked = [(each, limit) for each in PRIVACY_BUDGETS if (limit := each.limit(budgets)) is not None]
    if not asked:
        return ()
    missed = [f"{cut.name}: the raw input crosses" for cut in run.cuts if cut.sends_raw_input]
    for audit in report.audits:
        objections = [budget_objection(audit, limit, budget) for budget, limit in asked]
        missed += [f"{at_defense(audit.cut_name, audit.defense)}: {each}" for each in objections if each is not None]
    return tuple(missed)
