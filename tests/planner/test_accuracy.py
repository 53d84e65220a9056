"""Accuracy and its paired drop: intervals that cover, metrics of any shape, refusals that say what to do."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from collabplan.planner.accuracy import FOLDS, Scorer, Scores, paired_accuracy, top1
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


def test_top1_reads_logits_wherever_they_are():
    logits, labels = torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])
    output = namedtuple("output", ["loss", "logits"])
    for outputs in (logits, {"logits": logits}, (logits, labels), output(None, logits)):
        assert top1(outputs, labels).tolist() == [1.0, 0.0]


def test_top1_of_a_map_is_its_mean_over_positions():
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0] = 1.0
    assert top1(logits, torch.ones(1, 2, 2, dtype=torch.long)).tolist() == [0.5]


def test_labels_that_are_no_classes_are_refused():
    with pytest.raises(TargetError, match="define `evaluate"):
        top1(torch.zeros(3, 5), torch.zeros(3, 5))


def tallied(scorer, outputs, labels, size=16):
    tally = scorer.tally()
    for at in range(0, len(outputs), size):
        part = outputs[at : at + size]
        tally.add(part, None if labels is None else labels[at : at + size], len(part))
    return tally.finish()


def test_a_metric_with_one_score_per_sample_is_paired():
    made = tallied(Scorer(lambda out, labels: (out - labels).abs(), labelled=True), torch.ones(40), torch.zeros(40))
    assert made.per_sample
    assert made.values.tolist() == [1.0] * 40


def test_a_metric_with_a_single_score_is_taken_over_folds():
    outputs = torch.arange(40.0)
    made = tallied(Scorer(lambda out, _labels: out.mean(), labelled=False), outputs, None)
    assert not made.per_sample
    assert len(made.values) == FOLDS
    assert made.values.mean() == pytest.approx(19.5)
    assert paired_accuracy(made, [made]).drop.high >= 3 / 40


def test_a_single_score_needs_enough_samples():
    with pytest.raises(TargetError, match="at least 20 samples"):
        tallied(Scorer(lambda out, _labels: out.mean(), labelled=False), torch.arange(10.0), None)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(TargetError, match="not finite"):
        tallied(Scorer(lambda _out, _labels: float("nan"), labelled=False), torch.ones(40), None)


def test_without_labels_the_model_stands_in_for_them():
    scorer = Scorer(None, labelled=False)
    outputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    assert scorer.needs_own_labels
    assert scorer.call(outputs, scorer.own_labels(outputs)).tolist() == [1.0] * 8
