"""The likelihood of a release is greatest at the image behind it."""

from __future__ import annotations

import pytest
import torch
from attack_views import Constant, PartlyRounded, audit_target, digits, first_layer, view_of
from collabplan.attacks import AttackFailed
from collabplan.attacks.release_law import ReleaseLaw
from collabplan.records import DefenseRecord
from defense_records import defense_record


@pytest.mark.parametrize(
    "spec",
    [defense_record(), defense_record(dropout="element", rate=0.5), defense_record(noise="gaussian", noise_std=0.02)],
)
def test_the_loss_is_least_at_the_released_images(spec: DefenseRecord) -> None:
    device = audit_target(first_layer(), 6, spec)
    data = digits()[0].take(torch.arange(8))
    law = ReleaseLaw.of(view_of(device))
    loss = law.against(device.release(data, torch.Generator().manual_seed(0)))
    own, others = loss(device.pixels(data)), loss(device.pixels(data).roll(1, 0))
    assert own.shape == (8,)
    assert bool((own < others).all())
    loss.require_live_gradient(device.pixels(data))


def test_misfits_are_the_losses_batch_by_batch() -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.5))
    data = digits()[0].take(torch.arange(8))
    law, released = ReleaseLaw.of(view_of(device)), device.release(data, torch.Generator().manual_seed(0))
    device.batch.size, images = 3, device.pixels(data).roll(1, 0)
    found = law.misfits(released, images)
    assert not found.requires_grad
    for at in range(8):
        torch.testing.assert_close(found[at : at + 1], law.misfits(released.take(torch.tensor([at])), images[[at]]))
    assert 0.1 < float(law.misfits(released, digits()[2].inputs[0].mean(dim=0).expand_as(images)).mean()) < 10


def test_a_constant_crossing_and_a_rounded_one_are_refused() -> None:
    with pytest.raises(AttackFailed, match="the same for every input"):
        ReleaseLaw.of(view_of(audit_target(Constant(), 1)))
    with pytest.raises(AttackFailed, match="not computable here"):
        ReleaseLaw.of(view_of(audit_target(PartlyRounded(), 1)))


def test_a_weaker_attacker_has_no_likelihood() -> None:
    with pytest.raises(AttackFailed, match="takes a white-box one"):
        ReleaseLaw.of(view_of(audit_target(first_layer(), 6), "black-box"))
