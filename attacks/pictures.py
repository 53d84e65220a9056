"""Originals beside reconstructions, as PNG. PSNR and SSIM agree only weakly with what people recognise."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..records import CollabplanError, write_bytes

MOST = 16
CELL = 64
"""The fewest pixels along the longer side of an image on the grid: small ones are enlarged by a whole factor."""

MARGIN = 4
LABEL = 190


def save_grid(originals: Tensor, rows: Mapping[str, Tensor], path: Path) -> None:
    """Write a PNG with the originals in the first row and a labelled row per attack below.

    Args:
        originals: `[n, C, H, W]` in [0, 1] with C 1 or 3; at most 16 are shown.
        rows: by attack, its reconstructions of the first originals.
        path: of the file.

    Raises:
        CollabplanError: inputs that are no images, or a file that cannot be written.
    """
    if originals.ndim != 4 or originals.shape[1] not in (1, 3):
        raise CollabplanError(f"a picture needs images [n, 1 or 3, H, W], got shape {tuple(originals.shape)}")
    count, _, height, width = originals[:MOST].shape
    factor = max(1, -(-CELL // max(height, width)))
    step_x, step_y = width * factor + MARGIN, height * factor + MARGIN
    canvas = Image.new("RGB", (LABEL + count * step_x + MARGIN, (1 + len(rows)) * step_y + MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    for line, (name, images) in enumerate({"original": originals, **rows}.items()):
        top = MARGIN + line * step_y
        draw.text((MARGIN, top + step_y // 2 - 8), name, fill="black")
        for column, image in enumerate(images[:count]):
            canvas.paste(_enlarged(image, factor), (LABEL + column * step_x, top))
    content = io.BytesIO()
    canvas.save(content, "PNG")
    write_bytes(path, content.getvalue())


def _enlarged(image: Tensor, factor: int) -> Image.Image:
    levels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    levels = levels.expand(3, *levels.shape[1:]).permute(1, 2, 0).contiguous()
    made = Image.fromarray(levels.numpy())
    return made.resize((made.width * factor, made.height * factor), Image.Resampling.NEAREST)
