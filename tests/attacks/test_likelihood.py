"""Maximum likelihood knows the defense, and its priors fill in what was dropped."""

from __future__ import annotations

from dataclasses import replace

import torch
from attack_views import EFFORT, attacked, audit_target, digits, error, first_layer, view_of
from collabplan.attacks import attack_named
from collabplan.attacks.likelihood import MaximumLikelihood, total_variation
from defense_records import defense_record
from torch import nn


def test_the_likelihood_knows_which_numbers_were_dropped() -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.5))
    attack = attack_named("likelihood")
    adaptive, naive = (error(attacked(attack, device, 8, naive=way)) for way in (False, True))
    assert adaptive < 0.2
    assert adaptive < 0.5 * naive


def test_total_variation_fills_in_what_was_dropped() -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.95))
    smooth, plain = (
        error(attacked(MaximumLikelihood(priors=(prior,), starts=1), device, 16)) for prior in ((0.1, 0.0), (0.0, 0.0))
    )
    assert smooth < 0.8 * plain


def test_total_variation_counts_neighbours_and_is_0_for_inputs_that_are_no_images() -> None:
    image = torch.zeros(1, 1, 2, 2)
    image[0, 0, 0, 0] = 1
    assert float(total_variation(image)) == 2 / 4
    assert torch.equal(total_variation(torch.rand(3, 5)), torch.zeros(3))


def blur() -> nn.Module:
    """What a descent inverts slowly: the mean of 25 pixels, and once more with a little of the pixel itself."""
    layer = nn.Conv2d(1, 2, 5, padding=2)
    with torch.no_grad():
        layer.weight.fill_(1 / 25)
        layer.weight[1, 0, 2, 2] += 0.02
        layer.bias.zero_()
    return layer


def test_where_twice_the_steps_gain_more_it_has_not_converged() -> None:
    """Twenty steps into a blur, the last ones gain nothing because they are small; forty read 0.14 more."""
    device = audit_target(blur(), 2)
    attack = MaximumLikelihood(priors=((0.0, 0.0),), starts=1)
    effort = replace(EFFORT, iterations=20, until_converged=True)
    attacker = attack.fit(view_of(device), effort, torch.Generator().manual_seed(0))
    released = device.release(digits()[0].take(torch.arange(8)), torch.Generator().manual_seed(1))
    made = attacker.reconstruct(released, torch.Generator().manual_seed(2))
    assert not (attacker.training.converged and made.training.converged)
    found = [error(attacked(attack, device, 8, replace(EFFORT, iterations=n))) for n in (20, 40)]
    assert found[0] - found[1] > 0.1
