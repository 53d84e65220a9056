"""The prior ignores what was released."""

from __future__ import annotations

import torch
from attack_views import EFFORT, audit_target, digits, first_layer, view_of
from collabplan.attacks import attack_named


def test_the_prior_answers_every_release_with_the_mean_training_image() -> None:
    device = audit_target(first_layer(), 6)
    view = view_of(device, "query-free")
    attacker = attack_named("prior").fit(view, EFFORT, torch.Generator())
    images = attacker.reconstruct(device.release(digits()[0], torch.Generator()), torch.Generator()).images
    assert images.shape == (200, 1, 16, 16)
    assert torch.equal(images, view.pixels(view.training).mean(dim=0).expand_as(images))
