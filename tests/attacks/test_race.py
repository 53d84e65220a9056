"""Attackers with known learning curves: who is outrun, and who never may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from collabplan.attacks import AdversaryView, Attacker, Effort
from collabplan.attacks.audit_request import AttackVariant
from collabplan.attacks.race import Run, Runner, may_outrun, outrun_by, race, reduced
from collabplan.attacks.releases import CopyKind
from collabplan.attacks.standing import Course, Standing
from collabplan.records import Threat

EFFORT = Effort("standard", 1000, 8000, 6400, 3200, 100, 64, until_converged=True)
WHOLE = 1


@dataclass(frozen=True)
class Scripted:
    """An attack whose figures are told beforehand: `curve` gives the index at a share of the steps."""

    name: str
    curve: dict[int, float] = field(default_factory=dict, hash=False)
    threat: Threat = "black-box"
    per_image: bool = False
    iterated: bool | None = True
    revision: ClassVar[int] = 1

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        raise AssertionError("the track plays it")


class Imitating(Scripted):
    weaker_form_of: ClassVar[str] = "inverse"


def runner(name: str, *curve: float, threat: Threat = "black-box", per_image: bool = False, **more: object) -> Runner:
    """With figures at each rung, and at the end."""
    shares = (32, 8, 1) if per_image else (64, 16, 4, 1)
    known = dict(zip(shares, curve, strict=True)) if len(curve) > 1 else {8: curve[0], WHOLE: curve[0]}
    attack = Scripted(name, known, threat, per_image, iterated=len(curve) > 1)
    return Runner(AttackVariant(attack, **more))  # type: ignore[arg-type]


def standing(index: float, shown: float | None = None, *, count: int = 200, spread: float = 0.001) -> Standing:
    """Images that differ by little, so chance plays no part."""
    alternating = [index + spread * (-1) ** at for at in range(count)]
    figures = {"index": tuple(alternating)}
    if shown is not None:
        figures["reconstructed"] = tuple(float(at < shown * count) for at in range(count))
    return Standing(figures, targets=1000)


def shared(effort: Effort) -> int:
    """By which an effort is smaller than the whole one."""
    return max(EFFORT.train_steps // effort.train_steps, EFFORT.fit_samples // effort.fit_samples)


class Played:
    """A track that plays curves, and notes who ran how far."""

    def __init__(
        self, broken: Mapping[str, int] | None = None, empty: Sequence[str] = (), failing: Sequence[str] = ()
    ) -> None:
        self.broken, self.empty, self.failing = broken or {}, empty, failing
        self.gone_on: list[tuple[str, int]] = []
        self.practised: list[tuple[str, int]] = []
        self.ends: dict[str, str] = {}

    def free(self, runs: Sequence[Run], *, practised: bool) -> Iterator[Run]:  # noqa: ARG002
        return iter(runs)

    def practise(self, runner: Runner, effort: Effort) -> Standing | None:
        share = shared(effort)
        self.practised.append((runner.label, share))
        attack = runner.variant.attack
        assert isinstance(attack, Scripted)
        return None if self.broken.get(attack.name) == share else standing(attack.curve[share])

    def finish(self, runner: Runner) -> bool:
        self.ends[runner.label] = "whole"
        return runner.variant.attack.name not in (*self.broken, *self.empty)

    def holds(self, runner: Runner, effort: Effort) -> bool:  # noqa: ARG002
        return True

    def go_on(self, runner: Runner, effort: Effort) -> None:
        self.gone_on.append((runner.label, shared(effort)))

    def drop(self, runner: Runner, effort: Effort, reason: str) -> bool:
        assert reason
        if runner.label in self.failing:
            return False
        self.ends[runner.label] = f"1/{shared(effort)}"
        return True


def ends(
    *runners: Runner, broken: Mapping[str, int] | None = None, empty: Sequence[str] = (), failing: Sequence[str] = ()
) -> dict[str, str]:
    track = Played(broken, empty, failing)
    race(runners, EFFORT, track, images=EFFORT.fit_samples)
    return track.ends


def test_who_cannot_reach_the_leader_is_outrun_and_the_leader_runs_to_its_end() -> None:
    found = ends(runner("ridge", 0.4), runner("slow", 0.1, 0.2, 0.3, 0.4), runner("best", 0.3, 0.5, 0.6, 0.65))
    assert found == {"ridge": "whole", "slow": "1/16", "best": "whole"}


def test_a_late_starter_is_not_judged_by_its_start() -> None:
    crossing = runner("late", 0.05, 0.25, 0.55, 0.8)
    idle = runner("idle", 0.2, 0.2, 0.45, 0.9)
    found = ends(runner("early", 0.5, 0.55, 0.58, 0.6), crossing, idle)
    assert found["late"] == "whole"
    assert found["idle"] == "whole", "flat at its linear start, and steep later"


def test_an_optimisation_that_has_not_begun_runs_to_its_end() -> None:
    untrained = runner("untrained", 0.0, 0.0, 0.9, threat="white-box", per_image=True)
    refined = runner("refined", 0.55, 0.6, 0.62, threat="white-box", per_image=True)
    found = ends(runner("kernel", 0.7), untrained, refined)
    assert found == {"kernel": "whole", "untrained": "whole", "refined": "1/8"}


def test_of_two_equal_attackers_one_goes_on() -> None:
    curve = (0.3, 0.5, 0.5005, 0.5005)
    found = ends(runner("one", *curve), runner("two", *curve))
    assert sorted(found.values()) == ["1/4", "whole"]


def test_a_leader_that_gave_nothing_in_the_end_lets_those_it_outran_run_on() -> None:
    runners = (
        runner("first", 0.5, 0.8, 0.9, 0.9),
        runner("second", 0.2, 0.3, 0.35, 0.4),
        runner("third", 0.1, 0.11, 0.1, 0.1),
    )
    assert ends(*runners)["second"] == "1/16"
    assert ends(*runners, empty=["first"]) == {"first": "whole", "second": "whole", "third": "whole"}


def test_who_fails_at_a_rung_is_run_to_its_end_and_outruns_nobody() -> None:
    broken = runner("broken", 0.9, 0.9, 0.9, 0.9)
    assert ends(broken, runner("other", 0.1, 0.2, 0.3, 0.4), broken={"broken": 64}) == {
        "broken": "whole",
        "other": "whole",
    }


def test_a_closed_form_starts_with_fewer_images_and_only_its_own_kind_outruns_it_there() -> None:
    track = Played()
    race([runner("ridge", 0.4), runner("ridge", 0.3, naive=True), runner("kernel", 0.1)], EFFORT, track, images=8000)
    assert track.practised == [("ridge", 8), ("ridge (naive)", 8), ("kernel", 8), ("ridge", 1), ("kernel", 1)]
    assert track.ends == {"ridge (naive)": "1/8", "ridge": "whole", "kernel": "whole"}


def test_a_closed_form_with_few_images_has_no_first_rung() -> None:
    track = Played()
    race([runner("ridge", 0.4), runner("ridge", 0.3, naive=True)], EFFORT, track, images=900)
    assert track.ends == {"ridge (naive)": "whole", "ridge": "whole"}


def test_rungs_make_exactly_their_share_of_the_steps() -> None:
    effort = reduced(EFFORT, 16)
    assert (effort.train_steps, effort.iterations, effort.until_converged) == (400, 200, False)
    assert reduced(EFFORT, 1) == EFFORT


def test_a_white_box_attacker_outruns_no_black_box_one_and_query_free_ones_race_against_these() -> None:
    query_free, black, white = (
        runner(threat, 0.1, 0.1, 0.1, 0.1, threat=threat) for threat in ("query-free", "black-box", "white-box")
    )
    assert not may_outrun(white, black)
    assert may_outrun(black, white)
    assert may_outrun(black, query_free)
    assert may_outrun(query_free, black)
    assert not may_outrun(white, query_free)


def test_who_knows_less_outruns_nobody() -> None:
    curve = (0.1, 0.1, 0.1, 0.1)
    plain, naive = runner("inverse", *curve), runner("inverse", *curve, naive=True)
    other, many = runner("inverse", *curve, other="random queries"), runner("inverse", *curve, queries=10)
    assert not may_outrun(naive, plain)
    assert not may_outrun(other, plain)
    assert not may_outrun(plain, many), "who sees more is under-trained, not outrun"
    assert may_outrun(many, plain)
    assert not may_outrun(plain, plain)


def two(figures: Standing, before: Standing, leader: Standing, *, per_image: bool = False) -> str:
    """Why a runner with these figures after its last two rungs is outrun."""
    own = runner("own", *([0.1] * (3 if per_image else 4)), threat="white-box", per_image=per_image)
    rungs = (8, 32) if per_image else (16, 64)
    standings = {own: dict(zip(rungs, (figures, before), strict=True)), runner("leader", 0.5): {1: leader}}
    outrun = outrun_by(own, standings)
    return "" if outrun is None else outrun.reason


def test_who_sees_less_by_the_same_means_is_outrun_at_the_first_rung() -> None:
    found = ends(
        runner("inverse", 0.2, 0.3, 0.4, 0.5),
        runner("inverse", 0.15, 0.25, 0.35, 0.45, naive=True),
        runner("inverse", 0.3, 0.4, 0.5, 0.6, queries=10),
    )
    assert found == {"inverse": "1/16", "inverse (naive)": "1/64", "inverse (10 releases)": "whole"}


def test_who_sees_less_and_does_better_goes_on() -> None:
    plain, many = runner("inverse", 0.3, 0.4, 0.5, 0.6), runner("inverse", 0.2, 0.3, 0.45, 0.6, queries=10)
    assert ends(plain, many) == {"inverse": "whole", "inverse (10 releases)": "whole"}


def test_a_failure_is_never_hidden_as_outrun() -> None:
    weak = runner("weak", 0.1, 0.2, 0.25, 0.3)
    strong = runner("strong", 0.5, 0.6, 0.7, 0.8)
    assert ends(weak, strong)["weak"] == "1/16"
    assert ends(weak, strong, failing=["weak"]) == {"weak": "whole", "strong": "whole"}


def test_who_breaks_down_later_outruns_nobody_any_more() -> None:
    found = ends(runner("breaks", 0.8, 0.9, 0.9, 0.9), runner("other", 0.1, 0.2, 0.3, 0.4), broken={"breaks": 16})
    assert found == {"breaks": "whole", "other": "whole"}


def test_who_was_outrun_by_one_that_holds_is_not_taken_up_for_another_that_does_not() -> None:
    ridge, broken = runner("ridge", 0.8), runner("broken", 0.5, 0.6, 0.7, 0.8, threat="white-box")
    slow = runner("slow", 0.1, 0.2, 0.3, 0.4)
    assert ends(ridge, broken, slow, empty=["broken"])["slow"] == "1/16"


def test_an_attack_that_does_not_say_whether_it_makes_steps_is_run_whole() -> None:
    custom = Runner(AttackVariant(Scripted("custom", {1: 0.2}, iterated=None)))
    track = Played()
    race([custom, runner("ridge", 0.8)], EFFORT, track, images=8000)
    assert track.ends["custom"] == "whole"
    assert ("custom", 64) not in track.practised


def test_who_goes_on_gives_its_claim_up() -> None:
    track = Played()
    race([runner("one", 0.1, 0.2, 0.3, 0.4)], EFFORT, track, images=8000)
    assert track.gone_on == [("one", 64), ("one", 16), ("one", 4)]


def test_a_share_that_is_still_zero_is_judged_by_the_mean_ssim() -> None:
    def shown(index: float, ssim: float) -> Standing:
        figures = {"reconstructed": (0.0,) * 200, "ssim": (ssim,) * 200}
        return Standing({**standing(index).figures, **figures}, targets=1000)

    leader = Standing({**standing(0.6, 0.2).figures, "ssim": (0.3,) * 200}, targets=1000)
    assert two(shown(0.3, 0.1), shown(0.25, 0.1), leader)
    assert not two(shown(0.3, 0.25), shown(0.25, 0.2), leader), "its pictures may become recognisable"


def test_indices_of_few_images_and_of_many_have_one_measure() -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(200, 1, 16, 16, generator=draws) * torch.linspace(0.1, 1, 200)[:, None, None, None]
    course = Course(images, images, images.mean(dim=0))
    made = images.mean(dim=0) + 0.5 * (images - images.mean(dim=0))
    few, many = course.standing(made[:50], 100), course.standing(made, 1000)
    assert few is not None
    assert many is not None
    assert few.reached("index", 50) == pytest.approx(many.reached("index", 50), abs=1e-6)


def test_who_imitates_the_device_is_outrun_by_who_queries_it() -> None:
    shadow = Runner(AttackVariant(Imitating("shadow", {64: 0.2, 16: 0.3, 4: 0.4, 1: 0.5}, "query-free")))
    inverse, other = runner("inverse", 0.3, 0.4, 0.5, 0.6), runner("other", 0.3, 0.4, 0.5, 0.6, threat="white-box")
    assert ends(shadow, inverse)["shadow"] == "1/64"
    assert ends(shadow, other)["shadow"] == "whole"


def test_who_sees_less_than_one_that_was_outrun_is_outrun_as_well() -> None:
    kernel = runner("kernel", 0.9)
    inverse = runner("inverse", 0.3, 0.32, 0.33, 0.33)
    shadow = Runner(AttackVariant(Imitating("shadow", {64: 0.31, 16: 0.31, 4: 0.4, 1: 0.5}, "query-free")))
    assert ends(kernel, inverse, shadow) == {"kernel": "whole", "inverse": "1/16", "shadow": "1/16"}


def test_exact_repeats_and_near_duplicates_see_as_much_as_each_other() -> None:
    curve = (0.3, 0.4, 0.5, 0.6)
    exact = runner("inverse", *curve, queries=10)
    near = Runner(runner("inverse", 0.2, 0.35, 0.5, 0.6, queries=10).variant, CopyKind(shift=0, noise=1 / 255))
    assert ends(exact, near) == {exact.label: "whole", near.label: "whole"}


def test_every_figure_must_be_out_of_reach() -> None:
    assert two(standing(0.3, 0.1), standing(0.25, 0.1), standing(0.6, 0.4))
    assert not two(standing(0.3, 0.5), standing(0.25, 0.5), standing(0.6, 0.4)), "recognised more often"
    assert not two(standing(0.3, 0.3), standing(0.25, 0.1), standing(0.6, 0.4)), "gaining on it"


def test_few_targets_leave_an_upper_end_that_the_leader_must_exceed_as_well() -> None:
    few = Standing(standing(0.3, 0.3).figures, targets=50)
    many = standing(0.6, 0.36)
    assert two(standing(0.3, 0.3), standing(0.25, 0.3), many)
    assert not two(few, Standing(standing(0.25, 0.3).figures, targets=50), many)


def test_nobody_can_end_above_one() -> None:
    assert two(standing(0.9), standing(0.6), standing(0.997))


def test_a_scattered_difference_is_no_certainty() -> None:
    noisy = standing(0.3, spread=2.0, count=20)
    assert not two(noisy, standing(0.29, spread=2.0, count=20), standing(0.6, spread=0.0, count=20))


def test_the_reason_names_figure_leader_and_numbers() -> None:
    said = two(standing(0.3), standing(0.25), standing(0.6))
    assert said.startswith("outrun at 1/16 of the steps: index 0.300, 0.400 at best")
    assert said.endswith("and leader has 0.600")


def test_a_standing_is_of_the_figures_that_budgets_limit() -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(30, 1, 16, 16, generator=draws)
    gallery = torch.cat([images, torch.rand(70, 1, 16, 16, generator=draws)])
    region = torch.zeros(16, 16)
    region[:4] = 1
    course = Course(
        images, gallery, images.mean(dim=0), region, lambda made: torch.ones(len(made), dtype=torch.float64)
    )
    perfect, blank = course.standing(images[:20], 100), course.standing(images.mean(dim=0).expand_as(images), 1000)
    assert perfect is not None
    assert blank is not None
    assert {name: perfect.reached(name, 20) for name in perfect.figures} == pytest.approx(
        {"index": 1.0, "ssim": 1.0, "reconstructed": 1.0, "region": 1.0, "consistency": 1.0}
    )
    assert blank.reached("index", 30) == pytest.approx(0, abs=1e-6)
    assert blank.reached("reconstructed", 30) == 0
    half = images.clone()
    half[:, :, 4:] = images.mean(dim=0)[:, 4:]
    seen = course.standing(half, 1000)
    assert seen is not None
    assert seen.reached("region", 30) == pytest.approx(1.0)
    assert 0.1 < seen.reached("index", 30) < 0.5
    assert course.standing(torch.full((3, 1, 16, 16), torch.nan), 10) is None
