"""Which attackers need not be run to their end, since they cannot reach the leader.

What an audit reports is a maximum. All attackers therefore start with a small share of their steps, and go on with more
and more of them (successive halving; Jamieson & Talwalkar, AISTATS 2016; Li et al., Hyperband, JMLR 2018). Here no
fixed share of them is dropped, but whoever is *outrun*: its learning curve, continued with the gain that its last steps
brought, ends below what the leader has reached, in every figure that a budget may limit. No target is looked at: the
race is run on other images of their kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from ..records.revisions import Part
from .audit_request import AttackVariant
from .interface import Effort, iterates, weaker_form_of
from .metrics import LEAST_ERROR, Judge, recognised, squared_errors
from .releases import CopyKind
from .similarity import scales
from .threat import TIERS
from .views import View, within

RACE = Part("race")
"""Raise its revision whenever other attackers may be outrun, or at other shares."""

TRAINED_SHARES = (64, 16, 4)
OPTIMISED_SHARES = (32, 8)
"""The first rungs are 1 / share of the steps, of attacks that are trained and of those that optimise each image."""

CLOSED_SHARE = 8
"""An attack in closed form makes no steps: its first rung is 1 / CLOSED_SHARE of the images, its second the whole."""

FEWEST_IMAGES = 1000
"""Of that first rung; with fewer images in all there is none."""

RACED = ("index", "reconstructed", "region")
"""The figures that attackers race for, where they are defined."""

CONSISTENCY = "consistency"
"""Raced for only if a budget limits it: shadows often lead it, which are the dearest of all."""

WORTH = 0.005
"""A figure that may end higher than the leader's by no more is no reason to go on."""

MOST = 1.0
"""Of every figure: nobody ends above it."""

UPPER = 3.0
"""Standard errors from a figure to its upper end, where a dozen attackers share the level."""

IDLE = 0.001
"""Who gains less of the index from one rung to the next has perhaps not begun."""

BEGUN = 4
"""By 1 / BEGUN of its steps a network has begun, if it ever does."""


@dataclass(frozen=True, eq=False)
class Runner:
    """One attack in one variant, on releases that differ as `copies` says (None: exact repeats)."""

    variant: AttackVariant
    copies: CopyKind | None = None

    @property
    def label(self) -> str:
        """As in tables."""
        return self.variant.label + ("" if self.copies is None else ", near-duplicates")

    @property
    def shares(self) -> tuple[int, ...]:
        """Its first rungs."""
        attack = self.variant.attack
        if not iterates(attack):
            return (CLOSED_SHARE,)
        return OPTIMISED_SHARES if attack.per_image else TRAINED_SHARES


@dataclass(frozen=True)
class Standing:
    """How an attacker does on images of the targets' kind that are no targets.

    Attributes:
        figures: by name, what each image adds to a figure, which is their mean. An index is 1 - error / the mean error
            of the mean image; of a share each image is 0 or 1.
        targets: how many targets the attacker will be judged on.

    Examples:
        >>> Standing({"index": (0.5, 0.7)}, targets=100).reached("index", 2)
        0.6
    """

    figures: Mapping[str, tuple[float, ...]]
    targets: int

    def reached(self, figure: str, count: int) -> float:
        """A figure of the first `count` images."""
        return sum(self.figures[figure][:count]) / count

    def leeway(self, figure: str) -> float:
        """How far above a figure its upper end will lie, about."""
        values = torch.tensor(self.figures[figure], dtype=torch.float64)
        return UPPER * float(values.std(unbiased=False)) / math.sqrt(self.targets)


@dataclass(frozen=True, eq=False)
class Course:
    """The images that a race is run on.

    Attributes:
        images: `[m, *image_shape]`.
        gallery: `[g, *image_shape]`: it begins with these, and has as many more as an audit's gallery.
        mean: `[*image_shape]`, the mean of the attacker's images.
        region: as an audit's.
        kept: from reconstructions `[k, *image_shape]` of the first k images to `[k]`, 1 where the network keeps its
            answer; None where it gives no class scores.
    """

    images: Tensor
    gallery: Tensor
    mean: Tensor
    region: Tensor | None = None
    kept: Callable[[Tensor], Tensor | None] = lambda _: None

    def standing(self, made: Tensor, targets: int) -> Standing | None:
        """Of reconstructions `[k, *image_shape]` of the first k images; None if they are not finite."""
        if not bool(torch.isfinite(made).all()):
            return None
        truth = self.images[: len(made)]
        figures = {"index": self._indices(made, truth)}
        if scales(truth):
            figures["reconstructed"] = recognised(made, truth, self.gallery)
        if self.region is not None and truth.ndim == 4:
            figures["region"] = self._indices(made, truth, within(self.region))
        answers = self.kept(made)
        if answers is not None:
            figures["consistency"] = answers
        return Standing({name: tuple(values.tolist()) for name, values in figures.items()}, targets)

    def _indices(self, made: Tensor, truth: Tensor, view: View = lambda images: images) -> Tensor:
        """What each image adds to the index of what `view` shows, after the pull towards the mean."""
        made, truth, mean = view(made), view(truth), view(self.mean[None])[0]
        pulled = Judge(mean, truth, made, mean).pulled(made)
        blank = squared_errors(mean.expand_as(truth), truth).mean().clamp(min=LEAST_ERROR)
        return 1 - squared_errors(pulled, truth) / blank


