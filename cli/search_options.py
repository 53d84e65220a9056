"""The options of a search as the planner's records: budgets, audits, wires, fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..planner import AuditOptions, Wire
    from ..records import Budgets, Objective, Tuning
    from .costs import Power

_BUDGET_OPTIONS = {
    "latency_p95_ms": "--budget-ms",
    "max_accuracy_drop": "--max-accuracy-drop",
    "min_accuracy": "--min-accuracy",
    "max_leakage": "--max-leakage",
    "max_reconstruction": "--max-reconstruction",
    "max_linkage": "--max-linkage",
    "max_payload_bytes": "--max-payload",
    "max_edge_parameters": "--max-edge-params",
    "max_edge_energy_mj": "--max-energy-mj",
}


def checked_budgets(**values: object) -> Budgets:
    """The budgets of the options.

    Raises:
        CollabplanError: one out of its range, named by its option.
    """
    from ..records import Budgets
    from .checks import checked

    return checked(Budgets, _BUDGET_OPTIONS, **values)


def parsed_size(text: str | None) -> int | None:
    """Bytes. Raises CollabplanError for what is no size."""
    from ..records import parse_size

    return None if text is None else parse_size(text)


def parsed_objectives(text: str) -> tuple[Objective, ...]:
    """The objectives of `--objectives`. Raises CollabplanError for an unknown name, a second one, or fewer than two."""
    from ..planner.front import checked_objectives
    from .defense_options import parts

    return checked_objectives(parts(text))


def require_audits(budgets: Budgets, *, audit: bool) -> None:
    """Refuse budgets that only attacks can be held against, without attacks.

    Raises:
        CollabplanError: as said.
    """
    from ..records import CollabplanError

    for name in ("max_reconstruction", "max_linkage"):
        if getattr(budgets, name) is not None and not audit:
            raise CollabplanError(f"{_BUDGET_OPTIONS[name]} is held against attacks alone; leave out --no-audit")


def require_power(budgets: Budgets, objectives: tuple[Objective, ...], power: Power) -> None:
    """Refuse energy as a budget or an objective where nothing is known of the device's power.

    Raises:
        CollabplanError: as said.
    """
    from ..records import CollabplanError

    asked = "--max-energy-mj" if budgets.max_edge_energy_mj is not None else "the objective energy"
    if (budgets.max_edge_energy_mj is not None or "energy" in objectives) and power.known is None:
        raise CollabplanError(f"{asked} needs --edge-watts: {power.said}")


def require_alone(profile: Path, edge: Path | None, cloud: Path | None) -> Path:
    """The profile of both machines. Raises CollabplanError where one of them is given again."""
    from ..records import CollabplanError

    if edge is not None or cloud is not None:
        raise CollabplanError("--profile is for both machines; leave it out beside --edge-profile and --cloud-profile")
    return profile


def require_slowdown(slowdown: float, edge: Path | None, cloud: Path | None) -> None:
    """Refuse a slowdown that is not a factor, or beside a profile of the edge itself.

    Raises:
        CollabplanError: as said.
    """
    from ..records import CollabplanError

    if not 0 < slowdown < float("inf"):
        raise CollabplanError(f"--edge-slowdown {slowdown:g} is not possible: it must be greater than 0")
    if slowdown != 1 and edge is not None and cloud is not None:
        raise CollabplanError("--edge-slowdown is for one profile; with --edge-profile the edge itself was measured")


def audit_options(effort: Literal["quick", "standard", "thorough"], seeds: int, most: int | None) -> AuditOptions:
    """How the planner audits: the whole suite on the winner."""
    from ..attacks import ATTACKS, EFFORTS, attack_named
    from ..planner import AuditOptions

    suite = tuple(attack_named(name) for name in ATTACKS)
    return AuditOptions(EFFORTS["quick"], EFFORTS[effort], suite, seeds=seeds, most=most)


def wires(bits: str, noise: str, keep: str = "1") -> tuple[Wire, ...]:
    """Every quantizer with every noise and share of directions. Raises CollabplanError for what is none, or nothing."""
    from ..planner import Wire
    from ..records import CollabplanError
    from .defense_options import parse_bits, parse_kept, parse_noise, parts

    every = [parse_bits(part) for part in parts(bits)]
    noises = [parse_noise(None if part == "none" else part) for part in parts(noise)]
    shares = [parse_kept(part) for part in parts(keep)]
    if not every or not noises or not shares:
        raise CollabplanError("--bits, --noise or --keep is empty; give 8,4 and none,gaussian:0.05 and 1,0.25 say")
    return tuple(dict.fromkeys(Wire(each, *one, kept) for kept in shares for one in noises for each in every))


def tuning_options(
    epochs: int, loss: Literal["distillation", "cross-entropy"], samples: int, penalty: float
) -> Tuning | None:
    """How the planner fine-tunes; None for no epoch. Raises CollabplanError for a penalty and no epoch."""
    from ..records import CollabplanError, Tuning

    if penalty and not epochs:
        raise CollabplanError("--finetune-penalty trains directions; give epochs by --finetune 10 say")
    return Tuning(epochs=epochs, loss=loss, samples=samples, penalty=penalty) if epochs else None
