"""How much each cut leaks about the private input, under each defense; tests its own estimators."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..defenses import defenses_of
from ..defenses.seeds import generator_for
from ..estimators import ESTIMATORS, estimator_named
from ..estimators.controls import run_controls
from ..estimators.ridge import MIN_SAMPLES
from ..graph import candidate_cuts
from ..profilers.placement import on_device
from ..profilers.timers import resolve_device
from ..records import (
    BudgetError,
    CollabplanError,
    ControlRow,
    LeakageReport,
    LeakageRow,
    Plan,
    collect_provenance,
    write_text,
)
from ..records.memory import memory_bytes
from ..report.wording import output_text
from ..targets.input_options import InputOptions
from ..targets.target import Target
from .cut_choice import choose_cuts, crossing_limit
from .defense_options import early_defenses, parts
from .leakage_run import RIDGE, Finished, LeakageRun, LeakageSettings, affordable_batch, affordable_samples
from .options import LeakageOptions
from .planned import open_plan, plans_cuts
from .profiles import last_profile
from .reporter import Reporter
from .session import Session, open_session
from .workspace import Workspace

FEWEST_CONTROLS = 200


@dataclass(frozen=True, eq=False)
class _Opened:
    """A run with what the report should note about it."""

    run: LeakageRun
    crossing: int
    notes: list[str]


def measure_leakage(
    spec: str | Target | Session | None,
    inputs: InputOptions,
    options: LeakageOptions,
    workspace: Workspace,
    reporter: Reporter,
    controls: Sequence[ControlRow] = (),
) -> LeakageReport:
    """Estimate how much each cut leaks about the private input. Every finished cut is kept in the workspace.

    Args:
        spec: the target, a session of it, or a plan file (`.json`), whose target is measured; None: what was profiled
            last in the workspace.
        inputs: what the command line says of its inputs.
        options: cuts, defenses and estimators.
        workspace: holds finished cuts.
        reporter: hears what is found and how far the measurement is.
        controls: results of `check_estimators` for the report.

    Raises:
        CollabplanError: an option that is not possible, an unknown cut, or too little data.
    """
    settings = leakage_settings(options)
    plan: Plan | None = None
    if isinstance(spec, str) and spec.endswith(".json"):
        planned = open_plan(Path(spec), None, reporter, needs_data=True, given=inputs)
        session, plan = Session(planned.target, planned.traced), planned.plan
    else:
        session = spec if isinstance(spec, Session) else _session(spec, inputs, workspace, reporter)
    settings = replace(settings, defenses=defenses_of(options.defense))
    opened = _open_run(session, plan, options, settings, workspace, reporter)
    # Only now the data that are not measured are gone.
    run = replace(opened.run, memory=workspace.memory(settings.memory_bytes))
    if run.kept:
        reporter.note(f"{len(run.kept)} of {len(run.cuts)} cuts were measured before: their figures are kept")
    with reporter.progress("measuring", counted=True) as advance:
        found = run.measure(advance)
    return _report(session.target, run, found, opened.crossing, tuple(controls), opened.notes)


def leakage_settings(options: LeakageOptions) -> LeakageSettings:
    """The options as one record.

    Raises:
        CollabplanError: one that is not possible; it names the option and what would be.
    """
    names = _estimator_names(options.estimators)
    if options.samples < MIN_SAMPLES:
        raise CollabplanError(f"--samples {options.samples} is too few: leakage needs at least {MIN_SAMPLES}")
    return LeakageSettings(
        defenses=early_defenses(options.defense) or (),
        estimators=names,
        seed=options.seed,
        memory_bytes=memory_bytes(options.memory),
        device=resolve_device(options.device),
    )


def check_estimators(options: LeakageOptions, reporter: Reporter) -> tuple[ControlRow, ...]:
    """Run the estimators on data whose answer is known: `samples` of them, 200 at least. No model is needed."""
    settings = leakage_settings(options)
    with reporter.progress("controls"):
        return run_controls(
            [estimator_named(name) for name in settings.estimators if name != RIDGE],
            generator=generator_for(settings.seed, "controls"),
            samples=max(options.samples, FEWEST_CONTROLS),
            ridge=RIDGE in settings.estimators,
        )


def require_passed(controls: Sequence[ControlRow]) -> None:
    """Refuse estimators that failed a control.

    Raises:
        BudgetError: some did; the exit code is 1.
    """
    failed = [f"{row.estimator} on {row.control}" for row in controls if row.passed is False]
    if failed:
        count = f"{len(failed)} control{'s' * (len(failed) > 1)}"
        raise BudgetError(f"{count} failed: {', '.join(failed)}; do not trust these estimators' figures")


def write_controls(controls: Sequence[ControlRow], file: Path) -> None:
    """Write only the controls."""
    document = {"controls": [row.model_dump(mode="json") for row in controls]}
    write_text(file, json.dumps(document, indent=1, allow_nan=False) + "\n")


def _estimator_names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(parts(text)))
    known = [*ESTIMATORS, RIDGE]
    for name in names:
        if name not in known:
            raise CollabplanError(f"--estimators has the unknown {name!r}; there are {', '.join(known)}")
    if not names:
        raise CollabplanError(f"--estimators is empty; give some of {', '.join(known)}")
    return names


def _session(spec: str | Target | None, inputs: InputOptions, workspace: Workspace, reporter: Reporter) -> Session:
    """The target, or what was profiled last."""
    if spec is None:
        profiles = last_profile(workspace)
        reporter.note(profiles.said)
        spec = profiles.edge.target.spec
        inputs = inputs.or_else(InputOptions.kept_in(profiles.edge.target.options))
    return open_session(spec, inputs, reporter, needs_data=True)


def _open_run(
    session: Session,
    plan: Plan | None,
    options: LeakageOptions,
    settings: LeakageSettings,
    workspace: Workspace,
    reporter: Reporter,
) -> _Opened:
    """Read the data and decide which cuts and samples are measured."""
    target, traced = session.target, on_device(session.traced, settings.device)
    if plan is None or options.max_crossing is not None:
        crossing = crossing_limit(traced, options.max_crossing, reporter)
        every = candidate_cuts(traced, crossing)
    else:
        crossing, every = plan.target.max_crossing, plans_cuts(plan, traced)
    chosen = choose_cuts(every, options.cuts, crossing)
    with reporter.progress("reading the data"):
        data = target.load_data(traced)
    reporter.note("Data", data.findings)
    notes = []
    left_out = [cut.name for cut in every if not cut.searchable]
    if left_out:
        notes.append(f"not measured, since no row of theirs belongs to one sample: {', '.join(left_out)}")
    count = affordable_samples(chosen, options.samples, len(data.validation))
    if count.note is not None:
        notes.append(count.note)
    order = torch.randperm(len(data.validation), generator=generator_for(settings.seed, "leakage samples"))
    run = LeakageRun(
        traced=traced,
        cuts=tuple(chosen),
        data=data.validation.take(order[: count.count]),
        scaling=data.pixel_scaling(traced),
        settings=settings,
        batch=affordable_batch([*every, *chosen]),
        folder=workspace.prepare() / "leakage",
        returns=target.returns,
    )
    return _Opened(run, crossing, notes)


def _report(
    target: Target, run: LeakageRun, found: dict[str, Finished], max_crossing: int,
    controls: tuple[ControlRow, ...], notes: Sequence[str],
) -> LeakageReport:  # fmt: skip
    """The report: rows by depth, and the model's output as the floor."""
    rows: list[LeakageRow] = []
    floor: LeakageRow | None = None
    for cut in sorted(run.cuts, key=lambda cut: cut.depth):
        if cut.kind == "edge-only":
            floor = found[cut.id].rows[0]
        else:
            rows += found[cut.id].rows
    said = list(dict.fromkeys([*notes, *(note for cut in run.cuts for note in found[cut.id].notes)]))
    if floor is not None:
        said.append(f"output alone: {output_text(run.floor[0], declared=run.returns is not None)}")
    defenses = run.settings.defenses
    if any(defense.quantizer is not None or defense.noise is not None for defense in defenses):
        said.append("ranges of quantizer and noise are those of the same samples")
    if any(row.leakage.index_of == "token recovery" for row in rows):
        said.append("dFIL is not computable for tokens, which have no derivative")
    for projection in dict.fromkeys(defense.projection for defense in defenses):
        if projection is not None:
            said.append(f"{projection.text}: fitted to the same samples; dFIL is not defined behind a projection")
    options = {**target.identity.options, "max_crossing": str(max_crossing)}
    return LeakageReport(
        target=target.identity.model_copy(update={"options": options}),
        model=run.traced.identity,
        data_hash=run.data.content_hash,
        sample_count=len(run.data),
        input_number_count=run.input_numbers,
        estimators=run.settings.estimators,
        rows=tuple(rows),
        output_floor=floor,
        controls=controls,
        notes=tuple(said),
        provenance=collect_provenance(target_file=target.file, seed=run.settings.seed),
    )
