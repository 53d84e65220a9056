"""Decoders fit the shapes at a cut, and start at the mean image."""

from __future__ import annotations

import pytest
import torch
from attack_views import audit_target, digits, first_layer, view_of
from collabplan.attacks.decoders import DecoderInput, ImageDecoder, VectorDecoder, decoder_for, grid_shape
from defense_records import defense_record


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("shapes", [[(6, 16, 16)], [(32, 4, 4), (10,)], [(17, 8)], [(3, 64, 64)]])
def test_a_decoder_starts_at_the_mean_image_whatever_crosses(shapes: list[tuple[int, ...]], marked: bool) -> None:
    mean = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    decoder = decoder_for(shapes, mean, torch.Generator().manual_seed(1), marked=marked, width=16)
    assert isinstance(decoder, ImageDecoder)
    grids = [grid_shape(shape) for shape in shapes]
    rows = [torch.randn(2, grid[0] * (2 if marked else 1), *grid[1:]) for grid in grids]
    torch.testing.assert_close(decoder(rows), mean.expand(2, 1, 16, 16))


def test_inputs_that_are_no_images_get_a_perceptron() -> None:
    mean = torch.rand(7, generator=torch.Generator().manual_seed(0))
    decoder = decoder_for([(5,), (2, 3)], mean, torch.Generator().manual_seed(1), marked=False, width=4)
    assert isinstance(decoder, VectorDecoder)
    torch.testing.assert_close(decoder([torch.randn(2, 5), torch.randn(2, 2, 3)]), mean.expand(2, 7))


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((3, 8, 8), (3, 8, 8)), ((16, 5), (5, 4, 4)), ((17, 5), (5, 4, 4)), ((15, 5), (75,)), ((9,), (9,))],
)
def test_tokens_that_fill_a_square_are_a_grid(shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    assert grid_shape(shape) == grid


def test_marks_of_what_was_seen_are_further_channels() -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.5))
    view = view_of(device)
    prepare = DecoderInput.of(view, device.clean_rows(digits()[2]))
    released = device.release(digits()[0], torch.Generator().manual_seed(0))
    (rows,) = prepare(released)
    assert rows.shape == (200, 12, 16, 16)
    assert released.seen[0] is not None
    assert torch.equal(rows[:, 6:].bool(), released.seen[0])
