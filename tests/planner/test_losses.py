"""Fine-tuning learns what accuracy measures: classes, decisions or numbers, wherever their axis is."""

from __future__ import annotations

import pytest
import torch
from collabplan.planner.losses import distilled, supervised
from collabplan.planner.recognise import recognise
from collabplan.records import CollabplanError
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BINARY = torch.arange(20) % 2


@pytest.mark.parametrize("probabilities", [False, True])
def test_one_logit_is_taught_to_decide_as_the_undefended_model_does(probabilities):
    wanted, given = normal(20, 1) * 3, normal(20, 1, seed=1).requires_grad_()
    shown = torch.sigmoid if probabilities else torch.Tensor.clone
    reading = recognise(shown(wanted), BINARY, 20)
    assert reading.kind == "threshold"
    best = float(distilled(reading, shown(wanted), shown(wanted)))
    optimiser = torch.optim.Adam([given], 0.1)
    for _ in range(300):
        optimiser.zero_grad()
        distilled(reading, shown(given), shown(wanted)).backward()
        optimiser.step()
    assert float(distilled(reading, shown(given.detach()), shown(wanted))) == pytest.approx(best, abs=0.01)
    assert ((given > 0) == (wanted > 0)).all()


def test_labels_teach_by_the_loss_of_their_kind():
    logits = normal(20, 1) * 3
    found = supervised(recognise(logits, BINARY, 20), logits, BINARY)
    assert float(found) == pytest.approx(float(binary_cross_entropy_with_logits(logits[:, 0], BINARY.float())))
    many, labels = normal(20, 4, 6), torch.arange(120).reshape(20, 6) % 4
    wanted = float(cross_entropy(many, labels))
    for outputs in (many, many.movedim(1, -1)):
        assert float(supervised(recognise(outputs, labels, 20), outputs, labels)) == pytest.approx(wanted, rel=1e-5)


def test_ignored_labels_teach_nothing():
    logits, labels = normal(8, 3, 5), torch.arange(40).reshape(8, 5) % 3
    labels[:, 0] = 255
    wanted = float(cross_entropy(logits[:, :, 1:], labels[:, 1:]))
    assert float(supervised(recognise(logits, labels, 8), logits, labels)) == pytest.approx(wanted, rel=1e-5)


def test_numbers_have_no_cross_entropy_and_are_taught_by_their_error():
    outputs, labels = normal(20, 1), normal(20, seed=1)
    reading = recognise(outputs, labels, 20)
    with pytest.raises(CollabplanError, match="by distillation"):
        supervised(reading, outputs, labels)
    assert float(distilled(reading, outputs, outputs)) == 0
    assert float(distilled(reading, outputs + 1, outputs)) == pytest.approx(1 / float(outputs.var(unbiased=False)))


def test_training_labels_out_of_range_are_refused():
    logits, labels = normal(20, 3), torch.arange(20) % 3
    with pytest.raises(CollabplanError, match="none of the 3 classes"):
        supervised(recognise(logits, labels, 20), logits, labels + 1)
