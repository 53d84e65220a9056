"""The inverse network asks again where it does worst, without a gradient through the device."""

from __future__ import annotations

import pytest
import torch
from attack_views import BRIEF, audit_target, digits, first_layer, view_of
from collabplan.attacks import AuditTarget, attack_named
from collabplan.targets import Data
from torch import Tensor


def test_queries_are_moved_and_asked_again_after_an_eighth_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    device = audit_target(first_layer(), 6)
    asked: list[int] = []
    clean = AuditTarget.clean_rows

    def counted(self: AuditTarget, data: Data) -> tuple[Tensor, ...]:
        asked.append(len(data))
        return clean(self, data)

    monkeypatch.setattr(AuditTarget, "clean_rows", counted)
    attack_named("inverse").fit(view_of(device, "black-box"), BRIEF, torch.Generator().manual_seed(0))
    assert asked.count(64 // 8) == BRIEF.train_steps - BRIEF.train_steps // 8


def test_a_black_box_attacker_is_enough() -> None:
    device = audit_target(first_layer(), 6)
    view = view_of(device, "black-box")
    attacker = attack_named("inverse").fit(view, BRIEF, torch.Generator().manual_seed(0))
    images = attacker.reconstruct(device.release(digits()[0], torch.Generator()), torch.Generator()).images
    assert float((images - digits()[0].inputs[0]).square().mean()) < 0.01
