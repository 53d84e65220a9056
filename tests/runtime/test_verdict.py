"""What counts as outside the plan: a median or an accuracy whose interval leaves the plan's."""

from __future__ import annotations

import pytest
from bundle_plans import Made, SkipNet, crossing, images, make
from collabplan.records import Interval, Measured, Plan
from collabplan.runtime import EdgePart, open_edge, write_bundle
from collabplan.runtime.device.stopwatch import TimeSpent
from collabplan.runtime.verdict import Measurements, judged, median_interval


@pytest.fixture(scope="module")
def made() -> Made:
    return make(SkipNet(), images, crossing("relu", "conv2d_1"))


@pytest.fixture(scope="module")
def part(made: Made, tmp_path_factory: pytest.TempPathFactory) -> EdgePart:
    folder = tmp_path_factory.mktemp("verdict") / "bundle"
    write_bundle(made.plan, made.traced, made.cut, folder)
    return open_edge(folder)


def planned(plan: Plan, *, p50: tuple[float, float], accuracy: tuple[float, float]) -> Plan:
    latency = plan.chosen.latency.model_copy(update={"p50_ms": between(*p50)})
    scored = plan.chosen.accuracy.model_copy(update={"accuracy": between(*accuracy)})
    chosen = plan.chosen.model_copy(update={"latency": latency, "accuracy": scored})
    return plan.model_copy(update={"chosen": chosen})


def between(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high)


def verdict(
    plan: Plan, part: EdgePart, accuracy: Interval, *, exact: int | str | None = None, same_samples: bool = True
) -> Measured:
    spent = [TimeSpent(total=10.0, edge=2.0, defense=1.0, way=4.0, cloud=3.0)] * 9
    found = Measurements(plan.link, True, spent, spent, accuracy, "top-1 accuracy", 7, exact)
    return judged(plan, part, found, same_samples=same_samples)


def test_a_plan_that_holds_has_no_violation(made: Made, part: EdgePart) -> None:
    plan = planned(made.plan, p50=(9.0, 11.0), accuracy=(0.8, 0.9))
    found = verdict(plan, part, between(0.82, 0.88), exact=7)
    assert found.violations == ()
    assert found.exact_samples == 7
    assert (found.p50_ms.value, found.direct and found.direct.p50_ms) == (10.0, 4.0)


@pytest.mark.parametrize(("p50", "side"), [((1.0, 2.0), "slower"), ((20.0, 30.0), "faster")])
def test_a_median_outside_the_plans_interval_is_a_violation(
    made: Made, part: EdgePart, p50: tuple[float, float], side: str
) -> None:
    plan = planned(made.plan, p50=p50, accuracy=(0.8, 0.9))
    (violation,) = verdict(plan, part, between(0.8, 0.9)).violations
    assert violation.startswith(f"latency is {side} than planned: p50 10 ms")


def test_small_times_keep_their_digits(made: Made, part: EdgePart) -> None:
    plan = planned(made.plan, p50=(0.0312, 0.0548), accuracy=(0.8, 0.9))
    (violation,) = verdict(plan, part, between(0.8, 0.9)).violations
    assert "0.0312 to 0.0548 ms" in violation


def test_on_the_same_samples_the_accuracy_itself_must_lie_in_the_plans_interval(made: Made, part: EdgePart) -> None:
    plan = planned(made.plan, p50=(9.0, 11.0), accuracy=(0.8, 0.9))
    (violation,) = verdict(plan, part, between(0.6, 0.9)).violations
    assert violation.startswith("accuracy over the wire is 0.7500")


def test_on_other_samples_the_two_intervals_must_overlap(made: Made, part: EdgePart) -> None:
    plan = planned(made.plan, p50=(9.0, 11.0), accuracy=(0.8, 0.9))
    assert verdict(plan, part, between(0.6, 0.81), same_samples=False).violations == ()
    assert len(verdict(plan, part, between(0.6, 0.79), same_samples=False).violations) == 1


def test_outputs_that_differ_are_a_violation_and_no_exact_samples(made: Made, part: EdgePart) -> None:
    plan = planned(made.plan, p50=(9.0, 11.0), accuracy=(0.8, 0.9))
    found = verdict(plan, part, between(0.8, 0.9), exact="undefended outputs differ")
    assert found.violations == ("undefended outputs differ",)
    assert found.exact_samples is None


def test_the_median_has_an_interval() -> None:
    found = median_interval([float(number) for number in range(101)])
    assert found.value == 50.0
    assert 40 <= found.low < 50 < found.high <= 60
    one = median_interval([3.0])
    assert (one.low, one.value, one.high) == (3.0, 3.0, 3.0)
