"""The plan file while a search runs: replaced by every better supported plan, whole at any moment.

A plan of another target or study that lies there is kept, unless the same command line made it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from ..planner.plan_files import save_plan
from ..planner.plan_record import ChosenPlan
from ..planner.space import point_of
from ..records import Plan, RecordError, collect_provenance, load
from ..records.sign_off import LEVELS, Level
from .options import ConditionOptions, OptimizeOptions
from .profiles import given_profiles, last_profile
from .replacing import kept, made_by_this_command
from .search_options import parsed_objectives, tuning_options
from .workspace import Workspace

_OTHER_STUDY = "holds the plan of another study"
_DECIDING = ("--defense", "--draws")


class PlanFile:
    """Keeps the plan of one search in a file.

    What an earlier run of the same search wrote there stays until this run has as much support for its own plan.

    Args:
        path: the file.
        say: hears of every plan that is written.
        force: replace whatever lies there.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = lambda _: None, *, force: bool = False) -> None:
        self.path, self.say = path, say
        self.plan: Plan | None = None
        self.earlier = False
        self._own = False
        self._last: Plan | None = None
        self._may_replace = force or made_by_this_command(path)

    def require_replaceable(self, spec: str | None, options: OptimizeOptions, workspace: Workspace) -> None:
        """Refuse, before any work, to replace what another search wrote.

        The same command line may replace its plan, and so may every search of the same target that goes on with the
        plan's study: other budgets or another link need no other file.

        Args:
            spec: the target; None: that of the profiles.
            options: of the search.
            workspace: holds the profile that names the target where nothing else does.

        Raises:
            CollabplanError: the file holds something else, or no target is named.
        """
        if self._may_replace or not self.path.exists():
            return
        try:
            plan = load(Plan, self.path)
        except RecordError:
            raise kept(self.path, "holds no plan that can be read") from None
        if _place(spec or _profiled(options.conditions, workspace)) != _place(plan.target.spec):
            raise kept(self.path, f"holds a plan of {plan.target.spec}")
        if not _goes_on(plan, options):
            raise kept(self.path, _OTHER_STUDY)

    def replace(self, made: ChosenPlan | None) -> None:
        """Write a plan that is better supported than the last one. None: that one has fallen, and its file goes.

        The file stays if it holds an earlier run's plan of another candidate, which nothing has refuted.

        Raises:
            CollabplanError: the file cannot be written, or holds the plan of another model or study.
        """
        last, self._last = self._last, None if made is None else made.plan
        if made is None:
            if self.earlier and self.plan is not None and last is not None and not _same_point(self.plan, last):
                return
            if self.plan is not None:
                self.path.unlink(missing_ok=True)
                self.say(f"{self.path} is gone: attacks refuted the plan that it held")
            self.plan, self.earlier = None, False
            return
        if not self._own and (known := self._known()) is not None:
            self._require_same_study(known, made.plan)
            if _better_supported(known, made.plan):
                self.plan, self.earlier = known, True
                return
            if _question(known) != _question(made.plan):
                self.say(f"{self.path} held a plan of {known.study} for another question, which this one replaces")
        self.plan = save_plan(made.plan, made.tuned_weights, made.projection, self.path)
        self._own, self.earlier = True, False
        self.say(f"{self.path} ({self.plan.level}): {self.plan.headline}")

    @property
    def standing(self) -> str:
        """How things stand, for somebody who interrupts the search."""
        goes_on = "the same command goes on from here"
        if self.plan is not None:
            return f"{self.path} holds the best plan so far ({self.plan.level}): {self.plan.headline}; {goes_on}"
        if (known := self._known()) is not None:
            return f"{self.path} still holds the plan of an earlier run ({known.level}): {known.headline}; {goes_on}"
        return f"no plan yet; what was measured is kept, and {goes_on}"

    def _known(self) -> Plan | None:
        """The plan that lies there."""
        try:
            return load(Plan, self.path) if self.path.exists() else None
        except RecordError:
            return None

    def _require_same_study(self, known: Plan, new: Plan) -> None:
        """Only now is it certain which study the search goes on with: its weights and data have been read."""
        if not self._may_replace and (known.study, known.model) != (new.study, new.model):
            raise kept(self.path, _OTHER_STUDY)


def _better_supported(known: Plan, new: Plan) -> bool:
    """Whether the plan that lies there answers the same question and is better supported."""
    if _question(known) != _question(new):
        return False
    if known.level == new.level and _same_point(known, new):
        return known.certificate is not None or known.measured is not None
    return LEVELS.index(known.level) > LEVELS.index(new.level)


def _same_point(one: Plan, other: Plan) -> bool:
    return point_of(one.chosen) == point_of(other.chosen)


def _profiled(costs: ConditionOptions, workspace: Workspace) -> str:
    """The target of the profiles that a search without a target plans with."""
    found = given_profiles(costs.profile or costs.edge_profile, costs.cloud_profile) or last_profile(workspace)
    return found.edge.target.spec


def _place(spec: str) -> tuple[object, ...]:
    """What a target names, whichever way its file is spelled."""
    file, colon, name = spec.rpartition(":")
    if spec.endswith(".py"):
        file, name = spec, ""
    return (Path(file).resolve(), name) if file.endswith(".py") else (file, colon, name)


def _goes_on(plan: Plan, options: OptimizeOptions) -> bool:
    """Whether a search with these options can go on with a plan's study, as far as the plan tells.

    A plan does not hold all defenses that were searched, but the command line that made it does.
    """
    search = options.search
    if search.fresh or search.reuse not in (None, plan.study):
        return False
    if _given(plan.provenance.command) != _given(collect_provenance().command):
        return False
    return (plan.provenance.seed, plan.objectives, plan.tuning, plan.budgets.result_at) == (
        search.seed,
        parsed_objectives(search.objectives),
        tuning_options(options.tuning),
        options.budgets.result_at,
    )


def _given(command: Sequence[str]) -> list[str]:
    """The options in a command line that decide its study and that a plan does not hold, with their values."""
    words = [part for word in command for part in (word.split("=", 1) if word.startswith(_DECIDING) else (word,))]
    return [f"{name} {value}" for name, value in itertools.pairwise(words) if name in _DECIDING]


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
    if missing(plan) and plan.unattackable is not None:
        return (
            f"a privacy budget is not proven: the plan's level is {plan.level}, and no attack here applies "
            f"({plan.unattackable}); take less by --accept estimated"
        )
    lacks = missing(plan) or plan.chosen.violations
    return (
        f"a privacy budget is not yet proven: the plan's level is {plan.level}, and signing off still takes "
        f"{'; '.join(lacks)}; run `collabplan certify {path}`, or take less by --accept"
    )
