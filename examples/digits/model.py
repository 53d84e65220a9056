"""Target file: a small residual network on the handwritten digits that scikit-learn ships.

    collabplan profile examples/digits/model.py

The 1,797 images are 8x8; the network sees them at 32x32 in [0, 1]. They need no download, so this
example runs on a fresh machine. `train.py` made `digits.safetensors` beside this file.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from example_data import drop_equal  # noqa: E402 (examples/ must be on the path first)

WEIGHTS = HERE / "digits.safetensors"
PART_SIZES = {"validation": 700, "attacker": 400}
"""The rest is for training. Validation data is divided further into the splits *search* and *confirm*."""

example_inputs = (torch.zeros(1, 1, 32, 32),)
input_range = (0.0, 1.0)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip connection, which is projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, inputs, H, W]` -> `[N, outputs, H / stride, W / stride]`."""
        h = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(h)) + self.skip(x))


class DigitNet(nn.Module):
    """Five residual blocks over four resolutions: early cuts send more than the image, late ones less.

    Elements that cross per image: input 1,024; stem and layer1 8,192; layer2 4,096; layer3 2,048;
    layer4 1,024; pooled 64; logits 10.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.layer1 = ResidualBlock(8, 8)
        self.layer2 = ResidualBlock(8, 16, stride=2)
        self.layer3 = nn.Sequential(ResidualBlock(16, 32, stride=2), ResidualBlock(32, 32))
        self.layer4 = ResidualBlock(32, 64, stride=2)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """`[N, 1, 32, 32]` in [0, 1] -> `[N, 10]` logits."""
        features = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(image)))))
        return self.head(self.dropout(features.mean(dim=(2, 3))))


def model() -> nn.Module:
    """The trained network."""
    net = DigitNet()
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


def validation_data() -> tuple[Tensor, Tensor]:
    """Images that neither the training nor the attacker saw: `[N, 1, 32, 32]`, labels `[N]`."""
    return _parts()["validation"]


def train_data() -> tuple[Tensor, Tensor]:
    """Images that the network was trained on, in the same form."""
    return _parts()["train"]


def attacker_data() -> tuple[Tensor, Tensor]:
    """Auxiliary data: images of the same distribution that an attacker is assumed to own."""
    return _parts()["attacker"]


@cache
def _parts() -> dict[str, tuple[Tensor, Tensor]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = interpolate(small, size=32, mode="bilinear", align_corners=False)
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    sizes = [*PART_SIZES.values(), len(images) - sum(PART_SIZES.values())]
    parts = [(images[rows], labels[rows]) for rows in order.split(sizes)]
    return dict(zip([*PART_SIZES, "train"], drop_equal(parts), strict=True))