Run = tuple[Runner, Effort]
"""An attacker with how hard it tries."""


class Track(Protocol):
    """Where the race is run."""

    def free(self, runs: Sequence[Run], *, practised: bool) -> Iterator[Run]:
        """All of these; first those that no other machine practises at this effort, or carries out."""

    def practise(self, runner: Runner, effort: Effort) -> Standing | None:
        """Fit at an effort, and try the held-out images; None if that failed."""

    def finish(self, runner: Runner) -> bool:
        """Run it to its end, and judge it; False if that gave no figures."""

    def drop(self, runner: Runner, effort: Effort, reason: str) -> None:
        """Judge it as it is at this effort: it was outrun."""


def reduced(effort: Effort, share: int) -> Effort:
    """The effort with 1 / `share` of the steps."""
    return replace(
        effort,
        train_steps=max(1, effort.train_steps // share),
        iterations=max(1, effort.iterations // share),
        until_converged=share == 1 and effort.until_converged,
    )


def at_rung(runner: Runner, effort: Effort, share: int) -> Effort:
    """What a runner spends at a rung: 1 / `share` of the steps, or of the images where it makes no steps."""
    if iterates(runner.variant.attack):
        return reduced(effort, share)
    return replace(effort, fit_samples=max(effort.fit_samples // share, min(effort.fit_samples, FEWEST_IMAGES)))


def race(runners: Sequence[Runner], effort: Effort, track: Track, figures: Sequence[str] = RACED) -> None:
    """Run each attacker as far as it may lead: to its end, or until it is outrun.

    Args:
        runners: those that start.
        effort: of those that are run to their end.
        track: runs them.
        figures: those that count.
    """
    _Race(effort, track, figures, {runner: {} for runner in runners}).run()


@dataclass(eq=False)
class _Race:
    effort: Effort
    track: Track
    figures: Sequence[str]
    standings: dict[Runner, dict[int, Standing]]
    outrun: dict[Runner, dict[int, Standing]] = field(default_factory=dict)

    def run(self) -> None:
        closed = [runner for runner in self.standings if not iterates(runner.variant.attack)]
        running = [runner for runner in self.standings if runner not in closed]
        whole = [(runner, self.effort) for runner in self._rung(closed, CLOSED_SHARE)]
        for runner, _ in self.track.free(whole, practised=True):
            found = self.track.practise(runner, self.effort)
            self.standings[runner] = {1: found} if self.track.finish(runner) and found is not None else {}
        for share in sorted({*TRAINED_SHARES, *OPTIMISED_SHARES}, reverse=True):
            running = self._rung(running, share)
        while running:
            for runner, _ in self.track.free([(runner, self.effort) for runner in running], practised=False):
                if not self.track.finish(runner):
                    del self.standings[runner]
            running = self._taken_up()

    def _rung(self, running: Sequence[Runner], share: int) -> list[Runner]:
        """Run a rung; returns those who go on."""
        left = list(running)
        runs = [(runner, at_rung(runner, self.effort, share)) for runner in running if share in runner.shares]
        for runner, effort in self.track.free([each for each in runs if each[1] != self.effort], practised=True):
            found = self.track.practise(runner, effort)
            if found is None:
                left.remove(runner)
                self.track.finish(runner)
            else:
                self.standings[runner][share] = found
        for runner in tuple(left):
            reason = outrun_by(runner, self.standings, self.figures)
            if reason:
                left.remove(runner)
                self.outrun[runner] = self.standings.pop(runner)  # so of two equal ones, one goes on
                self.track.drop(runner, at_rung(runner, self.effort, min(self.outrun[runner])), reason)
        return left

    def _taken_up(self) -> list[Runner]:
        """Whoever was outrun by one that gave nothing in the end, the best first."""
        found = []
        for runner in sorted(self.outrun, key=lambda each: -_reached(self.outrun[each])):
            if not outrun_by(runner, {**self.standings, runner: self.outrun[runner]}, self.figures):
                self.standings[runner] = self.outrun.pop(runner)
                found.append(runner)
        return found


def _reached(rungs: Mapping[int, Standing]) -> float:
    """The index at the last rung."""
    last = rungs[min(rungs)]
    return last.reached("index", len(last.figures["index"]))


def outrun_by(
    runner: Runner, standings: Mapping[Runner, Mapping[int, Standing]], figures: Sequence[str] = RACED
) -> str:
    """Why a runner need not go on: for each figure, who has reached what it cannot. Empty if it may lead.

    Its optimistic end is what it has reached, the gain of its last fourfold steps once for each time that its steps can
    still be multiplied by four, and a standard error of all that beside the leader. Neither it nor its upper end may
    exceed the leader's. Who gains nothing may not have begun: a network goes on until it has made 1 / `BEGUN` of its
    steps, an optimisation to its end.

    Whoever does the same and sees more gains no less from further steps. Who is not ahead of such a one at the same
    rung is outrun.

    Args:
        runner: with at least one rung behind it; else it goes on.
        standings: of all that are still in the race, by the share of the steps at each rung.
        figures: those that count.
    """
    own = standings[runner]
    if not own:
        return ""
    last = min(own)
    ends = _Ends.of(own, runner)
    what = "steps" if iterates(runner.variant.attack) else "images"
    said = []
    for figure in (each for each in figures if each in own[last].figures):
        beaten = ""
        for rival, theirs in standings.items():
            if _sees_more(rival, runner) and last in theirs:
                count = min(len(each[last].figures[figure]) for each in (own, theirs))
                end, leads = (each[last].reached(figure, count) for each in (own, theirs))
                found = end <= leads
            elif ends is not None and theirs and may_outrun(rival, runner):
                leader = theirs[min(theirs)]
                end, leads = _beside(ends.now, ends.then, ends.slope, leader, figure)
                found = leads + WORTH - end >= max(0.0, ends.now.leeway(figure) - leader.leeway(figure))
            else:
                continue
            if found:
                here = own[last].reached(figure, len(own[last].figures[figure]))
                beaten = f"{figure} {here:.3f}, {end:.3f} at best, and {rival.label} has {leads:.3f}"
                break
        if not beaten:
            return ""
        said.append(beaten)
    return f"outrun at 1/{last} of the {what}: {'; '.join(said)}"


@dataclass(frozen=True)
class _Ends:
    """What an optimistic end is reckoned from: two standings, and how often their difference is added."""

    now: Standing
    then: Standing
    slope: float

    @classmethod
    def of(cls, own: Mapping[int, Standing], runner: Runner) -> _Ends | None:
        """None where it cannot be told yet: with one rung behind it, or where nothing was gained so far."""
        if len(own) < 2:
            return None
        last, before = sorted(own)[:2]
        now, then = own[last], own[before]
        count = min(len(then.figures["index"]), len(now.figures["index"]))
        idle = now.reached("index", count) - then.reached("index", count) < IDLE
        if idle and (runner.variant.attack.per_image or last > BEGUN):
            return None
        return cls(now, then, math.log(last, 4) / math.log(before / last, 4))


def _beside(now: Standing, then: Standing, slope: float, leader: Standing, figure: str) -> tuple[float, float]:
    """The optimistic end of a figure, and what the leader has, on the images that all of them tried."""
    count = min(len(each.figures[figure]) for each in (now, then, leader))
    here, there, leads = (
        torch.tensor(each.figures[figure][:count], dtype=torch.float64) for each in (now, then, leader)
    )
    ends = here + (slope * (here - there) if float(here.mean()) > float(there.mean()) else 0.0)
    error = float((ends - leads).std()) / math.sqrt(count) if count > 1 else math.inf
    return min(MOST, float(ends.mean()) + error), float(leads.mean())


def may_outrun(rival: Runner, runner: Runner) -> bool:
    """Whether a rival may outrun a runner: it counts wherever the runner does, and is as well placed.

    What a query-free attacker recovers counts for black-box ones too, so it races against these. A rival knows the
    defense and has images of the targets' kind, and it does not see less by the same means.
    """
    theirs, own = rival.variant, runner.variant
    if rival is runner or theirs.naive or theirs.other:
        return False
    if theirs.attack.name == own.attack.name and theirs.queries < own.queries:
        return False
    return TIERS.index(theirs.attack.threat) <= max(TIERS.index(own.attack.threat), TIERS.index("black-box"))


def _sees_more(rival: Runner, runner: Runner) -> bool:
    """Whether a rival does the same and sees more.

    That is more releases, the defense, images of the targets' kind, or the device itself in place of an imitation.
    """
    theirs, own = rival.variant, runner.variant
    if theirs.attack.name == own.attack.name:
        more = own.naive or bool(own.other) or theirs.queries > own.queries
    else:
        more = theirs.attack.name == weaker_form_of(own.attack) and theirs.queries >= own.queries
    return more and may_outrun(rival, runner)
