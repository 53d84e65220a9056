"""Controls: the answers are known, and who cannot know them is not blamed."""

import math

import pytest
from collabplan.estimators import estimator_named, run_controls
from collabplan.estimators.interface import Estimate
from collabplan.estimators.kde import Kde
from collabplan.estimators.mine import Mine
from collabplan.records import CollabplanError


@pytest.fixture(scope="module")
def rows():
    import torch

    estimators = [estimator_named(name) for name in ("kde", "sandwich", "logdet", "ksg")] + [Mine(seeds=1, steps=100)]
    return run_controls(estimators, generator=torch.Generator().manual_seed(0), samples=200)


def test_nobody_fails(rows):
    assert [row for row in rows if row.passed is False] == []


def test_every_control_is_answered_by_somebody(rows):
    for control in {row.control for row in rows}:
        assert any(row.passed for row in rows if row.control == control), control


def test_the_truths_are_stated(rows):
    truths = {row.control: row.truth for row in rows}
    assert truths["Gaussian channel, 3 nats"] == 3
    assert truths["10-point source"] == pytest.approx(math.log(10))
    assert truths["constant T"] == 0


def test_who_does_not_look_at_x_is_not_judged_by_shuffling(rows):
    by = {(row.control, row.estimator): row for row in rows}
    assert by["shuffled pairs", "sandwich"].passed is None
    assert by["shuffled pairs", "mine"].passed
    assert by["shuffled pairs", "ridge"].value <= 0.02
    assert by["identity cut", "ridge"].value >= 0.95


def test_a_refusal_is_no_failure(rows):
    refused = next(row for row in rows if row.estimator == "ksg" and row.control.startswith("Gaussian"))
    assert (refused.passed, refused.value) == (None, None)
    assert "dimensions" in refused.note


def test_too_few_samples_are_refused(generator):
    with pytest.raises(CollabplanError, match="at least 200"):
        run_controls([], generator=generator, samples=100)


class Fixed:
    """One answer to everything."""

    def __init__(self, name, lower, value, upper):
        self.name, self.revision, self.answer = name, 1, (value, lower, upper)

    def estimate(self, channel, generator):  # noqa: ARG002
        return Estimate(*self.answer, meaning="bound", saturated=False, samples=len(channel), assumes="nothing")


@pytest.mark.parametrize(
    ("answer", "passed"),
    [((None, 90.0, None), None), ((90.0, 95.0, 99.0), False), ((0.0, 2.0, 4.0), True)],
    ids=["no ends", "wrong ends", "right ends"],
)
def test_an_estimator_of_others_is_judged_by_its_ends_where_it_has_any(answer, passed, generator):
    rows = run_controls([Fixed("mine's rival", *answer)], generator=generator, samples=200, ridge=False)
    by = {row.control: row.passed for row in rows}
    assert by["Gaussian channel, 3 nats"] is passed
    assert by["constant T"] is False


def test_wide_ends_do_not_excuse_the_kde_on_points(generator):
    rows = run_controls([Fixed(Kde().name, 0.0, 4.0, 9.0)], generator=generator, samples=200, ridge=False)
    assert {row.control: row.passed for row in rows}["10-point source"] is False
