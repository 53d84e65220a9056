"""Trains one of the two CIFAR-10 examples and writes its weights beside its model.py, in half precision.

    python examples/train_cifar10.py cifar10_cnn6 --data FOLDER
    python examples/train_cifar10.py cifar10_resnet20 --data FOLDER

FOLDER holds CIFAR-10; without --data, COLLABPLAN_DATA names it. Prints the accuracy on CIFAR-10's test images, which
take no part in the training or in any choice. Arithmetic is bfloat16; an epoch takes minutes on two cores. After each
epoch the state is kept in a `.partial` file beside the weights, from which an interrupted run continues.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from collabplan.records import CollabplanError
from example_data import load_example
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

BATCH = 128
SHIFT = 4
"""Training images are shifted by up to SHIFT pixels, and half of them are mirrored."""


@dataclass(frozen=True)
class Cycle:
    """A cycle of epochs: the learning rate rises to `rate` and falls to 0; labels are smoothed by `smoothing`."""

    epochs: int
    rate: float
    smoothing: float


CYCLES = {
    "cifar10_cnn6": (Cycle(12, 0.02, 0.05), Cycle(8, 0.01, 0.05)),
    "cifar10_resnet20": (Cycle(30, 0.2, 0.05), Cycle(24, 0.1, 0.0), Cycle(10, 0.05, 0.05)),
}
"""The weights are the average over the ends of the cycles (Izmailov et al., UAI 2018)."""

RECALIBRATION = 40
"""Batches for the batch-norm statistics of averaged weights."""


def main() -> None:
    """Parse the options, train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", choices=sorted(CYCLES))
    parser.add_argument("--data", type=Path, help="folder with CIFAR-10 (default: COLLABPLAN_DATA)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    example = load_example(options.example)
    output = options.output or example.WEIGHTS
    try:
        data = example.parts(options.data)
    except CollabplanError as error:
        sys.exit(str(error))
    partial = output.with_suffix(".partial")
    images, labels = data["train"]
    net = train(example.network, images, labels, CYCLES[options.example], options.seed, partial)
    half = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    net.load_state_dict({name: value.float() for name, value in half.items()})
    images, labels = data["validation"]
    print(f"test accuracy {accuracy(net, images, labels):.4f} on {len(images)} images, seed {options.seed}")
    save_file(half, output)
    partial.unlink(missing_ok=True)
    print(f"{output}: {output.stat().st_size:,} bytes")


def train(
    network: Callable[[], nn.Module], images: Tensor, labels: Tensor, cycles: Sequence[Cycle], seed: int, partial: Path
) -> nn.Module:
    """A network trained on `images` `[N, 3, 32, 32]` and `labels` `[N]`, in eval mode."""
    torch.manual_seed(seed)  # the initial weights draw from torch's own generator
    net = network().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = math.ceil(len(images) / BATCH)
    state = torch.load(partial, weights_only=True) if partial.exists() else None
    if state is not None:
        net.load_state_dict(state["net"])
    before, ends = 0, list(state["ends"]) if state is not None else []
    for cycle in cycles:
        optimizer = torch.optim.SGD(net.parameters(), cycle.rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, cycle.rate, cycle.epochs * steps, pct_start=0.2)
        first, last = before, before + cycle.epochs
        before = last
        if state is not None and state["epoch"] >= last:
            continue
        if state is not None and state["epoch"] > first:
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            first = state["epoch"]
        for epoch in range(first, last):
            train_epoch(net, images, labels, epoch, seed, optimizer, schedule, cycle.smoothing)
            if epoch + 1 == last:
                ends.append({name: value.clone() for name, value in net.state_dict().items()})
            kept = {
                "net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
                "epoch": epoch + 1, "ends": ends,
            }  # fmt: skip
            torch.save(kept, partial.with_suffix(".writing"))
            partial.with_suffix(".writing").replace(partial)
    if len(ends) > 1:
        net.load_state_dict(
            {name: sum(end[name].double() for end in ends).div(len(ends)).to(ends[0][name].dtype) for name in ends[0]}
        )
        recalibrate(net, images, torch.Generator().manual_seed(seed))
    return net.eval().to(memory_format=torch.contiguous_format)


@torch.no_grad()
def recalibrate(net: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Recompute batch-norm statistics: averaging weights does not average them."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # an average of all batches
    net.train()
    for _ in range(RECALIBRATION):
        net(jitter(images[torch.randint(0, len(images), (BATCH,), generator=generator)], generator))


def train_epoch(
    net: nn.Module, images: Tensor, labels: Tensor, epoch: int, seed: int, optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler, smoothing: float,
) -> None:  # fmt: skip
    """Every image once, in an order that epoch and seed decide."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(seed * 1000 + epoch)
    total = 0.0
    for rows in torch.randperm(len(images), generator=generator).split(BATCH):
        batch = jitter(images[rows], generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(net(batch).float(), labels[rows], label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * len(rows)
    print(f"epoch {epoch + 1}: loss {total / len(images):.3f}, {time.perf_counter() - started:.0f} s", flush=True)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image `[N, C, H, W]` shifted by up to `SHIFT` pixels, half of them mirrored."""
    count, _, height, width = images.shape
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    columns = right[:, None] + torch.arange(width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = down[:, None] + torch.arange(height)
    padded = pad(images, (SHIFT,) * 4, mode="reflect").movedim(1, -1)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that `net` classifies correctly."""
    right = [(net(part).argmax(1) == truth) for part, truth in zip(images.split(500), labels.split(500), strict=True)]
    return torch.cat(right).double().mean().item()


if __name__ == "__main__":
    main()
