"""The declared output: what each form keeps of the scores, and which form counts where none is declared."""

from __future__ import annotations

import pytest
import torch
from attack_views import seeded
from collabplan.attacks.catalogue import ATTACKS, attack_named
from collabplan.attacks.declared_output import DeclaredOutput, declared_output, floor_attacks, probabilities
from collabplan.defenses.interface import NO_RANDOMNESS
from collabplan.graph import Cut, candidate_cuts, trace
from collabplan.records import Crossing, TargetError
from torch import Tensor, nn

SCORES = torch.tensor([[0.1, 2.0, 1.0, -1.0, 0.0, 0.5, 0.2], [5.0, 1.0, 0.0, 0.0, 0.0, 0.0, -3.0]])


def returned(form: str, scores: Tensor = SCORES) -> Tensor:
    crossing = Crossing(name="scores", node="scores", dtype="float32", sample_shape=(scores.shape[1],))
    stage = DeclaredOutput(form)
    found = stage.apply(scores, crossing, NO_RANDOMNESS)
    assert tuple(found.shape[1:]) == stage.codes(crossing).sample_shape
    assert torch.equal(stage.receive(found, crossing).argmax(dim=1), scores.argmax(dim=1))
    return found


def output(model: nn.Module, shape: tuple[int, ...]) -> Cut:
    cuts = candidate_cuts(trace(model.eval(), (torch.rand(2, *shape),)), 1)
    return next(cut for cut in cuts if cut.kind == "edge-only")


def test_a_label_says_nothing_of_how_sure_it_is() -> None:
    assert returned("label").tolist() == [[0, 1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]
    assert torch.equal(returned("label", SCORES * 3), returned("label"))


def test_a_probability_has_two_digits() -> None:
    shown = returned("label+probability")[:, 7:]
    truth = SCORES.softmax(dim=1).amax(dim=1)
    assert shown.sum(dim=1).tolist() == pytest.approx([round(float(each), 2) for each in truth])
    assert (shown > 0).sum(dim=1).tolist() == [1, 1]


def test_five_labels_have_their_probabilities() -> None:
    shown, truth = returned("top5")[:, 7:], SCORES.softmax(dim=1)
    assert (shown > 0).sum(dim=1).tolist() == [5, 5]
    assert torch.equal(shown[shown > 0], truth[shown > 0])
    assert shown[0, [3, 4]].tolist() == [0, 0]


def test_probabilities_are_not_normalised_twice() -> None:
    given = SCORES.softmax(dim=1)
    assert torch.equal(probabilities(given), given)
    assert torch.allclose(probabilities(SCORES.log_softmax(dim=1)), given)


def test_an_undeclared_output_of_a_classifier_is_its_label() -> None:
    """The least that it gives away, so that the excess is the greatest."""
    cut = output(seeded(lambda: nn.Linear(4, 3)), (4,))
    form, record = declared_output(cut, None)
    assert form == "label"
    assert [custom.text for custom in record.customs] == ["declared-output:returns=label"]
    assert declared_output(cut, "logits")[1].customs == ()


def test_a_label_needs_class_scores() -> None:
    cut = output(seeded(lambda: nn.Conv2d(1, 2, 3)), (1, 6, 6))
    assert declared_output(cut, None)[0] == "logits"
    with pytest.raises(TargetError, match="needs one row of class scores per sample, the model returns"):
        declared_output(cut, "label")


def test_an_output_is_attacked_by_those_that_it_leaves_something_to_do() -> None:
    every = tuple(attack_named(name) for name in ATTACKS)
    assert {attack.name for attack in floor_attacks(every, "label")} == {"prior", "ridge"}
    names = {attack.name for attack in floor_attacks(every, "label+probability")}
    assert {"prior", "ridge", "kernel", "inverse"} <= names
    assert not {"likelihood", "shadow-same", "untrained"} & names
    assert floor_attacks(every, "logits") == every
