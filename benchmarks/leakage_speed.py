"""Bars 2.9 and 2.10: a whole model's leakage in minutes and little memory, and ranks that another sample repeats.

    .venv/bin/python benchmarks/leakage_speed.py --only 9       CIFAR-10 where COLLABPLAN_DATA holds it, else synthetic
    bench-env/bin/python benchmarks/leakage_speed.py --only 10  ResNet-18 of torchvision at 224 x 224

Each runs in a process of its own, whose greatest resident memory is the figure.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from collabplan.defenses import Defense
from collabplan.estimators import Components, CutLeakage, EdgeActivations, estimator_named, private_inputs
from collabplan.estimators.gram import clean_rows, squared_distances
from collabplan.estimators.interface import Channel
from collabplan.graph import Cut, candidate_cuts, trace
from collabplan.records import DefenseRecord, DropoutRecord, QuantizerRecord
from collabplan.targets import Data, InputScaling
from report import bar, machine
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

RATES = (0.0, 0.3, 0.5, 0.7, 0.9)
CUTS = 40
SAMPLES = 2000
MINE_PAIRS = 5
"""Pairs that MINE is timed on; all 200 would take as many times longer."""


class Block(nn.Module):
    """A basic residual block with a parameter-free shortcut (He et al. 2016, option A)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride, self.extra = stride, (out - channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return functional.relu(h + x)


class ResNet44(nn.Module):
    """ResNet-44 for 32 x 32 images: more than 40 cuts that one tensor crosses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [(16, 16, 1)] * 7 + [(16, 32, 2)] + [(32, 32, 1)] * 6 + [(32, 64, 2)] + [(64, 64, 1)] * 6
        self.blocks = nn.Sequential(*[Block(*width) for width in widths])
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(functional.relu(self.bn(self.conv(x)))).mean((2, 3)))


def cifar(part: str, count: int) -> tuple[Tensor, Tensor] | None:
    """Images `[count, 3, 32, 32]` in [0, 1] and labels of CIFAR-10 as a zip of folders; None where there is none."""
    path = Path(os.environ.get("COLLABPLAN_DATA", "")) / "cifar10-jpeg.zip"
    if not path.is_file():
        return None
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(part) and name.endswith(".jpg"))
        classes = sorted({name.split("/")[-2] for name in names})
        chosen = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:count]]
        images = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in chosen])
    labels = torch.tensor([classes.index(name.split("/")[-2]) for name in chosen])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, labels


def synthetic(count: int, size: int) -> Tensor:
    """Smooth random images `[count, 3, size, size]` in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(count, 3, size, size)
    for grid in (2, 4, 8, 16):
        noise = torch.randn(count, 3, grid, grid, generator=generator) * (2 / grid)
        images += functional.interpolate(noise, size=size, mode="bilinear")
    return images.sigmoid_()


def train_worker(weights: str, steps: int = 150) -> dict[str, object]:
    """Train ResNet-44 shortly, in a process of its own: what training holds is no part of the figure."""
    torch.manual_seed(0)
    model = ResNet44()
    train = cifar("train", 12_800)
    if train is None:
        model(synthetic(256, 32))  # sets the running statistics
    else:
        images, labels = train
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, steps)
        for step in range(steps):
            at = torch.arange(step * 128, (step + 1) * 128) % len(images)
            loss = functional.cross_entropy(model(images[at] * 4 - 2), labels[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    torch.save(model.state_dict(), weights)
    return {"data": "synthetic, untrained" if train is None else f"CIFAR-10 (JPEG), ResNet-44 after {steps} steps"}


def spread(cuts: list[Cut], count: int) -> list[Cut]:
    """`count` of the cuts, evenly by depth."""
    return [cuts[round(i * (len(cuts) - 1) / (count - 1))] for i in range(count)]


def defenses(cut: Cut, rows: tuple[Tensor, ...]) -> list[Defense]:
    """Element dropout of every rate on an 8-bit wire, calibrated."""
    made = []
    for rate in RATES:
        drop = [DropoutRecord(granularity="element", rate=rate)] if rate else []
        made.append(Defense(DefenseRecord.of(*drop, QuantizerRecord()), cut.crossing).calibrate(rows))
    return made


def indices(rows: tuple[Tensor, ...], inputs: Components, cut: Cut, chosen: list[Defense]) -> list[float]:
    """The leakage index under every defense."""
    shared = CutLeakage(rows, inputs, cut, rates=RATES)
    return [shared.under(defense, generator=torch.Generator().manual_seed(0)).index.value for defense in chosen]


def speed_worker(weights: str) -> dict[str, object]:
    """Time, memory and rank agreement of 40 cuts x 5 rates; MINE alone on a few of the pairs."""
    model = ResNet44().eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    test = cifar("test", SAMPLES)
    images = synthetic(SAMPLES, 32) if test is None else test[0]
    traced = trace(model, (images[:2] * 4 - 2,))
    searchable = [
        cut for cut in candidate_cuts(traced, 1) if cut.searchable and cut.kind == "proper" and not cut.sends_raw_input
    ]
    cuts = spread(searchable, CUTS)
    data = Data((images * 4 - 2,))
    unit = private_inputs(data, traced.tensor_inputs, InputScaling.from_range(-2, 2))
    components, halves = Components.of(unit), (slice(0, SAMPLES // 2), slice(SAMPLES // 2, None))
    half_components = [Components.of([part[half] for part in unit]) for half in halves]
    estimators = [estimator_named(name) for name in ("kde", "sandwich", "logdet")]
    taken = mine_taken = 0.0
    mine_pairs: set[tuple[int, int]] = {(i * CUTS // MINE_PAIRS, i % len(RATES)) for i in range(MINE_PAIRS)}
    ranks: tuple[list[float], list[float]] = ([], [])
    whole: list[float] = []
    peak = 0
    for position, (cut, rows) in enumerate(EdgeActivations(traced, cache_bytes=150_000_000).sweep(cuts, data)):
        chosen = defenses(cut, rows)
        started = time.perf_counter()
        shared = CutLeakage(rows, components, cut, rates=RATES)
        found = [
            shared.under(defense, generator=torch.Generator().manual_seed(0), estimators=estimators)
            for defense in chosen
        ]
        taken += time.perf_counter() - started
        del shared
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        whole += [item.index.value for item in found]
        for values, half, own in zip(ranks, halves, half_components, strict=True):
            values += indices(tuple(row[half] for row in rows), own, cut, chosen)
        for number, defense in enumerate(chosen):
            if (position, number) in mine_pairs:
                mine_taken += mine_seconds(rows, components, defense)
        print(f"{position + 1}/{len(cuts)} {cut.name}: {taken:.1f} s", file=sys.stderr, flush=True)
        del rows, chosen, found
    return {
        "seconds": taken,
        "peak_bytes": peak,
        "mine_seconds_per_pair": mine_taken / len(mine_pairs),
        "spearman": float(spearmanr(*ranks).statistic),
        "features": [sum(crossing.sample_elements for crossing in cut.crossing) for cut in cuts],
        "index": whole,
    }


def mine_seconds(rows: tuple[Tensor, ...], components: Components, defense: Defense) -> float:
    """What MINE alone takes for one pair, from rows to estimate."""
    started = time.perf_counter()
    private = defense.private
    distances = torch.stack(squared_distances(clean_rows(private, list(rows)))).sum(dim=0)
    channel = Channel(components.scores[0], distances * (1 - defense.rate), 1, real_noise=False)
    estimator_named("mine").estimate(channel, torch.Generator().manual_seed(0))
    return time.perf_counter() - started


def memory_worker(_weights: str) -> dict[str, object]:
    """The leakage of a ResNet-18 at 224 x 224 through the command, at its default settings but for MINE."""
    folder = tempfile.mkdtemp()
    Path(folder, "resnet18.py").write_text(RESNET18.format(benchmarks=str(Path(__file__).parent.resolve())))
    command = [str(Path(sys.executable).with_name("collabplan")), "leakage", "resnet18.py", "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    report = json.loads(done.stdout)
    return {
        "seconds": taken,
        "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "rows": len(report["rows"]),
        "samples": report["sample_count"],
    }


RESNET18 = """
import sys, torch
sys.path.insert(0, {benchmarks!r})
from leakage_speed import synthetic
from zoo import torchvision_module

def model():
    torch.manual_seed(0)
    return torchvision_module().models.resnet18(weights=None)

example_inputs = torch.randn(1, 3, 224, 224)
input_range = (0.0, 1.0)

def validation_data():
    return synthetic(1000, 224), torch.zeros(1000, dtype=torch.long)
"""


WORKERS = {"train": train_worker, "speed": speed_worker, "memory": memory_worker}


def in_process(worker: str, weights: str = "") -> dict[str, Any]:
    """What a worker returns, run in a process of its own."""
    # Without this the kernel hands out and clears the same pages again and again.
    keep = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "536870912", "MALLOC_TOP_PAD_": "67108864"}
    done = subprocess.run(
        [sys.executable, __file__, "--worker", worker, "--weights", weights],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **(keep if worker == "speed" else {})},
    )
    returned: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return returned


def main() -> None:
    """Print the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, choices=(9, 10))
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--weights", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker](arguments.weights)))
        return
    if arguments.only != 10:
        with tempfile.TemporaryDirectory() as folder:
            weights = str(Path(folder, "weights.pt"))
            data = in_process("train", weights)["data"]
            found = in_process("speed", weights)
        pairs = CUTS * len(RATES)
        about = {"data": data, "pairs": len(found["index"]), "samples": SAMPLES, "largest_cut": max(found["features"])}
        seconds, mine = found["seconds"], found["mine_seconds_per_pair"] * pairs
        bar(
            "2.9",
            "40 cuts x 5 rates without forward passes",
            round(seconds, 1),
            "s",
            target=180,
            holds=seconds <= 180 and len(found["index"]) == pairs,
            **about,
        )
        ratio = mine / seconds
        bar(
            "2.9", "MINE alone / all cheap estimators and the index", round(ratio, 1), "ratio", target=8,
            holds=ratio >= 8 and len(found["index"]) == pairs,
            reference={"MINE, all pairs, from the time of some": round(mine, 1), "timed pairs": MINE_PAIRS},
        )  # fmt: skip
        gib = found["peak_bytes"] / 2**30
        bar("2.9", "peak resident memory", round(gib, 2), "GiB", target=2,
            holds=gib <= 2 and len(found["index"]) == pairs)  # fmt: skip
        rho = found["spearman"]
        bar(
            "2.9",
            "Spearman of the index on disjoint halves",
            round(rho, 4),
            "rank correlation",
            target=0.95,
            holds=rho >= 0.95,
        )
    if arguments.only != 9:
        found = in_process("memory")
        gib = found["peak_bytes"] / 2**30
        bar(
            "2.10", "ResNet-18 at 224 x 224, collabplan leakage, peak resident memory", round(gib, 2), "GiB", target=4,
            holds=gib <= 4 and found["rows"] > 0, seconds=round(found["seconds"]), rows=found["rows"],
            samples=found["samples"],
        )  # fmt: skip
    machine()


if __name__ == "__main__":
    main()
