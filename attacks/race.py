"""Which attackers need not be run to their end, since they cannot reach the leader.

What an audit reports is a maximum. All attackers therefore start with a small share of their steps, and go on with more
and more of them (successive halving; Jamieson & Talwalkar, AISTATS 2016; Li et al., Hyperband, JMLR 2018). Here no
fixed share of them is dropped, but whoever is *outrun*: its learning curve, continued with the gain that its last steps
brought, ends below what the leader has reached, in every figure that a budget may limit. No target is looked at: the
race is run on other images of their kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

import torch

from ..records.revisions import Part
from .audit_request import AttackVariant
from .interface import Effort, iterated, weaker_form_of
from .releases import CopyKind
from .standing import Standing
from .threat import TIERS

RACE = Part("race", 2)
"""Raise its revision whenever other attackers may be outrun, or at other shares."""

TRAINED_SHARES = (64, 16, 4)
OPTIMISED_SHARES = (32, 8)
"""The first rungs are 1 / share of the steps, of attacks that are trained and of those that optimise each image.

Where nobody is run until it converges the effort has few steps, and the first of these rungs is left out.
"""

CLOSED_SHARE = 8
"""An attack in closed form makes no steps: its first rung is 1 / CLOSED_SHARE of the images, its second the whole."""

FEWEST_IMAGES = 1000
"""Of that first rung. If it had fewer, there is none."""

RACED = ("index", "reconstructed", "reidentified", "region")
"""The figures that attackers race for, where they are defined: of inputs without an SSIM those re-identified count."""

CONSISTENCY = "consistency"
"""Raced for only if a budget limits it: shadows often lead it, which are the dearest of all."""

WORTH = 0.005
"""A figure that may end higher than the leader's by no more is no reason to go on."""

MOST = 1.0
"""Of every figure: nobody ends above it."""

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

    def shares(self, effort: Effort) -> tuple[int, ...]:
        """Its first rungs; none of an attack that does not say whether it makes steps, which is run whole."""
        attack = self.variant.attack
        if iterated(attack) is None:
            return ()
        if not iterated(attack):
            return (CLOSED_SHARE,)
        shares = OPTIMISED_SHARES if attack.per_image else TRAINED_SHARES
        return shares if effort.until_converged else shares[1:]


Run = tuple[Runner, Effort]
"""An attacker with how hard it tries."""


class Track(Protocol):
    """Where the race is run."""

    def free(self, runs: Sequence[Run], *, practised: bool) -> Iterator[Run]:
        """All of these; first those that no other machine practises at this effort, or carries out."""

    def practise(self, runner: Runner, effort: Effort) -> Standing | None:
        """Fit at an effort, and try images that are no targets; None if that failed."""

    def holds(self, runner: Runner, effort: Effort) -> bool:
        """Whether it is fitted here at this effort."""

    def go_on(self, runner: Runner, effort: Effort) -> None:
        """It will not be judged at this effort."""

    def finish(self, runner: Runner) -> bool:
        """Run it to its end, and judge it; False if that gave no figures."""

    def drop(self, runner: Runner, effort: Effort, reason: str) -> bool:
        """Judge it as it is at this effort: it was outrun. False if it failed there, which its whole run may not."""


