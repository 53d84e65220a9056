"""The inverse network needs no gradient through the device."""

from __future__ import annotations

import torch
from attack_views import BRIEF, audit_target, digits, first_layer, view_of
from collabplan.attacks import attack_named


def test_a_black_box_attacker_is_enough() -> None:
    device = audit_target(first_layer(), 6)
    view = view_of(device, "black-box")
    attacker = attack_named("inverse").fit(view, BRIEF, torch.Generator().manual_seed(0))
    images = attacker.reconstruct(device.release(digits()[0], torch.Generator()), torch.Generator()).images
    assert float((images - digits()[0].inputs[0]).square().mean()) < 0.01
