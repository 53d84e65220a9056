"""The floor of a plan's audit: what the same attackers recover from the output that the service returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..attacks.audit import run_audit
from ..attacks.audit_request import AuditRequest
from ..attacks.declared_output import declared_output, floor_attacks
from ..attacks.excess import excess, floor_index
from ..attacks.interface import Attack, Effort
from ..defenses.pipeline import Defense
from ..defenses.seeds import derive_seed
from ..graph import Cut
from ..records import Audited, Exchange, FloorIndex
from .problem import Problem


def output_floor(
    problem: Problem,
    request: Callable[[Cut, Defense], AuditRequest],
    attacks: Sequence[Attack],
    effort: Effort,
    *,
    seed: int,
    folder: Path,
    exchange: Exchange,
) -> FloorIndex | None:
    """The index that attackers reach from the declared output; None where there is none to attack.

    One seed is enough: a lower floor makes the excess larger.

    Args:
        problem: names the cuts and what the service returns.
        request: what is audited at the edge-only cut, under the stages that bring the output into its form.
        attacks, effort, folder, exchange: as of `run_audit`.
        seed: of the search.

    Raises:
        TargetError: a label is declared and the model returns no class scores.
    """
    cut = next((cut for cut in problem.cuts if cut.kind == "edge-only" and cut.searchable), None)
    if cut is None:
        return None
    form, stages = declared_output(cut, problem.returns)
    if form == "logits" and problem.returns is None:
        return None  # all that an undeclared output could tell is no floor
    made = run_audit(
        request(cut, Defense(stages, cut.crossing)),
        floor_attacks(attacks, form),
        effort,
        seed=derive_seed(seed, cut.id),
        folder=folder,
        exchange=exchange,
    )
    index = floor_index(made.record)
    return None if index is None else FloorIndex(of=form, declared=problem.returns is not None, index=index)


def beside_floor(audited: Audited, floor: FloorIndex | None) -> Audited:
    """`audited` with the floor and the excess over it; unchanged without one."""
    if floor is None:
        return audited
    figures = audited.figures.model_copy(update={"excess": excess(audited.figures.index, floor.index)})
    return audited.model_copy(update={"figures": figures, "floor": floor})
