"""Target file: ResNet-20 (He et al., CVPR 2016, section 4.2) on CIFAR-10.

    COLLABPLAN_DATA=FOLDER collabplan profile examples/cifar10_resnet20/model.py

Three stages of three residual blocks; shortcuts that change the shape have no weights (option A). The data is not in
this repository: COLLABPLAN_DATA names a folder that holds CIFAR-10. Without it the model can only be profiled.
`../train_cifar10.py` makes `resnet20.safetensors`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from example_data import data_folder, scaled_cifar10_parts, trained  # noqa: E402 (examples/ must be on the path first)

WEIGHTS = HERE / "resnet20.safetensors"

example_inputs = (torch.zeros(1, 3, 32, 32),)
input_range = (-1.0, 1.0)


class Block(nn.Module):
    """Two 3x3 convolutions beside a skip connection, which is subsampled and padded where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """`[N, inputs, H, W]` -> `[N, outputs, H / stride, W / stride]`."""
        h = torch.relu(self.bn1(self.conv1(x)))
        if self.added:
            half = self.added // 2
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))
        return torch.relu(self.bn2(self.conv2(h)) + x)


class ResNet20(nn.Module):
    """`[N, 3, 32, 32]` in [-1, 1] -> `[N, 10]` logits.

    Elements that cross per image: input 3,072; stem and layer1 16,384; layer2 8,192; layer3 4,096; pool 64; logits 10.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.pool = nn.AvgPool2d(8)
        self.fc = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Logits."""
        features = self.layer3(self.layer2(self.layer1(self.stem(image))))
        return self.fc(self.pool(features).flatten(1))


def network() -> ResNet20:
    """The network with weights at random."""
    return ResNet20()


def model() -> nn.Module:
    """The trained network.

    Raises:
        TargetError: its weights file does not exist.
    """
    return trained(network(), WEIGHTS)


def validation_data() -> tuple[Tensor, Tensor]:
    """CIFAR-10's own test images: `[10000, 3, 32, 32]`, labels `[10000]`."""
    return parts()["validation"]


def train_data() -> tuple[Tensor, Tensor]:
    """The training images without the attacker's, in the same form."""
    return parts()["train"]


def attacker_data() -> tuple[Tensor, Tensor]:
    """Auxiliary data: the training images that an attacker is assumed to own."""
    return parts()["attacker"]


def parts(data: Path | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """Validation, attacker and training data from CIFAR-10 under `data` (None: COLLABPLAN_DATA)."""
    return scaled_cifar10_parts(data_folder(data))
