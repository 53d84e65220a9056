"""Target file: the network of six convolutions that He, Zhang and Lee (ACSAC 2019) attacked, on CIFAR-10.

    COLLABPLAN_DATA=FOLDER collabplan profile examples/cifar10_cnn6/model.py

The layers have their names: their attacks cut at `conv11`, `ReLU22` and `ReLU32`. The data is not in this repository:
COLLABPLAN_DATA names a folder that holds CIFAR-10. Without it the model can only be profiled.
`../train_cifar10.py` makes `cnn6.safetensors`.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from example_data import data_folder, scaled_cifar10_parts, trained  # noqa: E402 (examples/ must be on the path first)

WEIGHTS = HERE / "cnn6.safetensors"

example_inputs = (torch.zeros(1, 3, 32, 32),)
input_range = (-1.0, 1.0)


def network() -> nn.Sequential:
    """`[N, 3, 32, 32]` in [-1, 1] -> `[N, 10]` logits; weights at random.

    Initial weights follow He et al. (ICCV 2015): without normalisation, smaller ones would not train.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for block, channels in enumerate((64, 128, 128), start=1):
        for number in (1, 2):
            layers[f"conv{block}{number}"] = nn.Conv2d(inputs, channels, 3, padding=1)
            layers[f"ReLU{block}{number}"] = nn.ReLU()
            inputs = channels
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(128 * 4 * 4, 512)
    layers["fc1act"] = nn.Sigmoid()
    layers["fc2"] = nn.Linear(512, 10)
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layers)


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
