"""Outputs and labels that may be meant in two ways: the right one is read, or a question shows a line that fits."""

from __future__ import annotations

import pytest
import torch
from collabplan.planner.recognise import recognise
from collabplan.records import TargetError
from torch import nn

N = 400


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(many, *shape, seed=1):
    return torch.randint(0, many, shape, generator=torch.Generator().manual_seed(seed))


def hot(labels, many):
    """`[N, ...]` as `[N, many, ...]`, 0 or 1."""
    return nn.functional.one_hot(labels, many).movedim(-1, 1)


def likely(labels, many):
    """Logits `[N, many, ...]` that are right for all labels."""
    return hot(labels, many) * 6.0 - 3 + normal(len(labels), many, *labels.shape[1:]).clamp(-2, 2)


BINARY, CLASS, MANY, MAP = classes(2, N), classes(3, N), classes(2, N, 3), classes(2, N, 4, 4)
SIGNS = BINARY * 2 - 1
LOGITS = 3.0 * SIGNS + normal(N).clamp(-2, 2)
SQUARES = BINARY + 0.2 * normal(N).clamp(-2, 2)
WIDE = classes(255, 3000)
NO_ROW = (torch.arange(N) % 10 > 0).long()[:, None]


def asked(outputs, labels, why, at_least=1.0):
    """What the question's own line scores on average."""
    with pytest.raises(TargetError, match=why) as refused:
        recognise(outputs, labels, len(labels))
    assert "\n" not in str(refused.value)
    line = str(refused.value).rpartition("def evaluate(outputs, labels): return ")[2]
    scores = eval(line, {"torch": torch}, {"outputs": outputs, "labels": labels})
    assert scores.shape == (len(labels),)
    assert at_least is None or float(scores.double().mean()) >= at_least


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (SQUARES, BINARY.float()[:, None]),
        (torch.cat([SQUARES[:-1], SQUARES[-1:].sign() * 2.3]), torch.cat([BINARY[:-1], torch.ones(1)])),
        (0.5 + 3 * (BINARY - 0.5 + 0.3 * normal(N).clamp(-1.6, 1.6)), BINARY),
        (MANY + 0.3 * normal(N, 3).clamp(-1.5, 1.5) * torch.tensor([1.0, 1, 1]), MANY.float()),
        (SQUARES[:, None], SIGNS[:, None]),
    ],
    ids=["squares", "one is far out", "stretched", "several", "signs"],
)
def test_numbers_that_are_right_at_a_half_are_not_read_at_zero(outputs, labels):
    asked(outputs.float(), labels, "right at 0.5 than at logit 0|do not belong")


def test_a_few_outputs_below_zero_do_not_hide_that_a_half_is_meant():
    outputs = SQUARES.clone()
    outputs[0] = -40.0 if BINARY[0] == 0 else 40.0
    asked(outputs, BINARY, "right at 0.5")
    assert recognise(LOGITS * 10, BINARY, N).name == "accuracy at logit 0"
    rare = (classes(50, N) == 0).long()
    assert recognise(3 * normal(N), rare, N).name == "accuracy at logit 0", "no threshold is better than a constant"


@pytest.mark.parametrize("labels", [SIGNS, SIGNS.float()])
def test_labels_of_two_signs_are_read_at_a_half_where_outputs_are_probabilities(labels):
    reading = recognise(torch.sigmoid(LOGITS), labels, N)
    assert (reading.name, float(reading.scores(torch.sigmoid(LOGITS), labels).mean())) == (
        "accuracy at probability 0.5", 1.0,
    )  # fmt: skip
    assert recognise(torch.tanh(LOGITS), labels, N).name == "accuracy of signs"
    assert recognise(LOGITS[:, None], labels[:, None], N).name == "accuracy of signs"
    asked(torch.sigmoid(LOGITS) * 5, labels, "all say the same", at_least=0.9)


@pytest.mark.parametrize(
    ("outputs", "labels", "why"),
    [
        (likely(CLASS, 3), CLASS - 1, "meant as labels \\+ 1"),
        (likely(BINARY, 2), BINARY - 1, "give labels \\+ 1"),
        (likely(CLASS, 3), (CLASS - 1).to(torch.uint8), "meant as labels \\+ 1"),
        (likely(MAP + 1, 3), MAP, "meant as labels \\+ 1"),
        (likely(CLASS, 4), CLASS + 1, "meant as labels - 1"),
        (likely(WIDE, 255), WIDE + 1, "give labels - 1"),
        (likely(WIDE.clamp(min=3), 255), WIDE.clamp(min=3) + 1, "meant as labels - 1"),
        (torch.cat([CLASS[:-1], CLASS[-1:] * 0]), torch.cat([CLASS[:-1] + 1, CLASS[-1:] * 0 + 1]), "labels - 1"),
    ],
    ids=["-1", "-1 of 2", "255 is -1", "0", "4 of 5", "255", "255 without 1", "whole"],
)
def test_labels_that_count_from_another_number_are_not_ignored(outputs, labels, why):
    asked(outputs, labels, why)


def test_an_untrained_model_does_not_tell_what_its_labels_count_from():
    asked(normal(N, 3), CLASS - 1, "meant as labels \\+ 1", at_least=None)


