"""`collabplan optimize`: searches cut and defense, shows the front, chooses and writes the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..targets.input_options import InputOptions
from .options import (
    RUNS_CODE,
    Artifacts,
    AuditEffort,
    AuditIt,
    AuditSeeds,
    BatchDim,
    Debug,
    Inputs,
    Json,
    MaxLeakage,
    MaxPayload,
    Storage,
    examples,
)

if TYPE_CHECKING:
    from ..planner import SearchResult
    from ..records import Plan
    from .output import Output

EXAMPLES = examples(
    ("the model profiled last, 50 ms at p95, the assumed link", "collabplan optimize --budget-ms 50"),
    (
        "your own link, at most 2 points of accuracy, attackers kept under an index of 0.3",
        "collabplan optimize model.py --budget-ms 50 --bandwidth 8mbps --rtt 40ms \\\n"
        "    --max-accuracy-drop 0.02 --max-leakage 0.3",
    ),
    (
        "a first look within minutes: estimates, no attacks",
        "collabplan optimize --budget-ms 50 --no-audit",
    ),
    (
        "4 or 12 numbers in the place of what crosses, learnt together with the cloud half",
        "collabplan optimize --budget-ms 50 --keep 1,4,12 --bits 8,4 --dropout-kinds none --finetune 4",
    ),
    (
        "two machines, profiled apart",
        "collabplan optimize model.py --budget-ms 80 --edge-profile edge.json \\\n    --cloud-profile cloud.json",
    ),
    ("the link as it was measured to a running server", "collabplan optimize --budget-ms 80 --link link.json"),
    (
        "the same model on another device: accuracy and leakage are not measured again",
        "collabplan optimize --budget-ms 50 --profile new.json --reuse search-1",
    ),
    (
        "a front that also weighs the device's energy",
        "collabplan optimize --budget-ms 50 --objectives accuracy,latency,leakage,energy --edge-watts 2.5",
    ),
    (
        "go on where a search was stopped, up to 100 trials in all",
        "collabplan optimize --budget-ms 50 --trials 100 --resume",
    ),
)
_BUDGETS, _COSTS, _SEARCH, _TUNING, _AUDIT, _OUTPUT = (
    "Budgets", "Network and devices", "Search", "Fine-tuning", "Audits", "Output",
)  # fmt: skip


def optimize(
    budget_ms: Annotated[
        float,
        typer.Option(
            metavar="MS", help="Longest predicted latency of a request, p95, in ms.", rich_help_panel=_BUDGETS
        ),
    ],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help=f"path.py, path.py:NAME or package.module:NAME; default: what was profiled last here. {RUNS_CODE}",
            show_default=False,
        ),
    ] = None,
    max_accuracy_drop: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Most accuracy to lose, 0 to 1 (0.05 = 5 points).", rich_help_panel=_BUDGETS
        ),
    ] = 0.05,
    max_leakage: MaxLeakage = None,
    max_reconstruction: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Most inputs that attackers reconstruct.",
            rich_help_panel=_BUDGETS,
            show_default=False,
        ),
    ] = None,
    max_linkage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Most releases that are matched to their input.",
            rich_help_panel=_BUDGETS,
            show_default=False,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Least accuracy, 0 to 1.", rich_help_panel=_BUDGETS, show_default=False),
    ] = None,
    max_payload: MaxPayload = None,
    edge_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Peak memory on the edge: 200MB.", rich_help_panel=_BUDGETS, show_default=False
        ),
    ] = None,
    max_edge_params: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Most parameters on the edge, frozen ones too.",
            rich_help_panel=_BUDGETS,
            show_default=False,
        ),
    ] = None,
    max_energy_mj: Annotated[
        float | None,
        typer.Option(
            metavar="MJ",
            help="Most millijoules of the edge for a request.",
            rich_help_panel=_BUDGETS,
            show_default=False,
        ),
    ] = None,
    result_at: Annotated[
        Literal["edge", "cloud"], typer.Option(help="Where the result is needed.", rich_help_panel=_BUDGETS)
    ] = "edge",
    bandwidth: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="Each way: 20mbps.  \\[assumed: 20mbps]", rich_help_panel=_COSTS, show_default=False
        ),
    ] = None,
    rtt: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Round trip: 15ms.  \\[assumed: 15ms]", rich_help_panel=_COSTS, show_default=False
        ),
    ] = None,
    bandwidth_spread: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Its relative half-width, 90 % interval.", rich_help_panel=_COSTS),
    ] = 0.0,
    rtt_spread: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Its relative half-width, 90 % interval.", rich_help_panel=_COSTS),
    ] = 0.0,
    link: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The link as `collabplan link` measured it.",
            rich_help_panel=_COSTS,
            show_default=False,
        ),
    ] = None,
    edge_slowdown: Annotated[
        float,
        typer.Option(metavar="X", help="Declare the edge so many times slower than profiled.", rich_help_panel=_COSTS),
    ] = 1.0,
    edge_watts: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            help="Declare what the edge draws while computing.  \\[measured with its profile]",
            rich_help_panel=_COSTS,
            show_default=False,
        ),
    ] = None,
    joules_per_mb: Annotated[
        float | None,
        typer.Option(
            metavar="J", help="Declare what its radio takes for 10^6 bytes.", rich_help_panel=_COSTS, show_default=False
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Profile of both machines.", rich_help_panel=_COSTS, show_default=False),
    ] = None,
    edge_profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Profile of the edge device.", rich_help_panel=_COSTS, show_default=False),
    ] = None,
    cloud_profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Profile of the cloud machine.", rich_help_panel=_COSTS, show_default=False),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Total of trials, earlier ones included; default: every candidate up to 200, else 200.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    sampler: Annotated[
        Literal["tpe", "gp", "nsga2", "nsga3", "random", "exhaustive"],
        typer.Option(help="What proposes candidates, where there are more than trials.", rich_help_panel=_SEARCH),
    ] = "tpe",
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The same seed gives the same front.", rich_help_panel=_SEARCH)
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study here.", rich_help_panel=_SEARCH, show_default=False)
    ] = False,
    reuse: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY",
            help="Go on with this one, search-1 say: for another link or device nothing is measured again.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    objectives: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What the front is made of, two or more: accuracy, latency, leakage, energy, payload.",
            rich_help_panel=_SEARCH,
        ),
    ] = "accuracy,latency,leakage",
    bits: Annotated[
        str,
        typer.Option(
            metavar="N,...",
            help="Quantizers to choose from, 1 to 16 or none; the first is the baselines'.",
            rich_help_panel=_SEARCH,
        ),
    ] = "8",
    noise: Annotated[
        str,
        typer.Option(
            metavar="none|KIND:STD,...",
            help="Noises to choose from: none,gaussian:0.05, a share of each tensor's range.",
            rich_help_panel=_SEARCH,
        ),
    ] = "none",
    keep: Annotated[
        str,
        typer.Option(
            metavar="KEPT,...",
            help="What may be kept of the directions that the cloud half uses most, 1,0.25,12: shares of those at each "
            "position, or from 2 on so many of the whole tensor. The rest is not sent.",
            rich_help_panel=_SEARCH,
        ),
    ] = "1",
    dropout_kinds: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="Kinds of dropout to choose from: element,channel, or none for the other defenses alone.",
            rich_help_panel=_SEARCH,
        ),
    ] = "element,channel",
    masks: Annotated[
        Literal["fresh", "keyed"],
        typer.Option(help="A new mask for each release, or always the same for an input.", rich_help_panel=_SEARCH),
    ] = "fresh",
    draws: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Dropout masks that accuracy is averaged over.", rich_help_panel=_SEARCH),
    ] = 5,
    cache_gb: Annotated[
        float, typer.Option(metavar="GB", min=0, help="Memory for edge activations.", rich_help_panel=_SEARCH)
    ] = 4.0,
    audit: AuditIt = True,
    audits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Most candidates attacked while searching, and 10 more that would win; default: a fifth, at least 13.",
            rich_help_panel=_AUDIT,
            show_default=False,
        ),
    ] = None,
    audit_effort: AuditEffort = "thorough",
    audit_seeds: AuditSeeds = 3,
    finetune: Annotated[
        int,
        typer.Option(
            metavar="EPOCHS",
            min=0,
            help="Tune the cloud half on train_data under each defense that costs accuracy; the device is untouched.",
            rich_help_panel=_TUNING,
        ),
    ] = 0,
    finetune_loss: Annotated[
        Literal["distillation", "cross-entropy"],
        typer.Option(help="From the undefended model, or from labels.", rich_help_panel=_TUNING),
    ] = "distillation",
    finetune_samples: Annotated[
        int, typer.Option(metavar="N", min=2, help="Of train_data, at most so many.", rich_help_panel=_TUNING)
    ] = 12_000,
    finetune_penalty: Annotated[
        float,
        typer.Option(
            metavar="WEIGHT",
            min=0,
            help="Train directions of the whole (--keep 64) against a linear reconstruction of the input too; the "
            "weight of the share that it recovers, 0.1 say.",
            rich_help_panel=_TUNING,
        ),
    ] = 0.0,
    storage: Storage = None,
    artifacts: Artifacts = None,
    inputs: Inputs = None,
    batch_dim: BatchDim = None,
    file: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write the plan.", rich_help_panel=_OUTPUT)
    ] = Path("plan.json"),
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Search where to cut and how to defend, within budgets; write the plan.

    Every budget is held at the bad end of its interval, and again on data that the search has not seen. Leakage is
    estimated at every candidate, attacked at some and predicted from these at the others; the plan that wins must stand
    all attacks, which takes hours at the default effort (see --audit-effort). Finished attacks are kept. Exit 1 when no
    plan meets the budgets. Loading TARGET runs its Python code.
    """
    from ..planner import SearchOptions
    from .costs import chosen_link, declared_power, edge_power
    from .defense_options import parse_kinds
    from .output import Output
    from .problem import prepare, state
    from .search_options import (
        audit_options,
        checked_budgets,
        parsed_objectives,
        parsed_size,
        require_alone,
        require_audits,
        require_power,
        require_slowdown,
        tuning_options,
        wires,
    )
    from .workspace import Workspace

    output = Output(as_json=as_json)
    budgets = checked_budgets(
        latency_p95_ms=budget_ms,
        max_accuracy_drop=max_accuracy_drop,
        min_accuracy=min_accuracy,
        max_leakage=max_leakage,
        max_reconstruction=max_reconstruction,
        max_linkage=max_linkage,
        max_payload_bytes=parsed_size(max_payload),
        edge_memory_bytes=parsed_size(edge_memory),
        max_edge_parameters=max_edge_params,
        max_edge_energy_mj=max_energy_mj,
        result_at=result_at,
    )
    require_audits(budgets, audit=audit)
    network = chosen_link(link, bandwidth, rtt, bandwidth_spread, rtt_spread)
    declared = declared_power(edge_watts, joules_per_mb)
    chosen_objectives = parsed_objectives(objectives)
    if profile is not None:
        edge_profile = require_alone(profile, edge_profile, cloud_profile)
    require_slowdown(edge_slowdown, edge_profile, cloud_profile)
    options = SearchOptions(
        trials=trials,
        seed=seed,
        resume=resume,
        draws=draws,
        cache_bytes=int(cache_gb * 1e9),
        sampler=sampler,
        dropouts=parse_kinds(dropout_kinds),
        wires=wires(bits, noise, keep),
        masks=masks,
        tuning=tuning_options(finetune, finetune_loss, finetune_samples, finetune_penalty),
        storage=storage,
        artifacts=artifacts,
        study=reuse,
        audit=audit_options(audit_effort, audit_seeds, audits) if audit else None,
        objectives=chosen_objectives,
    )
    workspace = Workspace.here()
    given = InputOptions.given(inputs, batch_dim)
    loaded, traced, profiles = prepare(target, given, edge_profile, cloud_profile, workspace, output)
    power = edge_power(declared, joules_per_mb, profiles.edge, edge_slowdown)
    require_power(budgets, chosen_objectives, power)
    if power.known is not None or profiles.edge.power is not None:
        output.say(power.said if power.known is not None else f"no energy is told: {power.said}")
    problem = state(loaded, traced, profiles, network, edge_slowdown, budgets, output, power.known)
    with output.bar("searching") as advance:
        from ..planner import optimize as run_search

        outcome = run_search(
            problem,
            options,
            workspace.prepare(),
            lambda what, done: advance(done, 1.0, what),
        )
    report(outcome, file, output)


