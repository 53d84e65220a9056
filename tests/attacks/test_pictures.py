"""Pictures show every pixel as it is, enlarged by a whole factor, and are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from collabplan.attacks.pictures import CELL, LABEL, MARGIN, MOST, save_grid
from collabplan.records import CollabplanError
from PIL import Image
from torch import Tensor


def images(count: int, channels: int, side: int = 28) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(count))


def drawn(path: Path) -> np.ndarray:
    """`[height, width, 3]` uint8."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def cell(picture: np.ndarray, line: int, column: int, side: int) -> np.ndarray:
    """One image as it was drawn, one pixel of each enlarged one, `[side, side, 3]`; all of each must be equal."""
    factor = -(-CELL // side)
    size = side * factor
    top, left = MARGIN + line * (size + MARGIN), LABEL + column * (size + MARGIN)
    blocks = picture[top : top + size, left : left + size].reshape(side, factor, side, factor, 3)
    assert (blocks == blocks[:, :1, :, :1]).all(), "nearest enlargement mixes no pixels"
    return blocks[:, 0, :, 0]


def levels(image: Tensor) -> np.ndarray:
    """`[C, H, W]` in [0, 1] -> `[H, W, 3]` as the file should have it."""
    return (image * 255).round().to(torch.uint8).expand(3, *image.shape[1:]).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_originals_come_first_and_every_attack_below_pixel_by_pixel(channels: int, tmp_path: Path) -> None:
    originals, guessed = images(3, channels), images(4, channels)[:3]
    save_grid(originals, {"ridge": guessed, "prior": originals.flip(0)}, tmp_path / "grid.png")
    picture = drawn(tmp_path / "grid.png")
    for line, row in enumerate((originals, guessed, originals.flip(0))):
        for column, image in enumerate(row):
            np.testing.assert_array_equal(cell(picture, line, column, 28), levels(image))


def test_every_row_is_labelled(tmp_path: Path) -> None:
    originals = images(2, 1)
    save_grid(originals, {"ridge": originals}, tmp_path / "grid.png")
    left = drawn(tmp_path / "grid.png")[:, :LABEL]
    for line in range(2):
        top = MARGIN + line * (84 + MARGIN)
        assert (left[top : top + 84] < 128).any(), "ink beside the row"


def test_at_most_sixteen_columns_are_drawn(tmp_path: Path) -> None:
    save_grid(images(MOST, 1), {}, tmp_path / "full.png")
    save_grid(images(MOST + 9, 1), {}, tmp_path / "more.png")
    assert MOST == 16
    assert drawn(tmp_path / "more.png").shape == drawn(tmp_path / "full.png").shape


def test_an_attack_that_saw_fewer_images_leaves_the_rest_blank(tmp_path: Path) -> None:
    save_grid(images(3, 1), {"likelihood": images(3, 1)[:1]}, tmp_path / "grid.png")
    picture = drawn(tmp_path / "grid.png")
    assert (cell(picture, 1, 2, 28) == 255).all()


def test_large_images_are_not_enlarged(tmp_path: Path) -> None:
    originals = images(1, 3, side=100)
    save_grid(originals, {}, tmp_path / "grid.png")
    np.testing.assert_array_equal(cell(drawn(tmp_path / "grid.png"), 0, 0, 100), levels(originals[0]))


def test_values_outside_the_unit_range_are_clipped_and_do_not_wrap(tmp_path: Path) -> None:
    wild = torch.tensor([-0.5, 1.5]).repeat(98).reshape(1, 1, 14, 14)
    save_grid(wild, {}, tmp_path / "grid.png")
    np.testing.assert_array_equal(cell(drawn(tmp_path / "grid.png"), 0, 0, 14), levels(wild[0].clamp(0, 1)))


@pytest.mark.parametrize("shape", [(4, 20), (4, 2, 28, 28), (4, 28, 28)])
def test_what_is_no_image_is_refused_by_its_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(CollabplanError, match="a picture needs images"):
        save_grid(torch.zeros(shape), {}, tmp_path / "grid.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_replaces_the_old_one_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    place = tmp_path / "deeper" / "grid.png"
    for count in (1, 2):
        save_grid(images(count, 1), {}, place)
    assert [each.name for each in place.parent.iterdir()] == ["grid.png"]
    assert drawn(place).shape[1] == LABEL + 2 * (84 + MARGIN) + MARGIN


def test_a_place_that_cannot_be_written_is_told_in_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CollabplanError):
        save_grid(images(1, 1), {}, tmp_path / "file" / "grid.png")
