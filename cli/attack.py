"""`collabplan attack`: what attackers really recover at each cut, under each defense, or at a plan's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..targets.input_options import InputOptions
from .defense_options import KEPT_HELP, parse_bits, parse_kept, parse_noise, parse_rates, parts
from .options import RUNS_CODE, BatchDim, Debug, Inputs, Json, MaxCrossing, OutputFile, examples

if TYPE_CHECKING:
    from ..attacks import AuditOutcome
    from ..graph import Cut, TracedGraph
    from ..planner.accuracy import Evaluate
    from ..planner.readings import Reading
    from ..records import AuditReport, Plan
    from ..targets.target import Target, TargetData
    from .attack_run import AttackRun, AttackSettings
    from .output import Output

EXAMPLES = examples(
    (
        "a first look at every cut, without defense and under strong dropout",
        "collabplan attack model.py --dropout 0,0.9",
    ),
    ("audit the plan that you are about to ship", "collabplan attack plan.json --effort standard -o audit.json"),
    (
        "twelve numbers in each tensor's place, those that the cloud half uses most",
        "collabplan attack model.py --dropout 0 --keep 12",
    ),
    (
        "one cut, two attacks, with pictures",
        "collabplan attack model.py --cuts layer2 \\\n    --attacks ridge,inverse --pictures pictures",
    ),
    ("do the cheap estimates rank as these attacks do?", "collabplan agreement leakage.json audit.json"),
)
_WHAT, _HOW = "What to attack", "How to attack"
EVERY = "all"


def attack(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|PLAN",
            help=f"path.py, path.py:NAME, package.module:NAME, or a plan file (.json). {RUNS_CODE}",
            show_default=False,
        ),
    ],
    cuts: Annotated[
        str, typer.Option(metavar="all|NAME,...", help="Names as `profile` prints them.", rich_help_panel=_WHAT)
    ] = EVERY,
    dropout: Annotated[
        str, typer.Option(metavar="RATE,...", help="Dropout rates, 0 to below 1.", rich_help_panel=_WHAT)
    ] = "0,0.5,0.9",
    dropout_kind: Annotated[
        Literal["element", "channel"], typer.Option(help="What falls together.", rich_help_panel=_WHAT)
    ] = "element",
    masks: Annotated[
        Literal["fresh", "keyed"],
        typer.Option(help="A new mask for each release, or always the same for an input.", rich_help_panel=_WHAT),
    ] = "fresh",
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:STD",
            help="gaussian:0.05 or laplace:0.1, as a share of each tensor's range.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    bits: Annotated[
        str, typer.Option(metavar="N", help="Of the quantizer, 1 to 16, or none.", rich_help_panel=_WHAT)
    ] = "8",
    keep: Annotated[str, typer.Option(metavar="N", help=KEPT_HELP, rich_help_panel=_WHAT)] = "1",
    attacks: Annotated[
        str, typer.Option(metavar="all|NAME,...", help="prior and ridge always belong to them.", rich_help_panel=_HOW)
    ] = EVERY,
    effort: Annotated[
        Literal["quick", "standard", "thorough"],
        typer.Option(help="quick finds lower bounds; the others train until nothing is gained.", rich_help_panel=_HOW),
    ] = "quick",
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The same seed gives the same figures.", rich_help_panel=_HOW)
    ] = 0,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda.", rich_help_panel=_HOW)] = "cpu",
    max_leakage: Annotated[
        float | None,
        typer.Option(
            metavar="INDEX",
            min=0,
            max=1,
            help="Exit 1 unless every audit proves at most this index. Default: the plan's own budget, if it has one.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    inputs: Inputs = None,
    batch_dim: BatchDim = None,
    max_crossing: MaxCrossing = 1,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Originals beside reconstructions, as PNG.", rich_help_panel="Output"),
    ] = None,
    file: OutputFile = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Run attacks against each cut and defense, and report the worst case for each threat model.

    Attackers know the defense. White-box ones have the edge's weights, black-box ones may query the device, query-free
    ones have the cloud half alone; all own images of the same kind, and a stronger one can do all that a weaker one
    can. Finished attacks are kept: run the same command again after an interruption and it goes on.
    Loading TARGET runs its Python code.
    """
    from .output import Output
    from .planned import open_planned

    output = Output(as_json=as_json)
    asked = checked_options(dropout, dropout_kind, masks, noise, bits, keep, attacks, effort, seed, device)
    plan, tuned, directions = None, None, None
    if target.endswith(".json"):
        found = open_planned(Path(target), None, output, with_data=True)
        loaded, traced, plan, tuned, directions = found.target, found.traced, found.plan, found.tuned, found.directions
    else:
        loaded, traced = prepare_target(target, InputOptions.given(inputs, batch_dim), output)
    opened = open_session(loaded, traced, plan, cuts, max_crossing, asked, output)
    session = replace(opened, tuned=tuned, directions=directions)
    with output.bar("attacking") as advance:
        outcomes = session.run(advance, output.say)
    made = make_report(loaded, session, outcomes, pictures, output)
    show_report(made, output)
    if file is not None:
        from ..records import save

        save(made, file)
        output.wrote("audit report", file)
    output.document(made)
    limit = plan.budgets.max_leakage if max_leakage is None and plan is not None else max_leakage
    if limit is not None:
        require_within(made, session, limit)


