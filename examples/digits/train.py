"""Trains the digits example and writes digits.safetensors (one minute on one core).

    python examples/digits/train.py [--epochs 60] [--seed 0] [-o digits.safetensors]

Prints the accuracy on the validation images, which take no part in the training or in any choice.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from model import WEIGHTS, DigitNet, train_data, validation_data
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

BATCH = 64


def main() -> None:
    """Parse the options, train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    net = train(options.epochs, options.seed)
    images, labels = validation_data()
    print(f"test accuracy {accuracy(net, images, labels):.4f} on {len(images)} images, seed {options.seed}")
    save_file(net.state_dict(), options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def train(epochs: int, seed: int) -> DigitNet:
    """A network trained on `train_data`, in eval mode. Same seed and threads, same weights."""
    torch.manual_seed(seed)  # initial weights and dropout draw from torch's own generator
    generator = torch.Generator().manual_seed(seed)
    images, labels = train_data()
    net = DigitNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = epochs * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for epoch in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = cross_entropy(net(jitter(images[rows], generator)), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    return net.eval()


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image `[N, 1, H, W]` turned by up to 12 degrees, scaled by 10 % and shifted by 8 %."""
    turn, scale, right, down = (torch.rand(4, len(images), generator=generator) * 2 - 1).unbind()
    angle, size = turn * math.radians(12), 1 + scale * 0.1
    cosine, sine = angle.cos() * size, angle.sin() * size
    rows = [torch.stack([cosine, -sine, right * 0.16], 1), torch.stack([sine, cosine, down * 0.16], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


@torch.no_grad()
def accuracy(net: torch.nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that `net` classifies correctly."""
    return (net(images).argmax(1) == labels).double().mean().item()


if __name__ == "__main__":
    main()