def test_what_is_plainly_ignored_stays_ignored():
    unknown = torch.where(normal(N) > 1, -1, CLASS)
    assert recognise(likely(CLASS, 3), unknown, N).name == "top-1 accuracy, -1 ignored"
    assert recognise(normal(N, 3), unknown, N).name == "top-1 accuracy, -1 ignored", "class 2 occurs"
    assert recognise(likely(CLASS, 20), unknown, N).name == "top-1 accuracy, -1 ignored", "the model says so"
    mask = torch.where(normal(N) > 1, 255, CLASS).to(torch.uint8)
    assert recognise(likely(CLASS, 20), mask, N).name == "top-1 accuracy, 255 ignored"


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (likely(MAP, 2), MAP * 255),
        (likely(MAP, 2), (MAP * 255).to(torch.uint8)),
        (likely(MAP, 2)[:, 1:], MAP * 255),
        (likely(MAP, 2)[:, 1:], MAP[:, None] * 255.0),
        (torch.sigmoid(likely(MAP, 2)[:, 1]), (MAP * 255).to(torch.uint8)),
        (LOGITS, BINARY + 1.0),
    ],
)
def test_two_values_that_are_no_0_and_1_are_two_kinds(outputs, labels):
    asked(outputs, labels, "give \\(labels > ")


def test_one_class_that_is_left_is_no_metric():
    asked(likely(BINARY, 2), torch.where(BINARY == 1, 1, -100), "one class is left", at_least=None)


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ({"features": normal(N, 3), "out": likely(CLASS, 5)}, CLASS),
        ((normal(N, 5), normal(N, 4)), classes(4, N)),
        ((SQUARES, normal(N, 2)), BINARY),
        ((likely(CLASS, 3), normal(N, 5)), CLASS + 1),
        ((normal(N, 8), normal(N, 5)), CLASS),
    ],
)
def test_of_several_tensors_none_is_guessed(outputs, labels):
    with pytest.raises(TargetError, match="may belong to"):
        recognise(outputs, labels, N)


def test_of_several_tensors_the_one_that_is_right_is_read():
    for outputs in (
        {"features": normal(N, 3), "logits": likely(CLASS, 5)},
        (normal(N, 2), likely(CLASS, 3)),
        (normal(N, 8), likely(CLASS, 3)),
    ):
        reading = recognise(outputs, CLASS, N)
        assert float(reading.scores(outputs, CLASS).mean()) == 1.0


COUNTS = torch.poisson(torch.ones(N), generator=torch.Generator().manual_seed(0)).clamp(max=2)


@pytest.mark.parametrize(
    ("outputs", "labels", "why", "at_least"),
    [
        (nn.functional.logsigmoid(LOGITS), BINARY, "all say no at logit 0", 1.0),
        (nn.functional.logsigmoid(likely(MAP, 2)[:, 1:]), MAP, "all say no", 1.0),
        (hot(MANY, 2)[:, 1:].expand(N, 5, 3) * 4.0 - 2 + 0.1 * normal(N, 5, 3), MANY, "or decisions", 1.0),
        (torch.stack([COUNTS - 1, COUNTS, COUNTS + 1], 1), COUNTS, "labels are floating", None),
        (torch.stack([COUNTS - 1, COUNTS, COUNTS + 1], 1), COUNTS.long(), "nearly the label itself", 1.0),
        (torch.stack([SQUARES, torch.full((N,), -3.0)], 1), BINARY.float(), "labels are floating", None),
        (torch.stack([SQUARES, torch.full((N,), -3.0)], 1), BINARY, "nearly the label itself", 1.0),
        (normal(N, 3, 4), classes(2, N, 3), "or decisions", None),
    ],
)
def test_a_reading_that_a_constant_equals_is_not_chosen_where_another_is_plausible(outputs, labels, why, at_least):
    asked(outputs, labels, why, at_least)


def test_an_untrained_classifier_is_read_as_one():
    for labels, many in ((CLASS, 3), (BINARY, 2), (BINARY, 3), (classes(90, N), 100)):
        assert recognise(normal(N, many), labels, N).name == "top-1 accuracy"
    assert recognise(likely(CLASS, 3), CLASS.float(), N).name == "top-1 accuracy"


@pytest.mark.parametrize(
    "labels",
    [
        hot(CLASS, 3) * NO_ROW,
        (hot(CLASS, 3) * NO_ROW).float(),
        (hot(CLASS, 3) + hot((CLASS + 1) % 3, 3) * (1 - NO_ROW)),
        hot(CLASS, 3) * (1 - NO_ROW),
    ],
    ids=["some empty", "floating", "some double", "most empty"],
)
def test_labels_that_are_nearly_one_hot_are_not_read_as_decisions(labels):
    asked(likely(CLASS, 3), labels, "one-hot with exceptions", at_least=None)
    assert recognise(likely(CLASS, 3), hot(CLASS, 3), N).one_hot
    assert recognise(likely(CLASS, 3), MANY, N).name == "accuracy of labels at logit 0"


@pytest.mark.parametrize("shape", [(N, 1, 3), (N, 3, 1), (N, 3, 1, 1), (N, 1, 1, 3)])
def test_dimensions_of_length_one_are_no_obstacle(shape):
    outputs = likely(CLASS, 3).reshape(shape)
    for labels in (CLASS, CLASS[:, None]):
        assert recognise(outputs, labels, N).scores(outputs, labels).tolist() == [1.0] * N
    asked(outputs, CLASS + 1, "give labels - 1")
