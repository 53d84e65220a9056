"""A decoder starts at least squares, and training improves on it."""

from __future__ import annotations

from functools import cache

import torch
from attack_views import BRIEF, audit_target, digits, first_layer, view_of
from collabplan.attacks import AdversaryView, ObservedReleases
from collabplan.attacks.decoder_training import held_loss, start_at_least_squares, train_decoder
from collabplan.attacks.decoders import Decoder, DecoderInput, decoder_for
from torch import Tensor


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@cache
def view() -> AdversaryView:
    return view_of(audit_target(first_layer(), 6))


@cache
def images() -> Tensor:
    return view().pixels(view().training)


@cache
def clean() -> tuple[Tensor, ...]:
    return view().ask(view().training)


@cache
def held() -> tuple[ObservedReleases, Tensor]:
    return view().query(view().held_out, draws()), view().pixels(view().held_out)


def pairs(positions: Tensor, generator: torch.Generator) -> tuple[ObservedReleases, Tensor]:
    rows = tuple(row[positions] for row in clean())
    return view().release(rows, view().training.take(positions), generator), images()[positions]


def new_decoder() -> tuple[Decoder, DecoderInput]:
    prepare = DecoderInput.of(view(), clean())
    return decoder_for(view().row_shapes, images().mean(dim=0), draws(), marked=False, width=8), prepare


def test_least_squares_inverts_a_convolution_before_any_training() -> None:
    decoder, prepare = new_decoder()
    before = held_loss(decoder, prepare, held())
    start_at_least_squares(decoder, prepare, pairs, len(images()), held(), draws())
    assert held_loss(decoder, prepare, held()) < 0.05 * before


def test_training_returns_images_in_the_unit_range_and_its_losses() -> None:
    decoder, prepare = new_decoder()
    before = held_loss(decoder, prepare, held())
    trained = train_decoder(decoder, prepare, pairs, len(images()), held(), BRIEF, draws())
    made = trained.reconstruct(view().target.release(digits()[0], draws()), draws()).images
    assert made.shape == (200, 1, 16, 16)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert trained.training.steps == BRIEF.train_steps
    assert trained.training.losses[-1] < 0.05 * before
