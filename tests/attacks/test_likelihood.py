"""Maximum likelihood knows the defense, and its priors fill in what was dropped."""

from __future__ import annotations

import torch
from attack_views import attacked, audit_target, error, first_layer
from collabplan.attacks import attack_named
from collabplan.attacks.likelihood import MaximumLikelihood, total_variation
from defense_records import defense_record


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
