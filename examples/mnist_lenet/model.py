"""Target file: LeNet-5 on MNIST, with the layers and names of He, Zhang and Lee (ACSAC 2019).

    COLLABPLAN_DATA=FOLDER collabplan profile examples/mnist_lenet/model.py

Their attacks cut at `conv1` and `ReLU2`; pixels are scaled as (pixel - 0.5) / 0.5, as theirs were. The
data is not in this repository: COLLABPLAN_DATA names a folder that holds MNIST's IDX files, gzipped
or not. Without it the model can only be profiled. `train.py` made `lenet.safetensors`.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from example_data import data_folder, drop_equal, read_mnist  # noqa: E402 (examples/ must be on the path first)

WEIGHTS = HERE / "lenet.safetensors"
ATTACKER_COUNT = 10_000
"""How many of the 60,000 training images belong to the attacker; the model is never trained on them."""

example_inputs = (torch.zeros(1, 1, 28, 28),)
input_range = (-1.0, 1.0)


def lenet5() -> nn.Sequential:
    """`[N, 1, 28, 28]` in [-1, 1] -> `[N, 10]` logits; weights at random."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 8, 5),
            ReLU1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 16, 5),
            ReLU2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * 4 * 4, 120),
            fc1act=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            fc2act=nn.ReLU(),
            fc3=nn.Linear(84, 10),
        )
    )


def model() -> nn.Module:
    """The trained network."""
    net = lenet5()
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


def validation_data() -> tuple[Tensor, Tensor]:
    """MNIST's own test images: `[10000, 1, 28, 28]`, labels `[10000]`."""
    return parts()["validation"]


def train_data() -> tuple[Tensor, Tensor]:
    """The training images without the attacker's, in the same form."""
    return parts()["train"]


def attacker_data() -> tuple[Tensor, Tensor]:
    """Auxiliary data: the training images that an attacker is assumed to own."""
    return parts()["attacker"]


def parts(data: Path | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """Validation, attacker and training data from the IDX files under `data` (None: COLLABPLAN_DATA)."""
    return _parts(data_folder(data))


@cache
def _parts(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    test, rest = (_scaled(*read_mnist(folder, part)) for part in ("test", "train"))
    order = torch.randperm(len(rest[0]), generator=torch.Generator().manual_seed(0))
    attacker, train = ((rest[0][rows], rest[1][rows]) for rows in (order[:ATTACKER_COUNT], order[ATTACKER_COUNT:]))
    return dict(zip(("validation", "attacker", "train"), drop_equal([test, attacker, train]), strict=True))


def _scaled(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images[:, None].float() / 127.5 - 1, labels
