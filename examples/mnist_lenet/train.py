"""Trains LeNet-5 on MNIST and writes lenet.safetensors (a minute or two on one core).

    python examples/mnist_lenet/train.py --data FOLDER [--epochs 8] [--seed 0] [-o lenet.safetensors]

FOLDER holds MNIST's IDX files; without --data, COLLABPLAN_DATA names it. Prints the accuracy on
MNIST's test images, which take no part in the training or in any choice.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from collabplan.records import CollabplanError
from model import WEIGHTS, lenet5, parts
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCH = 128


def main() -> None:
    """Parse the options, train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with MNIST's IDX files (default: COLLABPLAN_DATA)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    try:
        data = parts(options.data)
    except CollabplanError as error:
        sys.exit(str(error))
    images, labels = data["train"]
    net = train(images, labels, options.epochs, options.seed)
    images, labels = data["validation"]
    print(f"test accuracy {accuracy(net, images, labels):.4f} on {len(images)} images, seed {options.seed}")
    save_file(net.state_dict(), options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def train(images: Tensor, labels: Tensor, epochs: int, seed: int) -> nn.Module:
    """A network trained on `images` `[N, 1, 28, 28]` and `labels` `[N]`, in eval mode."""
    torch.manual_seed(seed)  # the initial weights draw from torch's own generator
    generator = torch.Generator().manual_seed(seed)
    net = lenet5().train()
    optimizer = torch.optim.AdamW(net.parameters())
    steps = epochs * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for epoch in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = cross_entropy(net(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that `net` classifies correctly."""
    return (net(images).argmax(1) == labels).double().mean().item()


if __name__ == "__main__":
    main()