def reduced(effort: Effort, share: int) -> Effort:
    """The effort with 1 / `share` of the steps."""
    return replace(
        effort,
        train_steps=max(1, effort.train_steps // share),
        iterations=max(1, effort.iterations // share),
        until_converged=share == 1 and effort.until_converged,
    )


def at_rung(runner: Runner, effort: Effort, share: int, images: int) -> Effort:
    """What a runner spends at a rung: 1 / `share` of the steps, or of its `images` where it makes no steps."""
    if iterated(runner.variant.attack):
        return reduced(effort, share)
    few = images // share
    return replace(effort, fit_samples=few) if few >= FEWEST_IMAGES else effort


def race(
    runners: Sequence[Runner], effort: Effort, track: Track, figures: Sequence[str] = RACED, *, images: int
) -> None:
    """Run each attacker as far as it may lead: to its end, or until it is outrun.

    Args:
        runners: those that start.
        effort: of those that are run to their end.
        track: runs them.
        figures: those that count.
        images: how many the attackers have.
    """
    _Race(effort, track, figures, min(images, effort.fit_samples), {runner: {} for runner in runners}).run()


@dataclass(eq=False)
class _Race:
    effort: Effort
    track: Track
    figures: Sequence[str]
    images: int
    standings: dict[Runner, dict[int, Standing]]
    outrun: dict[Runner, Outrun] = field(default_factory=dict)
    kept_on: set[Runner] = field(default_factory=set)
    retired: dict[Runner, Mapping[int, Standing]] = field(default_factory=dict)

    def run(self) -> None:
        whole = [runner for runner in self.standings if not iterated(runner.variant.attack)]
        running = [runner for runner in self.standings if runner not in whole]
        left = [(runner, self.effort) for runner in self._rung(whole, CLOSED_SHARE)]
        for runner, _ in self.track.free(left, practised=True):
            found = self.track.practise(runner, self.effort)
            self.standings[runner] = {1: found} if self.track.finish(runner) and found is not None else {}
        for share in sorted({*TRAINED_SHARES, *OPTIMISED_SHARES}, reverse=True):
            running = self._rung(running, share)
        while running:
            lost = self._finished(running)
            # Whoever was outrun by one that gave nothing in the end is taken up again.
            running = [runner for runner, outrun in self.outrun.items() if lost & outrun.by]
            for runner in running:
                del self.outrun[runner]

    def _finished(self, running: Sequence[Runner]) -> set[Runner]:
        """Run them to their end; returns those that gave no figures."""
        runs = [(runner, self.effort) for runner in running]
        lost = {runner for runner, _ in self.track.free(runs, practised=False) if not self.track.finish(runner)}
        for runner in lost:
            self.standings.pop(runner, None)
        return lost

    def _rung(self, running: Sequence[Runner], share: int) -> list[Runner]:
        """Run a rung; returns those who go on."""
        efforts = {
            runner: at_rung(runner, self.effort, share, self.images)
            for runner in running
            if share in runner.shares(self.effort)
        }
        tried = [(runner, effort) for runner, effort in efforts.items() if effort != self.effort]
        broken = []
        for runner, effort in self.track.free(tried, practised=True):
            found = self.track.practise(runner, effort)
            if found is None:
                broken.append(runner)
            else:
                self.standings[runner][share] = found
        for runner in broken:
            self.standings[runner] = {}  # whoever broke down outruns nobody, whatever its end
        self._finished(broken)
        left = [runner for runner in running if runner not in broken]
        dropped = self._outrun(left)
        for runner, effort in tried:
            if runner in left and runner not in dropped:
                self.track.go_on(runner, effort)
        ends = {runner: at_rung(runner, self.effort, outrun.share, self.images) for runner, outrun in dropped.items()}
        # First those that this machine has fitted: two machines that wait for each other's would wait forever.
        for runner in sorted(dropped, key=lambda each: not self.track.holds(each, ends[each])):
            if self.track.drop(runner, ends[runner], dropped[runner].reason):
                self.outrun[runner] = dropped[runner]
                left.remove(runner)
            else:
                self.kept_on.add(runner)
                self.standings[runner] = self.retired[runner] = {}  # it failed, so it outruns nobody
        return left

    def _outrun(self, left: Sequence[Runner]) -> dict[Runner, Outrun]:
        """Who of those that are left is outrun. They leave the standings: of two equal ones, one goes on."""
        found = {}
        for runner in left:
            outrun = None if runner in self.kept_on else outrun_by(runner, self.standings, self.figures, self.retired)
            if outrun is not None:
                found[runner] = outrun
                self.retired[runner] = self.standings.pop(runner)
        return found


@dataclass(frozen=True)
class Outrun:
    """Why a runner need not go on.

    Attributes:
        by: who has reached what it cannot, figure by figure.
        share: it has made 1 / `share` of its steps.
        reason: the figures, in words.
    """

    by: frozenset[Runner]
    share: int
    reason: str


def outrun_by(
    runner: Runner,
    standings: Mapping[Runner, Mapping[int, Standing]],
    figures: Sequence[str] = RACED,
    retired: Mapping[Runner, Mapping[int, Standing]] = MappingProxyType({}),
) -> Outrun | None:
    """Why a runner need not go on: for each figure, who has reached what it cannot. None if it may lead.

    Its optimistic end is what it has reached, the gain of its last fourfold steps once for each time that its steps can
    still be multiplied by four, and a standard error of all that beside the leader. Neither it nor its upper end may
    exceed the leader's. Who gains nothing may not have begun: a network goes on until it has made 1 / `BEGUN` of its
    steps, an optimisation to its end. A share of images that is still 0 says little: the mean SSIM takes its place.

    Whoever does the same and sees more gains no less from further steps. Who is not ahead of such a one at the same
    rung is outrun, also if that one was outrun itself.

    Args:
        runner: with at least one rung behind it; else it goes on.
        standings: of all that are still in the race, by the share of the steps at each rung.
        figures: those that count.
        retired: standings of those that were outrun.
    """
    own = standings[runner]
    if not own:
        return None
    last = min(own)
    rivals = {rival: theirs for rival, theirs in standings.items() if theirs}
    rivals |= {rival: theirs for rival, theirs in retired.items() if last in theirs and _sees_more(rival, runner, last)}
    rivals = {rival: theirs for rival, theirs in rivals.items() if may_outrun(rival, runner)}
    counted = [_told(own[last], figure) for figure in figures if figure in own[last].figures]
    found = [_beaten_in(figure, runner, own, rivals) for figure in counted]
    beaten = [each for each in found if each is not None]
    if len(beaten) < len(found):
        return None
    what = "steps" if iterated(runner.variant.attack) else "images"
    said = f"outrun at 1/{last} of the {what}: {'; '.join(text for _, text in beaten)}"
    return Outrun(frozenset(rival for rival, _ in beaten), last, said)


def _told(standing: Standing, figure: str) -> str:
    """The figure to look at: the mean SSIM in place of a share of reconstructed images that is still 0."""
    return "ssim" if figure == "reconstructed" and not any(standing.figures[figure]) else figure


def _beaten_in(
    figure: str, runner: Runner, own: Mapping[int, Standing], rivals: Mapping[Runner, Mapping[int, Standing]]
) -> tuple[Runner, str] | None:
    """Who has reached what a runner cannot, and the numbers."""
    last, ends = min(own), _Ends.of(own, runner)
    for rival, theirs in rivals.items():
        if _sees_more(rival, runner, last) and last in theirs:
            count = min(len(each[last].figures[figure]) for each in (own, theirs))
            end, leads = (each[last].reached(figure, count) for each in (own, theirs))
            beaten = end <= leads
        elif ends is not None:
            leader = theirs[min(theirs)]
            end, leads = _beside(ends.now, ends.then, ends.slope, leader, figure)
            beaten = leads + WORTH - end >= max(0.0, ends.now.leeway(figure) - leader.leeway(figure))
        else:
            continue
        if beaten:
            here = own[last].reached(figure, len(own[last].figures[figure]))
            return rival, f"{figure} {here:.3f}, {end:.3f} at best, and {rival.label} has {leads:.3f}"
    return None


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


def _sees_more(rival: Runner, runner: Runner, share: int) -> bool:
    """Whether a rival does the same and sees more.

    That is more releases, the defense, images of the targets' kind, or the device itself in place of an imitation.
    Networks that read more releases may be under-trained at 1/64 of the steps, so these count from the next rung on.
    """
    theirs, own = rival.variant, runner.variant
    if theirs.attack.name != own.attack.name:
        return theirs.attack.name == weaker_form_of(own.attack) and theirs.queries >= own.queries
    if own.naive or own.other:
        return True
    return theirs.queries > own.queries and (own.attack.per_image or share < TRAINED_SHARES[0])