def report(outcome: SearchResult, file: Path, output: Output) -> None:
    """Show the front, the plan and the comparison; write the plan.

    Raises:
        BudgetError: no plan meets the budgets; the nearest miss is named.
    """
    from ..planner.plan_files import save_plan
    from ..records import BudgetError
    from .tables import chosen_plan, comparison, front

    plan = outcome.plan
    output.say(f"\n{told(outcome)}")
    for note in outcome.notes:
        output.say(f"note: {note}")
    if outcome.front:
        output.show(front(outcome.front, plan.searched if plan else None, outcome.objectives, outcome.power))
    output.show(comparison(plan, outcome.baselines, outcome.power))
    if plan is not None:
        output.show(chosen_plan(plan))
        if plan.cut_kind == "edge-only":
            output.say(
                "note: the whole model keeps the budgets on the edge as profiled, so nothing need be split; a slower "
                "edge device is declared by --edge-slowdown or profiled by itself"
            )
        if plan.cut_kind == "cloud-only":
            output.say(
                "note: the plan sends the private input as it is; nothing else that was measured keeps the budgets and "
                "is sure to leak less"
            )
        plan = save_plan(plan, outcome.tuned_weights, outcome.directions, file)
        output.wrote("plan", file)
    output.document(document(outcome, plan, file))
    if plan is None:
        raise BudgetError(f"no plan meets the budgets; {outcome.nearest_miss or 'no candidate could be evaluated'}")


