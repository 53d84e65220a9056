"""What accuracy means for outputs and labels of each kind; what is no such kind is refused with a line that works."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from collabplan.estimators import EdgeActivations
from collabplan.graph import trace
from collabplan.planner.readings import first_rows, tensors_of
from collabplan.planner.recognise import recognise, recognised
from collabplan.planner.suggestions import UndecidedError
from collabplan.records import TargetError
from collabplan.targets import Data
from collabplan.targets.label_names import numbered
from torch import nn

N = 60


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(many, *shape, seed=1):
    return torch.randint(0, many, shape, generator=torch.Generator().manual_seed(seed))


def one_hot(labels, many):
    """`[N, ...]` as `[N, many, ...]`."""
    return nn.functional.one_hot(labels, many).movedim(-1, 1)


def likely(labels, many):
    """Logits that are right for the labels, but for the first sample."""
    logits = one_hot(labels, many) + 0.4 * normal(len(labels), many, *labels.shape[1:]).clamp(-1, 1)
    logits[0] = one_hot((labels + 1) % many, many)[0].float()
    return logits


def signed(labels):
    """Logits of the right side for labels 0 and 1, but for the first sample."""
    logits = (labels.double() * 2 - 1) * (1 + normal(*labels.shape).abs())
    logits[0] = -logits[0]
    return logits.float()


def rows(outputs):
    return max(len(tensor) for _, tensor in tensors_of(outputs) if tensor.ndim)


def read(outputs, labels, inputs=()):
    reading = recognise(outputs, labels, rows(outputs), inputs)
    return reading.name, reading.scores(outputs, reading.own_labels(outputs) if labels is None else labels).tolist()


ONE_WRONG = [0.0] + [1.0] * (N - 1)
CLASS, MAP, TOKENS, BINARY, MANY = (
    classes(4, N), classes(4, N, 3, 5), classes(4, N, 7), classes(2, N), classes(2, N, 3),
)  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "labels", "name"),
    [
        (likely(CLASS, 4), CLASS, "top-1 accuracy"),
        (likely(CLASS, 4), CLASS[:, None], "top-1 accuracy"),
        (likely(CLASS, 4), CLASS.float(), "top-1 accuracy"),
        (likely(CLASS, 4), CLASS.to(torch.uint8), "top-1 accuracy"),
        (likely(CLASS, 4), one_hot(CLASS, 4).float(), "top-1 accuracy"),
        (likely(BINARY, 2), BINARY.bool(), "top-1 accuracy"),
        (likely(MAP, 4), MAP, "top-1 accuracy"),
        (likely(MAP, 4), MAP[:, None], "top-1 accuracy"),
        (likely(MAP, 4), one_hot(MAP, 4), "top-1 accuracy"),
        (likely(MAP, 4).movedim(1, -1), MAP, "top-1 accuracy"),
        (likely(TOKENS, 4).movedim(1, -1), TOKENS, "top-1 accuracy"),
        (signed(BINARY)[:, None], BINARY, "accuracy at logit 0"),
        (signed(BINARY)[:, None], BINARY[:, None].float(), "accuracy at logit 0"),
        (signed(BINARY), BINARY.bool(), "accuracy at logit 0"),
        (torch.sigmoid(signed(BINARY)), BINARY.float(), "accuracy at probability 0.5"),
        (signed(BINARY)[:, None], BINARY * 2 - 1, "accuracy of signs"),
        (signed(MANY), MANY.float(), "accuracy of labels at logit 0"),
        (torch.sigmoid(signed(MANY)), MANY, "accuracy of labels at probability 0.5"),
        (signed(MAP % 2)[:, None], MAP % 2, "accuracy of labels at logit 0"),
        (torch.cat([CLASS[:1] + 1, CLASS[1:]]), CLASS, "accuracy"),
    ],
)
def test_each_kind_is_read_as_what_it_is(outputs, labels, name):
    assert read(outputs, labels) == (name, ONE_WRONG)


@pytest.mark.parametrize("ignored", [255, -100, -1])
@pytest.mark.parametrize("last", [False, True])
def test_ignored_labels_do_not_count(ignored, last):
    logits, labels = likely(MAP, 4), MAP.clone()
    labels[1, 0], labels[0, 0, 1:] = ignored, ignored
    logits[0, :, 0, 0] = one_hot(MAP, 4)[0, :, 0, 0].float()
    name, scores = read(logits.movedim(1, -1) if last else logits, labels)
    assert name == f"top-1 accuracy, {ignored} ignored"
    assert scores[:2] == [pytest.approx(1 / 11), 1.0]


def test_ignored_labels_of_a_mask_of_two_kinds_do_not_count():
    labels = (MAP % 2).to(torch.uint8)
    logits = signed(labels)
    labels[0, :2], labels[2] = 255, 255
    name, scores = read(logits[:, None], labels)
    assert (name, scores[0], scores[1]) == ("accuracy of labels at logit 0", 0.0, 1.0)
    assert torch.tensor(scores[2]).isnan(), "none of its positions counts"


def test_floating_targets_are_scored_by_what_of_their_variance_is_explained():
    sklearn = pytest.importorskip("sklearn.metrics")
    labels = normal(N, 3) * torch.tensor([1.0, 10.0, 0.1]) + 5
    outputs = labels + 0.3 * normal(N, 3, seed=2) * torch.tensor([1.0, 10.0, 0.1])
    name, scores = read(outputs, labels)
    assert name == "R2"
    assert sum(scores) / N == pytest.approx(sklearn.r2_score(labels, outputs), abs=1e-5)
    for shaped in (outputs[:, :1], outputs[:, 0]):
        _, scores = read(shaped, labels[:, 0])
        assert sum(scores) / N == pytest.approx(sklearn.r2_score(labels[:, 0], outputs[:, 0]), abs=1e-5)
    images, made = normal(N, 3, 4, 4), normal(N, 3, 4, 4) * 0.9
    wanted = sklearn.r2_score(images.flatten(1), made.flatten(1), multioutput="variance_weighted")
    assert sum(read(made, images)[1]) / N == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_whole_numbers_of_a_table_are_a_regressions_labels_where_the_outputs_come_near_to_them(shape):
    ages = classes(90, N)
    labels = numbered([str(age) for age in ages.tolist()], (), "people.csv").labels
    assert not labels.is_floating_point(), "nobody who writes a table can call .float()"
    outputs = (ages + 5 * normal(N)).reshape(shape)
    reading = recognise(outputs, labels, N)
    assert reading.name == "R2"
    assert (
        reading.scores(outputs, labels).tolist()
        == recognise(outputs, labels.float(), N).scores(outputs, labels.float()).tolist()
    )
    assert reading.notes == (f"labels are whole numbers from {ages.min()} to {ages.max()}, which the outputs come near "
                             "to: read as numbers",)  # fmt: skip


def test_what_the_refusal_of_whole_numbers_says_works_in_a_table():
    labels = numbered([f"{age}.0" for age in classes(90, N).tolist()], (), "people.csv").labels
    with pytest.raises(TargetError, match=r"in a table, write them with a point: 3\.0"):
        recognise(normal(N, 1), labels.long(), N)
    assert recognise(normal(N, 1), labels, N).name == "R2"


def test_a_target_that_never_varies_is_left_out_and_told():
    labels = torch.stack([normal(N), torch.full((N,), 3.0)], dim=1)
    reading = recognise(labels + 0.1, labels, N)
    assert "1 of 2 numbers of an output do not vary" in reading.notes[0]
    assert reading.scores(labels, labels).tolist() == [1.0] * N


@pytest.mark.parametrize(
    ("outputs", "labels", "why", "wanted"),
    [
        (likely(CLASS, 4), CLASS + 1, "labels run from 1 to 4, the model has 4 classes", ONE_WRONG),
        (likely(MAP, 4), MAP + 1, "give labels - 1", ONE_WRONG),
        (likely(CLASS, 4), CLASS + 3, "labels run from 3 to 6", None),
        (likely(CLASS, 4), CLASS - 2, "labels run from -2 to 1", None),
        (likely(BINARY, 2), BINARY * 2 - 1, "labels run from -1 to 1", ONE_WRONG),
        (likely(CLASS, 4), normal(N), "labels are floating, not classes", None),
        (likely(CLASS, 4), torch.softmax(likely(CLASS, 4), 1), "distributions over classes", [1.0] * N),
        (normal(N, 1), classes(90, N), "give labels.float\\(\\)", None),
        (likely(classes(7, N, 7), 7), classes(7, N, 7), "dimension 1 or in the last", ONE_WRONG),
        (likely(CLASS, 4), normal(N, 3), "do not belong together", None),
        (likely(classes(4, N, 2, 2), 4), MAP, "do not belong together", None),
        ((likely(CLASS, 4), likely(CLASS, 4)), CLASS, "may belong to outputs\\[0\\] or outputs\\[1\\]", ONE_WRONG),
        ({"out": likely(MAP, 4), "aux": normal(N, 4, 3, 5)}, MAP, 'may belong to outputs\\["out"\\] or', ONE_WRONG),
        ({"boxes": normal(N, 9, 4), "scores": normal(N, 9)}, CLASS, 'may belong to outputs\\["scores"\\]', None),
        (
            (likely(CLASS, 4), normal(N, 1)), torch.stack([CLASS.float(), normal(N)], 1), "fit none of them", ONE_WRONG,
        ),
        ((normal(N, 3), normal(N, 3)), normal(N, 3), "may belong to", None),
    ],
)  # fmt: skip
def test_what_is_no_kind_is_refused_with_a_metric_that_runs(outputs, labels, why, wanted):
    with pytest.raises(TargetError, match=why) as refused:
        read(outputs, labels)
    assert "\n" not in str(refused.value)
    line = str(refused.value).rpartition("def evaluate(outputs, labels): return ")[2]
    scores = eval(line, {"torch": torch}, {"outputs": outputs, "labels": labels})
    assert scores.shape == (N,)
    assert wanted is None or scores.tolist() == wanted


def test_a_language_models_own_tokens_are_no_labels_for_it():
    tokens = classes(9, N, 6)
    logits = one_hot(tokens.roll(-1, 1), 9).movedim(1, -1).float()
    with pytest.raises(TargetError, match="the labels are the input tokens themselves") as refused:
        read(logits, tokens, [tokens])
    line = str(refused.value).rpartition("return ")[2]
    assert eval(line, {}, {"outputs": logits, "labels": tokens}).tolist() == [1.0] * N
    masked = torch.where(classes(3, N, 6) > 0, tokens, -100)
    with pytest.raises(TargetError, match="input tokens"):
        read(logits, masked, [tokens])
    assert read(logits, tokens.roll(-1, 1), [tokens]) == ("top-1 accuracy", [1.0] * N)


@pytest.mark.parametrize(
    "outputs",
    [
        torch.sigmoid(signed(BINARY) - 9),
        BINARY + 0.2 * normal(N),
        signed(BINARY) + 20,
    ],
    ids=["rare", "squares", "shifted"],
)
def test_one_output_that_may_be_meant_in_two_ways_is_not_guessed(outputs):
    with pytest.raises(UndecidedError, match="def evaluate"):
        read(outputs, BINARY)


def test_the_tensor_that_labels_belong_to_is_found():
    logits = likely(CLASS, 4)
    output: Any = namedtuple("output", ["loss", "logits"])
    for outputs in (
        {"logits": logits}, (logits, CLASS), output(None, logits), {"loss": torch.ones(()), "logits": logits},
        {"hidden": normal(N, 8), "logits": logits}, (normal(N, 8), logits), [normal(N, 3, 3), {"a": logits}],
    ):  # fmt: skip
        assert read(outputs, CLASS)[1] == ONE_WRONG
    images = normal(N, 3, 4, 4)
    assert read((images, normal(N, 8), normal(N, 8)), images)[0] == "R2 of outputs[0]"


@dataclass
class Answer:
    loss: torch.Tensor | None
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


class ModelOutput(OrderedDict[str, object]):
    """As a Hugging Face model answers."""


def test_logits_of_a_dataclass_or_a_model_output_are_found_by_their_name():
    logits = likely(TOKENS, 4).movedim(1, -1)
    for outputs in (
        Answer(None, logits, (normal(N, 7, 9),)),
        Answer(torch.ones(()), logits, (normal(N, 7, 4),)),
        ModelOutput(loss=torch.ones(()), logits=logits, hidden_states=(normal(N, 7, 9), normal(N, 7, 4))),
    ):
        assert read(outputs, TOKENS) == ("top-1 accuracy", ONE_WRONG)
    with pytest.raises(TargetError, match='outputs\\["start"\\] or outputs\\["end"\\]'):
        read(ModelOutput(start=likely(CLASS, 4), end=likely(CLASS, 4)), CLASS)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(TargetError, match="labels hold NaN"):
        read(normal(N, 1), torch.full((N,), torch.nan))
    with pytest.raises(TargetError, match="answers NaN"):
        read(normal(N, 4) * torch.nan, CLASS)
    with pytest.raises(TargetError, match="all labels are the same number"):
        read(normal(N, 1), torch.full((N,), 2.5))
    with pytest.raises(TargetError, match="no tensor with a row for each sample"):
        recognise(normal(3, 4), CLASS, N)
    reading = recognise(likely(CLASS, 4), CLASS, N)
    with pytest.raises(TargetError, match="do not fit"):
        reading.scores(likely(CLASS, 4), MAP)


def test_without_labels_the_model_stands_in_for_them():
    for outputs in (normal(N, 3), normal(N, 1), normal(N), torch.sigmoid(normal(N, 1)), classes(3, N)):
        assert read(outputs, None) == ("agreement with the undefended model", [1.0] * N)
    reading = recognise(normal(N, 1), None, N)
    flipped = reading.scores(-normal(N, 1), reading.own_labels(normal(N, 1)))
    assert flipped.tolist() == [0.0] * N, "the other side of 0 is another answer"


@pytest.mark.parametrize(
    "outputs",
    [normal(N, 1) + 9, normal(N, 3) + torch.tensor([9.0, 0, 0]), normal(N, 3, 4, 4), torch.sigmoid(normal(N) - 9)],
    ids=["price", "one class", "images", "rare"],
)
def test_without_labels_agreement_of_a_constant_is_no_accuracy(outputs):
    reading = recognise(outputs, None, N)
    assert reading.name == "R2 against the undefended model"
    assert reading.scores(outputs, reading.own_labels(outputs)).tolist() == [1.0] * N
    mean = outputs.mean(dim=0, keepdim=True).expand(outputs.shape)
    assert float(reading.scores(mean, reading.own_labels(outputs)).mean()) == pytest.approx(0, abs=1e-4)


def test_without_labels_some_outputs_tell_nothing():
    with pytest.raises(TargetError, match="the same to every sample"):
        read(torch.ones(N, 1), None)
    with pytest.raises(TargetError, match="to nearly all samples; give labels"):
        read(torch.ones(N, dtype=torch.long), None)
    with pytest.raises(TargetError, match="no labels and the model answers 2 tensors"):
        read((normal(N, 3), normal(N, 1)), None)


class TimeFirst(nn.Module):
    """Answers `[T, N, 5]`."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(x).transpose(0, 1)


