"""A shadow aligned with releases becomes the edge half itself, where a convolution gives it away."""

from __future__ import annotations

import pytest
import torch
from attack_views import EFFORT, audit_target, digits, first_layer, view_of
from collabplan.attacks import AuditTarget, ObservedReleases, attack_named
from collabplan.attacks.similarity import ssim
from collabplan.records import DefenseRecord
from defense_records import defense_record

SPECS = (
    defense_record(),
    defense_record(noise="gaussian", noise_std=0.02),
    defense_record(dropout="element", rate=0.3),
)


def seen(device: AuditTarget) -> ObservedReleases:
    """What was intercepted."""
    return device.release(digits()[1], torch.Generator().manual_seed(3))


@pytest.mark.parametrize("spec", SPECS, ids=("plain", "noise", "dropout"))
def test_a_first_convolution_is_found_without_a_query(spec: DefenseRecord) -> None:
    device = audit_target(first_layer(), 6, spec)
    attacker = attack_named("shadow-same").fit(
        view_of(device, "query-free", intercepted=seen(device)), EFFORT, torch.Generator().manual_seed(0)
    )
    data = digits()[0].take(torch.arange(50))
    images = attacker.reconstruct(
        device.release(data, torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    )
    found = ssim(images.images, device.pixels(data))
    assert found is not None
    assert float(found.mean()) > 0.8, float(found.mean())
