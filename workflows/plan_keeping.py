"""The plan file while a search runs: replaced by every better supported plan, whole at any moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..planner.plan_files import save_plan
from ..planner.plan_record import ChosenPlan
from ..planner.space import point_of
from ..records import Plan, RecordError, load
from ..records.sign_off import LEVELS, Level


class PlanFile:
    """Keeps the plan of one search in a file.

    What an earlier run of the same search wrote there stays until this run has as much support for its own plan.

    Args:
        path: the file.
        say: hears of every plan that is written.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.path, self.say = path, say
        self.plan: Plan | None = None
        self.earlier = False
        self._own = False

    def replace(self, made: ChosenPlan | None) -> None:
        """Write a plan that is better supported than the last one. None: that one has fallen, and its file goes.

        Raises:
            CollabplanError: the file cannot be written.
        """
        if made is None:
            if self.plan is not None:
                self.path.unlink(missing_ok=True)
                self.say(f"{self.path} is gone: attacks refuted the plan that it held")
            self.plan, self.earlier = None, False
            return
        if not self._own and (kept := self._kept(made.plan)) is not None:
            self.plan, self.earlier = kept, True
            return
        self.plan = save_plan(made.plan, made.tuned_weights, made.projection, self.path)
        self._own, self.earlier = True, False
        self.say(f"{self.path} ({self.plan.level}): {self.plan.headline}")

    @property
    def standing(self) -> str:
        """How things stand, for somebody who interrupts the search."""
        goes_on = "the same command goes on from here"
        if self.plan is None:
            return f"no plan yet; what was measured is kept, and {goes_on}"
        return f"{self.path} holds the best plan so far ({self.plan.level}): {self.plan.headline}; {goes_on}"

    def _kept(self, new: Plan) -> Plan | None:
        """The plan that lies there, if it answers the same question and is better supported."""
        if not self.path.exists():
            return None
        try:
            known = load(Plan, self.path)
        except RecordError:
            return None
        if _question(known) != _question(new):
            return None
        if known.level == new.level and point_of(known.chosen) == point_of(new.chosen):
            return known if known.certificate or known.measured else None
        return known if LEVELS.index(known.level) > LEVELS.index(new.level) else None


def _question(plan: Plan) -> tuple[object, ...]:
    """What a plan answers; plans of one question can be compared by their levels."""
    return (
        plan.study, plan.model, plan.budgets, plan.link, plan.edge_slowdown, plan.edge_power, plan.objectives,
        plan.edge_device, plan.cloud_device,
    )  # fmt: skip


def accepted(plan: Plan, least: Level | None) -> bool:
    """True if the plan's budgets on privacy are proven, or `least` says that less is enough.

    Args:
        plan: with its level.
        least: the lowest level that the user takes; None: what proves the budget.
    """
    return plan.proven or (least is not None and LEVELS.index(plan.level) >= LEVELS.index(least))


def missing(plan: Plan) -> tuple[str, ...]:
    """What a plan lacks to be signed off, one phrase each."""
    if plan.level == "by definition":
        return ()
    if plan.chosen.audited is None:
        return ("attacks",)
    return plan.chosen.audited.missing_to_sign_off


def unproven(plan: Plan, path: Path) -> str:
    """That a privacy budget is not proven, in one line, and what to do."""
    lacks = missing(plan) or plan.chosen.violations
    return (
        f"a privacy budget is not yet proven: the plan's level is {plan.level}, and signing off still takes "
        f"{'; '.join(lacks)}; run `collabplan certify {path}`, or take less by --accept"
    )