def require_within(made: AuditReport, session: AttackRun, limit: float) -> None:
    """Refuse a leakage budget that the audits do not prove.

    Raises:
        BudgetError: naming each cut and why; the exit code is 1.
    """
    from ..attacks import budget_objection
    from ..records import BudgetError

    missed = [f"{cut.name}: the raw input crosses" for cut in session.cuts if cut.sends_raw_input]
    for audit in made.audits:
        objection = budget_objection(audit, limit)
        if objection is not None:
            missed.append(f"{audit.cut_name} at dropout {audit.defense.rate:g}: {objection}")
    if missed:
        raise BudgetError(f"the leakage budget is not shown to hold. {'; '.join(missed)}")


def checked_options(
    dropout: str, kind: Literal["element", "channel"], masks: Literal["fresh", "keyed"], noise: str | None, bits: str,
    keep: str, attacks: str, effort: Literal["quick", "standard", "thorough"], seed: int, device: str,
) -> AttackSettings:  # fmt: skip
    """The options as one record.

    Raises:
        CollabplanError: one that is not possible; it names the option and what would be.
    """
    from ..attacks import ALWAYS, ATTACKS, EFFORTS, attack_named
    from ..profilers.timers import resolve_device
    from ..records import CollabplanError
    from .attack_run import AttackSettings

    named = parts(attacks)
    if not named:
        raise CollabplanError(f"--attacks is empty; give {EVERY}, or some of {', '.join(ATTACKS)}")
    names = list(ATTACKS) if named == [EVERY] else list(dict.fromkeys([*ALWAYS, *named]))
    noise_kind, noise_std = parse_noise(noise)
    return AttackSettings(
        rates=parse_rates(dropout),
        dropout=kind,
        masks=masks,
        noise=noise_kind,
        noise_std=noise_std,
        bits=parse_bits(bits),
        kept=parse_kept(keep),
        attacks=tuple(attack_named(name) for name in names),
        effort=EFFORTS[effort],
        seed=seed,
        device=resolve_device(device),
    )


def prepare_target(text: str, inputs: InputOptions, output: Output) -> tuple[Target, TracedGraph]:
    """Load and trace a target. Raises CollabplanError where it has no data, or cannot be traced."""
    from ..targets.target import load_target
    from .profile import trace_target

    with output.step(f"loading {text}"):
        target = load_target(text, inputs)
    output.found(f"Target {text}", target.findings)
    target.require_validation_data()
    return target, trace_target(target, output)


def open_session(
    target: Target,
    traced: TracedGraph,
    plan: Plan | None,
    wanted: str,
    max_crossing: int,
    asked: AttackSettings,
    output: Output,
) -> AttackRun:  # fmt: skip
    """Read the data and say who owns what. Raises CollabplanError for an unknown cut, too little data or inputs
    that no attack is built for."""
    from ..attacks.audit_target import attacked_input
    from ..graph import candidate_cuts
    from ..profilers.placement import place
    from .attack_run import AttackRun, divide
    from .leakage import choose_cuts
    from .planned import planned_cut
    from .workspace import Workspace

    attacked_input(traced)
    with output.step("reading the data"):
        data = target.load_data(traced)
        metric, notes = _metric(target, traced, data)
    roles, findings = divide(data)
    output.found("Data", findings)
    placed = place(traced, asked.device, None, 2) if asked.device.type != "cpu" else traced
    crossing = int(plan.target.options.get("max_crossing", "4")) if plan is not None else max_crossing
    every = candidate_cuts(placed, crossing)
    if plan is not None:
        planned = planned_cut(plan, placed)
        every += [planned] if planned.id not in {cut.id for cut in every} else []
    cuts: list[Cut] = choose_cuts(every, plan.cut_id if plan is not None else wanted, crossing)
    return AttackRun(
        target=target,
        traced=placed,
        cuts=tuple(cuts),
        plan=plan,
        roles=roles,
        scaling=data.pixel_scaling(traced),
        asked=asked,
        folder=Workspace.here().prepare() / "audits",
        metric=metric,
        notes=notes,
    )


def _metric(target: Target, traced: TracedGraph, data: TargetData) -> tuple[Evaluate | Reading | None, list[str]]:
    """What accuracy is, None where there are no labels or none can be told; what there is to say about that."""
    from ..records import TargetError
    from .promises import metric_of

    if target.evaluate is None and data.validation.labels is None:
        return None, []
    try:
        return metric_of(target, traced, data), []
    except TargetError as error:
        return None, [f"accuracy is not reported: {error}"]


def make_report(
    target: Target, session: AttackRun, outcomes: Sequence[AuditOutcome], pictures: Path | None, output: Output
) -> AuditReport:
    """The report, with its pictures where they are wanted."""
    from ..records import AuditReport, collect_provenance
    from .attack_run import picture

    audits = [outcome.record for outcome in outcomes]
    floor = next((audit for audit in audits if audit.cut_kind == "edge-only"), None)
    rest = tuple(audit for audit in audits if audit.cut_kind != "edge-only")
    written: list[str] = []
    if pictures is not None:
        for outcome in outcomes:
            made = picture(outcome, pictures)
            if made is not None:
                output.wrote("pictures", made)
                written.append(str(made))
    return AuditReport(
        target=target.identity,
        model=session.traced.identity,
        data_hash=session.roles.targets.content_hash,
        audits=rest,
        output_floor=floor,
        pictures=tuple(written),
        notes=tuple(session.notes),
        provenance=collect_provenance(target_file=target.file, seed=session.asked.seed),
    )


def show_report(made: AuditReport, output: Output) -> None:
    """Print the table, how to read it, what failed, and the notes."""
    from .attack_table import attack_table, failures, legend

    output.say("")
    output.show(attack_table(made, output.results.width))
    for line in [*legend(made), *failures(made)]:
        output.say(line)
    for note in made.notes:
        output.say(f"note: {note}")