@pytest.mark.parametrize(("steps", "batch"), [(7, 7), (7, 16), (8, 30)])
def test_outputs_whose_first_dimension_is_time_are_not_read_as_samples(steps, batch):
    traced = trace(TimeFirst().eval(), (torch.zeros(2, steps, 6),))
    data = Data((normal(N, steps, 6),), classes(5, N, steps))
    with pytest.raises(TargetError, match="first dimension"):
        recognised(EdgeActivations(traced, batch_size=batch), data)
    assert first_rows(normal(100, 8, 5), 8, 8).shape == (100, 8, 5), "steps are not cut"
    assert first_rows(normal(8, 5), 3, 8).shape == (3, 5), "what a fixed batch was filled up with is"


def test_every_label_counts_though_few_outputs_are_looked_at():
    traced = trace(nn.Linear(4, 3).eval(), (torch.zeros(2, 4),))
    labels = classes(3, N)
    activations = EdgeActivations(traced, batch_size=8)
    halves = Data((normal(N, 4),), labels), Data((normal(N, 4, seed=3),), labels)
    assert recognised(activations, *halves, samples=10).name == "top-1 accuracy"
    spoilt = labels.clone()
    spoilt[-1] = 3
    with pytest.raises(TargetError, match="labels run from 0 to 3"):
        recognised(activations, halves[0], Data(halves[1].inputs, spoilt), samples=10)
