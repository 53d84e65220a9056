"""Brings pictures as people have them, uint8 in any size and layout, to what a model reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..records import TargetError
from .data import InputScaling

if TYPE_CHECKING:
    from ..graph import InputSpec

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey picture: ITU-R BT.601, as Pillow has them."""

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pictures become inputs.

    Attributes:
        scaling: from pixels in [0, 1] to what the model reads.
        source: where the scaling is from, in words.
        crop: the share of the resized picture's side that the model sees; the border is cut off.
        resampling: how a picture is resized.
    """

    scaling: InputScaling = field(default_factory=lambda: InputScaling.from_range(0, 1))
    source: str = "to [0, 1]; declare input_mean and input_std if the model was trained with others"
    crop: float = 1.0
    resampling: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, eq=False)
class FittedImages:
    """Pictures as the model reads them, `[N, C, H, W]`, and whether they had another size."""

    inputs: Tensor
    resized: bool


def takes_images(spec: InputSpec) -> bool:
    """Whether a model's input can be a picture: floating numbers, three dimensions a sample."""
    return spec.shape is not None and len(spec.shape) == 4 and spec.dtype is not None and spec.dtype.is_floating_point


def is_pil_image(value: Any) -> bool:
    """Whether a value is a picture of Pillow's, which need not be imported."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def pil_pixels(image: Any) -> Tensor:
    """A picture of Pillow's as uint8 `[H, W, 3]`, or `[H, W, 1]` if it is grey. Transparency is dropped."""
    grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
    if image.mode in ("I", "I;16", "F"):
        raise TargetError(f"pictures of mode {image.mode} have more than 8 bits; save them as 8-bit PNG or JPEG")
    pixels = torch.from_numpy(np.array(image.convert("L" if grey else "RGB")))
    return pixels.unsqueeze(-1) if grey else pixels


def fit_images(pixels: Tensor, spec: InputSpec, how: Preprocessing, name: str) -> FittedImages:
    """Scale pictures, and resize and crop them to the size of the model's input.

    The shorter side is resized to the model's, divided by `how.crop`, and the centre is kept. A picture that has the
    model's size already is not resized.

    Args:
        pixels: uint8 `[N, H, W]`, `[N, C, H, W]` or `[N, H, W, C]`.
        spec: the model's input, channels first.
        how: scaling, crop and resampling.
        name: of the data, for messages.

    Returns:
        The inputs `[N, C, H, W]` in the model's dtype.

    Raises:
        TargetError: the model's number of channels cannot be made of the pictures'.
    """
    assert spec.shape is not None
    channels, height, width = (size for dim, size in enumerate(spec.shape) if dim != spec.batch_dim)
    first = _channels_first(pixels, (channels, height, width))
    made = _with_channels(first.float() / 255, channels, name)
    resized = made.shape[2:] != (height, width)
    if resized:
        made = _resized(made, height, width, how)
    return FittedImages(how.scaling.from_unit(made).to(spec.dtype), resized)


def _channels_first(pixels: Tensor, wanted: tuple[int, int, int]) -> Tensor:
    if pixels.ndim == 3:
        return pixels.unsqueeze(1)
    last = pixels.shape[3] in _CHANNELS and pixels.shape[1] not in _CHANNELS
    both = pixels.shape[3] in _CHANNELS and pixels.shape[1] in _CHANNELS
    if last or (both and tuple(pixels.shape[1:]) != wanted and pixels.shape[3] == wanted[0]):
        return pixels.permute(0, 3, 1, 2)
    return pixels


def _with_channels(pixels: Tensor, channels: int, name: str) -> Tensor:
    """Pictures `[N, channels, H, W]`: grey ones are repeated, coloured ones become grey, transparency is dropped."""
    given = pixels.shape[1]
    if given == channels:
        return pixels
    if given == 4:
        return _with_channels(pixels[:, :3], channels, name)
    if given == 1 and channels == 3:
        return pixels.expand(-1, 3, -1, -1)
    if given == 3 and channels == 1:
        return (pixels * torch.tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    raise TargetError(
        f"{name} has pictures of {given} channels, the model takes {channels}; pictures are grey, RGB or RGBA: make "
        "the inputs as in training and give them as float tensors"
    )


def _resized(pixels: Tensor, height: int, width: int, how: Preprocessing) -> Tensor:
    """The centre of the pictures, resized such that they cover the model's input. Values are those of 8-bit pixels."""
    old_height, old_width = pixels.shape[2:]
    scale = max(height / old_height, width / old_width) / how.crop
    size = (max(height, round(old_height * scale)), max(width, round(old_width * scale)))
    made = torch.nn.functional.interpolate(pixels, size, mode=how.resampling, antialias=True, align_corners=False)
    top, left = math.floor((size[0] - height) / 2), math.floor((size[1] - width) / 2)
    made = made[:, :, top : top + height, left : left + width]
    return (made * 255).round().clamp(0, 255) / 255


def model_preprocessing(model: Any) -> Preprocessing | None:
    """What a model of timm's says of itself: mean, std, crop and resampling; None for any other model."""
    found = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    config = found if isinstance(found, dict) else getattr(found, "__dict__", {})
    mean, std = config.get("mean"), config.get("std")
    if mean is None or std is None:
        return None
    return Preprocessing(
        scaling=InputScaling.from_mean_std(tuple(mean), tuple(std)),
        source="by mean and std of the model's timm configuration",
        crop=float(config.get("crop_pct") or 1.0),
        resampling="bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
    )
