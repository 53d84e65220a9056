"""Regressions in closed form: what a kernel reads beyond a line, and blocks of many images."""

from __future__ import annotations

import pytest
import torch
from attack_views import (
    BRIEF,
    EFFORT,
    PartlyRounded,
    attacked,
    audit_target,
    digits,
    error,
    first_layer,
    seeded,
    view_of,
)
from collabplan.attacks import attack_named, ridge
from torch import Tensor, nn


class Folded(nn.Module):
    """How much brighter one side is than the other, folded at 0 by a sign that is noise to every linear map."""

    def forward(self, x: Tensor) -> Tensor:
        tilt = (x * torch.linspace(-1, 1, x.shape[-1])).mean(dim=(1, 2, 3), keepdim=True)
        angle = 1e5 * x.mean(dim=(1, 2, 3), keepdim=True)
        size = (20 * tilt).exp()
        return torch.cat([size * angle.cos(), size * angle.sin()], dim=1).expand(-1, -1, *x.shape[2:])


def test_a_kernel_reads_of_few_numbers_what_no_linear_map_reads() -> None:
    device = audit_target(Folded(), 2)
    found = {name: error(attacked(attack_named(name), device, 200)) for name in ("ridge", "kernel")}
    assert found["ridge"] > 0.98
    assert found["kernel"] < 0.93


def test_more_images_than_one_kernel_holds_tell_more(monkeypatch: pytest.MonkeyPatch) -> None:
    device = audit_target(first_layer(), 6)
    data = digits()[0]
    released = device.release(data, torch.Generator().manual_seed(1))

    def after(count: int) -> float:
        place = view_of(device, "black-box").limited(count)
        attacker = attack_named("kernel").fit(place, EFFORT, torch.Generator().manual_seed(0))
        found = attacker.reconstruct(place.perceived(released), torch.Generator()).images
        return error((device.pixels(data), found))

    whole = after(600)
    monkeypatch.setattr(ridge, "BLOCK", 100)
    few, blocks = after(100), after(600)
    assert whole < blocks < 0.5 * few


def test_an_attack_without_gradients_inverts_what_a_gradient_misses() -> None:
    assert error(attacked(attack_named("ridge"), audit_target(PartlyRounded(), 1), 50, BRIEF)) < 0.05


def test_few_numbers_are_read_of_all_images_as_the_dual_form_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    device = audit_target(seeded(lambda: nn.Conv2d(1, 1, 3, padding=1)), 1)

    def images() -> Tensor:
        return attacked(attack_named("ridge"), device, 50)[1]

    monkeypatch.setattr(ridge, "MOST_SAMPLES", 30)
    whole = images()
    monkeypatch.setattr(ridge, "MOST_FEATURES", 0)
    few = images()
    monkeypatch.setattr(ridge, "MOST_SAMPLES", 600)
    torch.testing.assert_close(images(), whole, atol=5e-3, rtol=0)
    originals = device.pixels(digits()[0].take(torch.arange(50)))
    assert error((originals, whole)) < 0.5 * error((originals, few))
