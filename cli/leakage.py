"""`collabplan leakage`: what each cut tells about the input, under each defense; tests its own estimators."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..targets.input_options import InputOptions
from .defense_options import KEPT_HELP, parse_bits, parse_kept, parse_noise, parse_rates, parts
from .options import RUNS_CODE, BatchDim, Debug, Inputs, Json, MaxCrossing, OutputFile, examples

if TYPE_CHECKING:
    from ..graph import Cut, TracedGraph
    from ..records import ControlRow, LeakageReport, LeakageRow
    from ..targets.target import Target
    from .leakage_run import Finished, LeakageRun, LeakageSettings
    from .output import Output
    from .workspace import Workspace

EXAMPLES = examples(
    ("every cut of the model profiled last, four dropout rates", "collabplan leakage"),
    (
        "two cuts under real noise, kept in a file",
        "collabplan leakage model.py --cuts layer1,layer2 \\\n    --noise gaussian:0.05 -o leakage.json",
    ),
    (
        "another estimator of information beside the usual ones",
        "collabplan leakage model.py --estimators kde,sandwich,logdet,ridge,mine",
    ),
    ("do the estimators find what is known? (no model needed)", "collabplan leakage --controls"),
)
_WHAT, _HOW = "What to measure", "How to measure"
RIDGE = "ridge"
FEWEST_CONTROLS = 200


def leakage(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help=f"path.py, path.py:NAME or package.module:NAME; default: what was profiled last here. {RUNS_CODE}",
            show_default=False,
        ),
    ] = None,
    cuts: Annotated[
        str, typer.Option(metavar="all|NAME,...", help="Names as in the table.", rich_help_panel=_WHAT)
    ] = "all",
    dropout: Annotated[
        str, typer.Option(metavar="RATE,...", help="Dropout rates, 0 to below 1.", rich_help_panel=_WHAT)
    ] = "0,0.3,0.6,0.9",
    dropout_kind: Annotated[
        Literal["element", "channel"], typer.Option(help="What falls together.", rich_help_panel=_WHAT)
    ] = "element",
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
    estimators: Annotated[
        str,
        typer.Option(
            metavar="NAME,...", help="Of information; ridge is the leakage index. mine is slow.", rich_help_panel=_HOW
        ),
    ] = "kde,sandwich,logdet,ridge",
    samples: Annotated[
        int, typer.Option(metavar="N", help="Most samples, the same at all cuts.", rich_help_panel=_HOW)
    ] = 2000,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The same seed gives the same figures.", rich_help_panel=_HOW)
    ] = 0,
    cache_gb: Annotated[float, typer.Option(metavar="GB", help="Memory for activations.", rich_help_panel=_HOW)] = 1.0,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Run the estimators where the answer is known; exit 1 if one fails.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = False,
    inputs: Inputs = None,
    batch_dim: BatchDim = None,
    max_crossing: MaxCrossing = 1,
    file: OutputFile = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Estimate what each cut tells about the private input, by depth and dropout rate.

    Each cut is kept when it is finished: run the same command again after an interruption and it goes on.
    The index is estimated, a lower bound on what attackers recover. Loading TARGET runs its Python code.
    """
    from .output import Output
    from .workspace import Workspace

    output = Output(as_json=as_json)
    asked = checked_options(dropout, dropout_kind, noise, bits, keep, estimators, samples, seed, cache_gb)
    tested = run_checks(asked, samples, output) if controls else ()
    if controls and target is None:
        finish_controls(tested, file, output)
        return
    workspace = Workspace.here()
    loaded, traced = prepare(target, InputOptions.given(inputs, batch_dim), workspace, output)
    session, notes = open_session(loaded, traced, cuts, max_crossing, samples, asked, workspace, output)
    found = measure(session, output)
    made = make_report(loaded, session, found, max_crossing, tested, notes)
    show_report(made, output)
    if file is not None:
        from ..records import save

        save(made, file)
        output.wrote("leakage report", file)
    output.document(made)
    require_passed(tested)


def checked_options(
    dropout: str, kind: Literal["element", "channel"], noise: str | None, bits: str, keep: str, estimators: str,
    samples: int, seed: int, cache_gb: float,
) -> LeakageSettings:  # fmt: skip
    """The options as one record.

    Raises:
        CollabplanError: one that is not possible; it names the option and what would be.
    """
    from ..records import CollabplanError

    names = _estimator_names(estimators)
    rates = parse_rates(dropout)
    noise_kind, noise_std = parse_noise(noise)
    levels = parse_bits(bits)
    if not 0 < cache_gb < float("inf"):
        raise CollabplanError(f"--cache-gb {cache_gb:g} is not possible: it must be greater than 0")
    from ..estimators.ridge import MIN_SAMPLES
    from .leakage_run import LeakageSettings

    if samples < MIN_SAMPLES:
        raise CollabplanError(f"--samples {samples} is too few: leakage needs at least {MIN_SAMPLES}")
    return LeakageSettings(
        rates=rates,
        dropout=kind,
        noise=noise_kind,
        noise_std=noise_std,
        bits=levels,
        kept=parse_kept(keep),
        estimators=names,
        seed=seed,
        cache_bytes=int(cache_gb * 1e9),
    )


