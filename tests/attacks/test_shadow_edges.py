"""Edge halves of an attacker's own know nothing of the model's training."""

from __future__ import annotations

import copy

import pytest
import torch
from attack_views import audit_target, digits, first_layer, view_of
from collabplan.attacks.shadow_edges import GenericEdge, SameEdge
from collabplan.attacks.training import seeded


@pytest.mark.parametrize("image", [(1, 16, 16), (3, 64, 64), (9,)])
def test_a_generic_edge_gives_rows_of_any_shape(image: tuple[int, ...]) -> None:
    shapes = [(6, 16, 16), (5, 7), (4,)]
    rows = GenericEdge(image, shapes, width=8)(torch.rand(2, *image))
    assert [tuple(row.shape[1:]) for row in rows] == shapes


def test_the_same_architecture_has_other_weights_and_the_model_keeps_its_own() -> None:
    device = audit_target(first_layer(), 6)
    before = [each.clone() for each in device.halves.edge.graph_module.parameters()]
    shadow = seeded(lambda: SameEdge(view_of(device)), torch.Generator().manual_seed(0))
    real, own = device.clean_rows(digits()[0])[0], shadow(digits()[0].inputs[0])[0]
    assert own.shape == real.shape
    assert not torch.allclose(own, real)
    assert all(parameter.requires_grad for parameter in shadow.parameters())
    after = device.halves.edge.graph_module.parameters()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_copied_shadow_refers_to_the_same_device() -> None:
    shadow = SameEdge(view_of(audit_target(first_layer(), 6)))
    assert copy.deepcopy(shadow).target is shadow.target
