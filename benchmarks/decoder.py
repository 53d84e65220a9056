"""Bar 4.6: `inverse` and `recognition` at quick effort beside a plain decoder at late cuts, on the same images.

    .venv/bin/python benchmarks/decoder.py [--layers layer2.2,layer3.2] [--rates 0,0.5]     some minutes a pair

The reference is what anybody would write in an evening: a residual network from the release to the image, five epochs
over 12,000 auxiliary images in batches of 64, Adam with a one-cycle rate up to 2e-3, squared error, fresh masks at each
step. `inverse` is under-trained where it reads less, and `recognition` should re-identify no less. The victim is the
public ResNet-20.
"""

from __future__ import annotations

import argparse
import time

import torch
from collabplan.attacks import EFFORTS, AdversaryView, AuditTarget, attack_named
from collabplan.attacks.metrics import reidentified, squared_errors
from collabplan.defenses.seeds import generator_for
from collabplan.records import DefenseRecord, DropoutRecord
from report import bar, machine
from torch import Tensor, nn

from attacks import Bench, bench, data_name

EPOCHS, BATCH, GREATEST_RATE, WIDTH = 5, 64, 2e-3, 64
AUXILIARY, TARGETS = 12_000, 1000
WITHIN = 0.05
SEED = 0


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalization beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def plain_decoder(channels: int, side: int, image_side: int) -> nn.Module:
    """From `[n, channels, side, side]` to `[n, 3, image_side, image_side]`."""
    layers: list[nn.Module] = [nn.Conv2d(channels, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU(), Block(WIDTH)]
    while side < image_side:
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), Block(WIDTH)]
        side *= 2
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, 3, 3, padding=1), nn.Sigmoid())


def plain_images(device: Bench, target: AuditTarget) -> Tensor:
    """The reference's reconstructions of the targets."""
    own = device.attacker.take(torch.arange(min(AUXILIARY, len(device.attacker))))
    images, draws = target.pixels(own), generator_for(SEED, "plain")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        channels, side, _ = target.cut.crossing[0].sample_shape
        decoder = plain_decoder(channels, side, images.shape[-1])
    rows = target.clean_rows(own)
    optimiser = torch.optim.Adam(decoder.parameters())
    batches = len(own) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, GREATEST_RATE, total_steps=EPOCHS * batches)
    orders = [torch.randperm(len(own), generator=draws) for _ in range(EPOCHS)]
    for at in (part for order in orders for part in torch.split(order, BATCH)[:batches]):
        released = target.release_rows(tuple(row[at] for row in rows), own.take(at), draws)
        loss = nn.functional.mse_loss(decoder(released.rows[0].float()), images[at])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    decoder.eval()
    seen = target.release(device.targets.take(torch.arange(TARGETS)), generator_for(SEED, "targets")).rows[0]
    with torch.no_grad():
        return torch.cat([decoder(part.float()) for part in torch.split(seen, 256)])


def our_images(device: Bench, target: AuditTarget, attack: str) -> Tensor:
    """Those of an attack at quick effort."""
    effort, draws = EFFORTS["quick"], generator_for(SEED, attack)
    view = AdversaryView(target, device.attacker, "black-box").limited(effort.fit_samples)
    attacker = attack_named(attack).fit(view, effort, draws)
    released = target.release(device.targets.take(torch.arange(TARGETS)), generator_for(SEED, "targets"))
    return attacker.reconstruct(view.perceived(released), draws).images


def compare(device: Bench, layer: str, rate: float) -> None:
    """One pair's figures. The index here is 1 - MSE / MSE of the mean image, of the images as they are."""
    record = DefenseRecord(stages=(DropoutRecord(granularity="element", rate=rate),) if rate else ())
    target = device.target(layer, record)
    originals = target.pixels(device.targets.take(torch.arange(TARGETS)))
    prior = float(squared_errors(target.pixels(device.attacker).mean(dim=0).expand_as(originals), originals).mean())
    found = {}
    for name in ("plain", "inverse", "recognition"):
        started = time.process_time()
        images = plain_images(device, target) if name == "plain" else our_images(device, target, name)
        found[name] = {
            "index": round(1 - float(squared_errors(images, originals).mean()) / prior, 3),
            "reidentified": round(float(reidentified(images, originals).mean()), 3),
            "cpu_seconds": round(time.process_time() - started),
        }
    plain, pair = found["plain"], f"{layer}, dropout {rate:g}"
    for attack, figure, slack in (("inverse", "index", WITHIN), ("recognition", "reidentified", 0.0)):
        ours, least = found[attack], round(plain[figure] - slack, 3)
        bar(
            "4.6", f"{pair}: {attack} at quick effort", ours[figure], figure,
            target=least, holds=ours[figure] >= least, reference=plain[figure], ours=ours, plain=plain,
            seconds_ratio=round(ours["cpu_seconds"] / plain["cpu_seconds"], 2), data=data_name(device.name),
        )  # fmt: skip


def main() -> None:
    """Run and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="layer3.2")
    parser.add_argument("--rates", default="0,0.5")
    options = parser.parse_args()
    device = bench("cifar10_resnet20")
    for layer in options.layers.split(","):
        for rate in options.rates.split(","):
            compare(device, layer, float(rate))
    machine()


if __name__ == "__main__":
    main()