def _estimator_names(text: str) -> tuple[str, ...]:
    from ..estimators import ESTIMATORS
    from ..records import CollabplanError

    names = tuple(dict.fromkeys(parts(text)))
    known = [*ESTIMATORS, RIDGE]
    for name in names:
        if name not in known:
            raise CollabplanError(f"--estimators has the unknown {name!r}; there are {', '.join(known)}")
    if not names:
        raise CollabplanError(f"--estimators is empty; give some of {', '.join(known)}")
    return names


def prepare(text: str | None, inputs: InputOptions, workspace: Workspace, output: Output) -> tuple[Target, TracedGraph]:
    """Load and trace the target, or what was profiled last here.

    Raises:
        CollabplanError: nothing profiled and no TARGET, a file changed since, no data, or what tracing refuses.
    """
    from ..targets.target import load_target
    from .costs import last_profile
    from .profile import trace_target

    if text is None:
        profiles = last_profile(workspace)
        output.say(profiles.said)
        text = profiles.edge.target.spec
        inputs = inputs.or_else(InputOptions.kept_in(profiles.edge.target.options))
    with output.step(f"loading {text}"):
        target = load_target(text, inputs)
    output.found(f"Target {text}", target.findings)
    target.require_validation_data()
    return target, trace_target(target, output)


def open_session(
    target: Target, traced: TracedGraph, wanted: str, max_crossing: int, samples: int, asked: LeakageSettings,
    workspace: Workspace, output: Output,
) -> tuple[LeakageRun, list[str]]:  # fmt: skip
    """Read the data and say which cuts and samples are measured; also gives what the report should note.

    Raises:
        CollabplanError: an unknown cut, one that cannot be measured, or too few samples.
    """
    import torch

    from ..defenses.seeds import generator_for
    from ..graph import candidate_cuts
    from .leakage_run import LeakageRun, affordable_batch, affordable_samples

    every = candidate_cuts(traced, max_crossing)
    chosen = choose_cuts(every, wanted, max_crossing)
    with output.step("reading the data"):
        data = target.load_data(traced)
    output.found("Data", [finding for finding in data.findings if finding.what != "validation_data"])
    notes = []
    left_out = [cut.name for cut in every if not cut.searchable]
    if left_out:
        notes.append(f"not measured, since no row of theirs belongs to one sample: {', '.join(left_out)}")
    count = affordable_samples(chosen, samples, len(data.validation), asked.cache_bytes)
    if count.note is not None:
        notes.append(count.note)
    order = torch.randperm(len(data.validation), generator=generator_for(asked.seed, "leakage samples"))
    session = LeakageRun(
        traced=traced,
        cuts=tuple(chosen),
        data=data.validation.take(order[: count.count]),
        scaling=data.pixel_scaling(traced),
        asked=asked,
        batch=affordable_batch([*every, *chosen]),
        folder=workspace.prepare() / "leakage",
    )
    return session, notes


def choose_cuts(every: Sequence[Cut], wanted: str, max_crossing: int) -> list[Cut]:
    """The cuts of `--cuts` by depth, and the edge-only one, where it can be measured: it is the floor.

    A name may also be that of a cut which is no candidate, as a plan may have it: tensors joined by ` + `.

    Raises:
        CollabplanError: a name that no cut has, or a cut that cannot be measured.
    """
    from ..graph import cut_of
    from ..records import CollabplanError, CutError

    names = parts(wanted)
    if not names:
        raise CollabplanError("--cuts is empty; give all, or names as in the table of `collabplan profile`")
    if names == ["all"]:
        return [cut for cut in every if cut.searchable]
    known = {name for cut in every for name in (cut.name, cut.id)}
    for name in names:
        if name not in known:
            with contextlib.suppress(CutError):
                every = [*every, cut_of(every[0].units.traced, name.split(" + "), every)]
                continue
            near = difflib.get_close_matches(name, [cut.name for cut in every], n=3, cutoff=0.4)
            hint = f"near are {', '.join(near)}" if near else f"there are {', '.join(c.name for c in every[:8])}, ..."
            raise CollabplanError(
                f"--cuts has the unknown {name!r}; {hint} (with --max-crossing {max_crossing}: {len(every)} cuts)"
            )
    for cut in every:
        if not cut.searchable and (cut.name in names or cut.id in names):
            raise CollabplanError(f"cut {cut.name} cannot be measured: no row of what crosses belongs to one sample")
    chosen = [cut for cut in every if cut.name in names or cut.id in names]
    floor = [cut for cut in every if cut.kind == "edge-only" and cut.searchable and cut not in chosen]
    return sorted([*chosen, *floor], key=lambda cut: cut.depth)


