"""Pictures of any size and layout become what the model reads."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from collabplan.graph import InputSpec
from collabplan.records import TargetError
from collabplan.targets import InputScaling
from collabplan.targets.images import Preprocessing, fit_images, model_preprocessing
from PIL import Image

SPEC = InputSpec("x", (1, 3, 4, 4), torch.float32, 0, False)


def test_both_layouts_and_normalisation_give_the_same_inputs() -> None:
    pixels = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    how = Preprocessing(InputScaling.from_mean_std((0.5, 0.4, 0.3), (0.5, 0.2, 0.1)))
    first = fit_images(pixels, SPEC, how, "data").inputs
    last = fit_images(pixels.permute(0, 2, 3, 1), SPEC, how, "data").inputs
    wanted = (pixels / 255 - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor([0.5, 0.2, 0.1]).view(
        1, 3, 1, 1
    )
    assert torch.equal(first, last)
    assert torch.allclose(first, wanted, atol=1e-6)


def test_resizing_is_what_pillow_does() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 30, 3), generator=generator).to(torch.uint8)
    spec = InputSpec("x", (1, 3, 8, 8), torch.float32, 0, False)
    made = fit_images(pixels.unsqueeze(0), spec, Preprocessing(), "data")
    small = Image.fromarray(pixels.numpy()).resize((12, 8), Image.Resampling.BILINEAR).crop((2, 0, 10, 8))
    assert made.resized
    wanted = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
    assert float((made.inputs[0] - wanted).abs().max()) <= 1.5 / 255


@pytest.mark.parametrize(("given", "wanted"), [(1, 3), (4, 3), (3, 1), (4, 1)])
def test_channels_are_brought_to_the_model(given: int, wanted: int) -> None:
    pixels = torch.full((2, given, 4, 4), 255, dtype=torch.uint8)
    spec = InputSpec("x", (1, wanted, 4, 4), torch.float32, 0, False)
    assert torch.allclose(fit_images(pixels, spec, Preprocessing(), "d").inputs, torch.ones(2, wanted, 4, 4))


def test_channels_that_no_picture_has_are_refused() -> None:
    spec = InputSpec("x", (1, 7, 4, 4), torch.float32, 0, False)
    with pytest.raises(TargetError, match="pictures of 3 channels, the model takes 7"):
        fit_images(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), spec, Preprocessing(), "data")


def test_a_timm_model_says_its_preprocessing() -> None:
    config = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "crop_pct": 0.875, "interpolation": "bicubic"}
    for model in (SimpleNamespace(pretrained_cfg=config), SimpleNamespace(default_cfg=config)):
        how = model_preprocessing(model)
        assert how is not None
        assert (how.crop, how.resampling, how.scaling.low) == (0.875, "bicubic", (-2.0, -2.0, -2.0))
    assert model_preprocessing(torch.nn.Linear(1, 1)) is None
