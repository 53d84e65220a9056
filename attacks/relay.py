"""Runs the race of one audit: see `race.py` for who is outrun."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..records import Interval
from .audit_run import AuditRun, Made
from .interface import Effort
from .invariants import counts
from .race import WORTH, Run, Runner, may_outrun, race
from .standing import Standing

NAMES = {"reconstructed": "reconstruction_rate", "reidentified": "reidentification"}
"""The fields of `AttackFigures` that have another name than the figure of a race."""


def raced(run: AuditRun, runners: Sequence[Runner], step: Callable[[str], None], figures: Sequence[str]) -> list[Made]:
    """Every attacker, run to its end or as far as it was when it was outrun.

    An attacker who was outrun and leads on the targets all the same is run to its end after the race, and counts with
    the better of both results. What is seen on targets can therefore only raise an index.

    Args:
        run: of the audit, at the effort of those that are run to their end.
        runners: in the order of the result.
        step: called with the name of each step as it begins.
        figures: those that they race for.
    """
    track = _Track(run, step)
    try:
        race(runners, run.data.effort, track, figures, images=len(run.request.auxiliary))
    finally:
        run.leave()
    for runner in runners:
        partial = track.made[runner]
        if partial.result.status == "outrun" and _leads(runner, track.made, figures):
            track.finish(runner)
            if track.made[runner].index < partial.index:
                track.made[runner] = partial
    return [track.made[runner] for runner in runners]


@dataclass(eq=False)
class _Track:
    run: AuditRun
    step: Callable[[str], None]
    made: dict[Runner, Made] = field(default_factory=dict)
    said: str = ""

    def free(self, runs: Sequence[Run], *, practised: bool) -> Iterator[Run]:
        return self.run.free(runs, practised=practised)

    def practise(self, runner: Runner, effort: Effort) -> Standing | None:
        whole = self.run.data.effort
        steps, images = whole.train_steps // effort.train_steps, whole.fit_samples // effort.fit_samples
        part = f", 1/{steps} of its steps" if steps > 1 else f", 1/{images} of its images" if images > 1 else ""
        self._say(f"{runner.label}{part}")
        return self.run.at(effort).practise(runner)

    def finish(self, runner: Runner) -> bool:
        self._say(runner.label)
        self.made[runner] = self.run.made(runner)
        return self.made[runner].result.figures is not None

    def _say(self, what: str) -> None:
        if what != self.said:
            self.said = what
            self.step(what)

    def holds(self, runner: Runner, effort: Effort) -> bool:
        return self.run.at(effort).holds(runner)

    def go_on(self, runner: Runner, effort: Effort) -> None:
        self.run.at(effort).forget(runner)

    def drop(self, runner: Runner, effort: Effort, reason: str) -> bool:
        rung = self.run.at(effort)
        rung.drop(runner)
        made = rung.made(runner)
        if made.result.status == "failed":
            self.made[runner] = made
            return not counts(made.result)  # a better one stands beside it, so its failure says nothing
        told = {"status": "outrun", "reason": reason, "lower_bound": True}
        self.made[runner] = Made(runner, made.result.model_copy(update=told), made.pictures, made.kept)
        return True


def _leads(runner: Runner, made: Mapping[Runner, Made], figures: Sequence[str]) -> bool:
    """Whether an attacker who was outrun recovered more of the targets than all who may outrun it."""
    ended = [each for rival, each in made.items() if may_outrun(rival, runner) and each.result.status == "ok"]
    return any(
        _value(made[runner], figure) > max((_value(each, figure) for each in ended), default=0.0) + WORTH
        for figure in figures
    )


def _value(made: Made, figure: str) -> float:
    found = getattr(made.result.figures, NAMES.get(figure, figure), None)
    return found.value if isinstance(found, Interval) else 0.0