def measure(session: LeakageRun, output: Output) -> dict[str, Finished]:
    """Every cut's rows, with a progress bar; earlier ones are said to be so."""
    if session.kept:
        output.say(f"{len(session.kept)} of {len(session.cuts)} cuts were measured before: their figures are kept")
    with output.bar("measuring") as advance:
        return session.measure(advance)


def make_report(
    target: Target, session: LeakageRun, found: dict[str, Finished], max_crossing: int,
    controls: tuple[ControlRow, ...], notes: Sequence[str],
) -> LeakageReport:  # fmt: skip
    """The report: rows by depth, the model's output alone as the floor."""
    from ..records import LeakageReport, collect_provenance, kept_in_words

    rows: list[LeakageRow] = []
    floor: LeakageRow | None = None
    for cut in sorted(session.cuts, key=lambda cut: cut.depth):
        if cut.kind == "edge-only":
            floor = found[cut.id].rows[0]
        else:
            rows += found[cut.id].rows
    said = [*notes, *(note for cut in session.cuts for note in found[cut.id].notes)]
    if session.asked.bits is not None or session.asked.noise != "none":
        said.append("ranges of quantizer and noise are those of the same samples")
    if any(row.leakage.index_of == "token recovery" for row in rows):
        said.append("dFIL is not computable for tokens, which have no derivative")
    if session.asked.kept != 1:
        said.append(f"{kept_in_words(session.asked.kept)} are released, fitted to the same samples; no dFIL of these")
    options = {**target.identity.options, "max_crossing": str(max_crossing)}
    return LeakageReport(
        target=target.identity.model_copy(update={"options": options}),
        model=session.traced.identity,
        data_hash=session.data.content_hash,
        sample_count=len(session.data),
        input_number_count=session.input_numbers,
        estimators=session.asked.estimators,
        rows=tuple(rows),
        output_floor=floor,
        controls=controls,
        notes=tuple(said),
        provenance=collect_provenance(target_file=target.file, seed=session.asked.seed),
    )


def show_report(made: LeakageReport, output: Output) -> None:
    """Print the table, how to read it, and the notes."""
    from .leakage_table import head, leakage_table, legend

    output.say("")
    for line in head(made):
        output.say(line)
    output.show(leakage_table(made, output.results.width))
    for line in legend(made):
        output.say(line)
    for note in made.notes:
        output.say(f"note: {note}")
    if made.controls:
        show_controls(made.controls, output)


def run_checks(asked: LeakageSettings, samples: int, output: Output) -> tuple[ControlRow, ...]:
    """The estimators that were asked for, on data whose answer is known: as many samples as asked, 200 at least."""
    from ..defenses.seeds import generator_for
    from ..estimators import estimator_named
    from ..estimators.controls import run_controls

    with output.step("controls"):
        return run_controls(
            [estimator_named(name) for name in asked.estimators if name != RIDGE],
            generator=generator_for(asked.seed, "controls"),
            samples=max(samples, FEWEST_CONTROLS),
            ridge=RIDGE in asked.estimators,
        )


def show_controls(tested: Sequence[ControlRow], output: Output) -> None:
    """Print the table of controls."""
    from .leakage_table import control_remarks, control_table

    output.show(control_table(tested, output.results.width))
    for line in control_remarks(tested):
        output.say(line)


def finish_controls(tested: tuple[ControlRow, ...], file: Path | None, output: Output) -> None:
    """Print the controls alone. Raises BudgetError where one failed."""
    import json

    from ..records import write_text

    document = {"controls": [row.model_dump(mode="json") for row in tested]}
    show_controls(tested, output)
    if file is not None:
        write_text(file, json.dumps(document, indent=1, allow_nan=False) + "\n")
        output.wrote("controls", file)
    output.document(document)
    require_passed(tested)


def require_passed(tested: Sequence[ControlRow]) -> None:
    """Refuse estimators that failed a control.

    Raises:
        BudgetError: some did; the exit code is 1.
    """
    from ..records import BudgetError

    failed = [f"{row.estimator} on {row.control}" for row in tested if row.passed is False]
    if failed:
        count = f"{len(failed)} control{'s' * (len(failed) > 1)}"
        raise BudgetError(f"{count} failed: {', '.join(failed)}; do not trust these estimators' figures")
