"""Accuracy and its paired drop: intervals that cover, metrics of any shape, refusals that say what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from collabplan.planner.accuracy import FOLDS, ScaleOfMetric, Scorer, Scores, beside_constant, paired_accuracy
from collabplan.planner.recognise import recognise
from collabplan.records import TargetError


def scores(values):
    return Scores("top-1 accuracy", np.asarray(values, dtype=float), True, len(values))


def test_the_drop_is_paired():
    generator = np.random.default_rng(0)
    before = (generator.random(400) < 0.7).astype(float)
    after = before.copy()
    after[np.flatnonzero(before)[:8]] = 0.0
    made = paired_accuracy(scores(before), [scores(after)])
    assert made.drop.value == pytest.approx(8 / 400)
    assert made.accuracy.value == pytest.approx(made.undefended - made.drop.value)
    width, unpaired = made.drop.high - made.drop.low, made.accuracy.high - made.accuracy.low
    assert width < unpaired / 2


def test_no_change_seen_is_not_no_change():
    same = scores(np.ones(200))
    assert paired_accuracy(same, [same]).drop.high > 3 / 200 * 0.5
    assert paired_accuracy(same, [same], changes=False).drop.high == 0.0


def test_draws_are_averaged_per_sample():
    before = scores([1.0, 1.0, 1.0, 1.0])
    made = paired_accuracy(before, [scores([1.0, 0.0, 1.0, 1.0]), scores([0.0, 1.0, 1.0, 1.0])])
    assert made.drop.value == pytest.approx(0.25)
    assert made.draws == 2


@pytest.mark.parametrize(("lost", "won"), [(0.01, 0.0), (0.05, 0.02), (0.3, 0.05)])
def test_the_interval_covers_the_true_drop(lost, won):
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        kind = generator.choice(3, size=150, p=[lost, won, 1 - lost - won])
        before, after = np.where(kind == 1, 0.0, 1.0), np.where(kind == 0, 0.0, 1.0)
        drop = paired_accuracy(scores(before), [scores(after)]).drop
        covered += drop.low <= lost - won <= drop.high
    assert covered / 400 > 0.93


def tallied(scorer, outputs, labels, size=16):
    tally = scorer.tally()
    for at in range(0, len(outputs), size):
        part = outputs[at : at + size]
        tally.add(part, None if labels is None else labels[at : at + size], len(part))
    return tally.finish()


def test_a_metric_with_one_score_per_sample_is_paired():
    made = tallied(Scorer(lambda out, labels: (out - labels).abs()), torch.ones(40), torch.zeros(40))
    assert made.per_sample
    assert made.values.tolist() == [1.0] * 40


def test_a_metric_with_a_single_score_is_taken_over_folds():
    outputs = torch.arange(40.0)
    made = tallied(Scorer(lambda out, _labels: out.mean()), outputs, None)
    assert not made.per_sample
    assert len(made.values) == FOLDS
    assert made.values.mean() == pytest.approx(19.5)
    assert paired_accuracy(made, [made]).drop.high >= 3 / 40


def test_a_single_score_needs_enough_samples():
    with pytest.raises(TargetError, match="at least 20 samples"):
        tallied(Scorer(lambda out, _labels: out.mean()), torch.arange(10.0), None)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(TargetError, match="not finite"):
        tallied(Scorer(lambda _out, _labels: float("nan")), torch.ones(40), None)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "returned None; return one score a sample \\(16 here\\)"),
        (True, "returned True"),
        (torch.tensor(True), "truth values of shape \\(\\)"),
        (torch.ones(15), "numbers of shape \\(15,\\) for 16 samples"),
        (torch.ones(16, 2), "numbers of shape \\(16, 2\\)"),
        ({"accuracy": 1.0}, "returned a dict"),
        ("0.9", "returned a str"),
        ([[1.0], [1.0, 2.0]], "a list of no numbers"),
    ],
)
def test_a_metric_that_returns_no_scores_is_refused_with_its_first_batch(made, said):
    tally = Scorer(lambda _out, _labels: made).tally()
    with pytest.raises(TargetError, match=said):
        tally.add(torch.ones(16), None, 16)


@pytest.mark.parametrize("made", [torch.ones(16, dtype=torch.bool), np.ones(16), [1.0] * 16, torch.ones(16).half()])
def test_scores_may_be_truth_values_arrays_or_lists(made):
    assert Scorer(lambda _out, _labels: made).call(torch.ones(16), None, 16).tolist() == [1.0] * 16


def test_samples_whose_labels_are_all_ignored_do_not_count():
    outputs = torch.eye(3).repeat(4, 1)[:, :, None]
    labels = torch.tensor([0, 1, 2] * 4)[:, None]
    labels[:3], labels[3] = 255, 1
    made = tallied(Scorer(recognise(outputs, labels, 12)), outputs, labels, size=5)
    assert (made.sample_count, made.values.tolist()) == (9, [0.0] + [1.0] * 8)
    with pytest.raises(TargetError, match="all labels of 3 samples are ignored"):
        tallied(Scorer(recognise(outputs, labels, 12)), outputs[:3], labels[:3])


def test_a_drop_of_explained_variance_is_paired_and_no_share():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randn(300, generator=generator) * 40 + 100
    outputs = labels[:, None] + torch.randn(300, 1, generator=generator)
    scorer = Scorer(recognise(outputs, labels, 300))
    before = tallied(scorer, outputs, labels)
    noise = torch.randn(300, 1, generator=generator) * 20
    made = paired_accuracy(before, [tallied(scorer, outputs + noise, labels)])
    assert made.metric == "R2"
    lost = (outputs + noise - labels[:, None]).square().mean() - (outputs - labels[:, None]).square().mean()
    assert made.drop.value == pytest.approx(float(lost / labels.var(correction=0)), rel=1e-4)
    assert 0.2 < made.drop.low < made.drop.value < made.drop.high < 0.45
    spoilt = paired_accuracy(before, [tallied(scorer, outputs + 10 * noise, labels)])
    assert spoilt.accuracy.value < -10, "worse than the mean label is below 0"


def test_a_model_no_better_than_a_constant_is_told():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (400,), generator=generator)
    for outputs, says in (
        (torch.randn(400, 1, generator=generator), "accuracy at logit 0 0."),
        (torch.randn(400, 2, generator=generator), "is no better than always answering class"),
        (torch.randn(400, 1, generator=generator) + 9 * labels[:, None] - 4, None),
    ):
        reading = recognise(outputs, labels, 400)
        said = beside_constant(reading, tallied(Scorer(reading), outputs, labels).values, labels)
        assert (said is None) if says is None else (says in said)
    numbers = torch.randn(400, generator=generator)
    reading = recognise(numbers.flip(0), numbers, 400)
    said = beside_constant(reading, tallied(Scorer(reading), numbers.flip(0), numbers).values, numbers)
    assert "always answering with the mean label" in said


def test_a_budget_that_admits_answers_to_other_samples_is_told():
    def evaluate(outputs, labels):
        return -((outputs - labels) ** 2).mean(1)

    labels = torch.rand(64, 5, generator=torch.Generator().manual_seed(0)) * 0.1
    scale = ScaleOfMetric.of(Scorer(evaluate), labels + 0.001, labels, 64)
    assert scale is not None
    assert scale.own == pytest.approx(-1e-6, rel=1e-2)
    assert scale.others < -1e-3
    said = scale.beside(0.05, "evaluate")
    assert said is not None
    assert "--max-accuracy-drop 0.05 lets all of that be lost; give less than 0.0014" in said
    assert scale.beside(1e-4, "evaluate") is None
    nothing = ScaleOfMetric(0.5, 0.5).beside(0.05, "evaluate")
    assert nothing is not None
    assert "means nothing" in nothing


def test_a_metric_that_cannot_score_the_answers_to_other_samples_has_no_scale():
    def evaluate(outputs, labels):
        return torch.where((outputs == labels).all(), 1.0, torch.nan).expand(len(labels))

    assert ScaleOfMetric.of(Scorer(evaluate), torch.arange(4), torch.arange(4), 4) is None
