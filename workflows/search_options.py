"""The options of a search as the planner's records: budgets, audits, fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..planner.budgets import AUDITED_ONLY
from ..records import Budgets, CollabplanError, Objective, TargetError, Tuning, parse_size
from ..records.privacy import PRIVACY_BUDGETS
from ..records.sign_off import QUICK
from .checks import checked
from .options import AuditSettings, TuningSettings

if TYPE_CHECKING:
    from torch import Tensor

    from ..planner import AuditOptions

_BUDGET_OPTIONS = {
    "latency_p95_ms": "--budget-ms",
    "max_accuracy_drop": "--max-accuracy-drop",
    "min_accuracy": "--min-accuracy",
    **{budget.name: budget.option for budget in PRIVACY_BUDGETS},
    "max_payload_bytes": "--max-payload",
    "max_edge_parameters": "--max-edge-params",
    "max_edge_energy_mj": "--max-energy-mj",
}


def checked_budgets(**values: object) -> Budgets:
    """The budgets of the options.

    Raises:
        CollabplanError: one out of its range, named by its option.
    """
    return checked(Budgets, _BUDGET_OPTIONS, **values)


def parsed_size(text: str | None) -> int | None:
    """Bytes. Raises CollabplanError for what is no size."""
    return None if text is None else parse_size(text)


def parsed_objectives(text: str) -> tuple[Objective, ...]:
    """The objectives of `--objectives`. Raises CollabplanError for an unknown name, a second one, or fewer than two."""
    from ..planner.front import checked_objectives
    from .defense_options import parts

    return checked_objectives(parts(text))


def require_audits(budgets: Budgets, audit: AuditSettings) -> None:
    """Refuse privacy budgets that the attacks to be run cannot meet, before anything is run.

    Raises:
        CollabplanError: names the budget.
    """
    for budget in PRIVACY_BUDGETS:
        name, option = budget.name, budget.option
        if budget.limit(budgets) is None:
            continue
        if not audit.audit and name in AUDITED_ONLY:
            raise CollabplanError(f"{option} can only be checked by attacks; leave out --no-audit or --preset look")
        if audit.audit and audit.audit_effort == "quick" and audit.accept is None:
            raise CollabplanError(
                f"{QUICK}, which meet no {option}; give --audit-effort standard, --accept quick"
                + ("" if name in AUDITED_ONLY else ", or --no-audit to plan on estimates")
            )


def require_region(budgets: Budgets, region: Tensor | None) -> None:
    """Refuse a budget on the region of interest where none is declared, before anything is attacked.

    Raises:
        TargetError: names the option and what to declare.
    """
    if budgets.max_region is not None and region is None:
        raise TargetError(
            "--max-region needs a region_of_interest in the target's file: a box (top, left, bottom, right) or a mask "
            "[height, width]"
        )


def audit_options(effort: Literal["quick", "standard", "thorough"], seeds: int, most: int | None) -> AuditOptions:
    """How the planner audits: the whole suite on the winner, at every effort up to the one asked for."""
    from ..attacks import ATTACKS, EFFORTS, SEARCHING, attack_named
    from ..planner import AuditOptions

    suite = tuple(attack_named(name) for name in ATTACKS)
    names = list(EFFORTS)
    before = tuple(EFFORTS[name] for name in names[: names.index(effort)])
    return AuditOptions(SEARCHING, EFFORTS[effort], suite, seeds=seeds, most=most, before=before)


def tuning_options(options: TuningSettings) -> Tuning | None:
    """How the planner fine-tunes; None for no epoch. Raises CollabplanError for a penalty and no epoch."""
    if options.finetune_penalty and not options.finetune:
        raise CollabplanError("--finetune-penalty trains projections; give epochs, for example --finetune 10")
    if not options.finetune:
        return None
    return Tuning(
        epochs=options.finetune,
        loss=options.finetune_loss,
        samples=options.finetune_samples,
        penalty=options.finetune_penalty,
    )