def told(outcome: SearchResult) -> str:
    """How much was searched, in one line."""
    parts = [f"{outcome.trials} of {outcome.space} candidates evaluated"]
    if outcome.reused:
        parts.append(f"{outcome.reused} of them in earlier runs")
    if outcome.ruled_out.points:
        parts.append(f"{outcome.ruled_out.points} more ruled out by cost alone")
    if outcome.audits:
        parts.append(f"{outcome.audits} attacked")
    if outcome.confirm_tries > 1:
        parts.append(f"{outcome.confirm_tries} measured on the confirm half until one held")
    return ", ".join(parts)


def document(outcome: SearchResult, plan: Plan | None, file: Path) -> dict[str, Any]:
    """What `--json` prints: the plan or null, the front, the baselines, the nearest miss."""
    return {
        "plan_file": None if plan is None else str(file),
        "plan": None if plan is None else plan.model_dump(mode="json"),
        "objectives": list(outcome.objectives),
        "edge_power": None if outcome.power is None else outcome.power.model_dump(mode="json"),
        "front": [candidate.model_dump(mode="json") for candidate in outcome.front],
        "baselines": [baseline.model_dump(mode="json") for baseline in outcome.baselines],
        "nearest_miss": outcome.nearest_miss,
        "trials": outcome.trials,
        "reused": outcome.reused,
        "space": outcome.space,
        "ruled_out": outcome.ruled_out.points,
        "audits": outcome.audits,
        "hypervolume": outcome.hypervolume,
        "study": outcome.study,
        "notes": list(outcome.notes),
    }
