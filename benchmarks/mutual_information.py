"""Bars 2.1 to 2.6 and 2.11: estimates of mutual information against channels whose answer is known.

    .venv/bin/python benchmarks/mutual_information.py [--only 1,3] [--seeds 100]

Every reference is computed in the same run on the same samples.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator
from itertools import pairwise

import torch
from collabplan.estimators import ESTIMATORS, Channel, Components, estimator_named
from collabplan.estimators.fano import reidentification_ceiling
from collabplan.estimators.kde import bhattacharyya_nats, kullback_leibler_nats
from collabplan.estimators.logdet import log_det_nats
from collabplan.estimators.mine import mine_information
from collabplan.estimators.ridge import Kernels, ridge_index
from collabplan.estimators.sandwich import Bounds, SampledNoise
from report import bar, machine
from scipy.optimize import brentq
from sklearn.datasets import load_digits
from torch import Tensor

DIMENSIONS, SAMPLES = 3072, 2000
RATES = (0.1, 0.3, 0.5, 0.8, 0.9)

MASKS = 12
"""A single mask keeps more or fewer elements by chance, which moves 5 nats by 0.05."""


def seeded(seed: int) -> torch.Generator:
    """A CPU generator."""
    return torch.Generator().manual_seed(seed)


def channel_of(rows: Tensor) -> Channel:
    """T = rows + N(0, I), the rows themselves as inputs."""
    return Channel.from_rows(rows, rows, 1.0)


def white(nats: float, samples: int, generator: torch.Generator, dimensions: int = DIMENSIONS) -> Tensor:
    """Rows of the white Gaussian h(X) that tells `nats` through unit noise."""
    return torch.randn(samples, dimensions, generator=generator) * math.sqrt(math.expm1(2 * nats / dimensions))


def scaled_spectrum(power: float, nats: float) -> Tensor:
    """Variances proportional to 1 / k^power, `[d]`, whose Gaussian tells `nats` through unit noise."""
    shape = torch.arange(1, DIMENSIONS + 1, dtype=torch.float64).pow(-power)
    scale = brentq(lambda log: float(torch.log1p(math.exp(log) * shape).sum()) / 2 - nats, -30, 60)
    return shape * math.exp(scale)


def sandwich_bars(seeds: int) -> None:
    """2.1: the middle, the coverage and the width."""
    for nats, count in ((1.0, max(seeds // 5, 1)), (3.0, max(seeds // 5, 1)), (5.0, seeds)):
        found: list[Bounds] = []
        kde, batches = [], []
        for seed in range(count):
            generator = seeded(seed)
            channel = channel_of(white(nats, SAMPLES, generator))
            noise = SampledNoise(channel, generator)
            found.append(noise.bounds())
            if seed < 5:
                kde.append((bhattacharyya_nats(channel.distances) + kullback_leibler_nats(channel.distances)) / 2)
                few = SampledNoise(channel.take(torch.arange(128)), generator)
                batches.append(few.bounds().low)
        errors = [abs((item.low + item.up) / 2 / nats - 1) for item in found]
        reference = {
            "middle of the KDE pair, relative error": round(abs(statistics.mean(kde) / nats - 1), 4),
            "InfoNCE with batches of 128, relative error": round(abs(statistics.mean(batches) / nats - 1), 4),
        }
        bar(
            "2.1", f"middle of the sandwich at {nats:g} nats, worst relative error", round(max(errors), 4), "share",
            target=0.03, holds=max(errors) <= 0.03, reference=reference, seeds=count,
            mean=round(statistics.mean(errors), 4),
        )  # fmt: skip
        estimates = [item.as_estimate(real_noise=True) for item in found]
        ends = [(e.lower, e.upper) for e in estimates if e.lower is not None and e.upper is not None]
        covered = sum(low <= nats <= high for low, high in ends)
        bar(
            "2.1", f"95 % intervals that hold {nats:g} nats", covered, f"of {count} seeds", target=0.93,
            holds=covered >= 0.93 * count,
        )  # fmt: skip
        width = statistics.median(high - low for low, high in ends)
        bar(
            "2.1", f"median width of the interval at {nats:g} nats", round(width, 3), "nats",
            target=0.8 if nats == 5 else None, holds=width <= 0.8 if nats == 5 else None,
        )  # fmt: skip


def log_det_bars() -> None:
    """2.2: spectra 1/k and 1/k^2 in a random basis."""
    generator = seeded(0)
    basis, _ = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS, generator=generator))
    for power in (1.0, 2.0):
        for nats in (1.0, 5.0, 20.0, 50.0, 100.0, 1000.0):
            spread = scaled_spectrum(power, nats).sqrt().float()
            channel = channel_of((torch.randn(SAMPLES, DIMENSIONS, generator=generator) * spread) @ basis.T)
            plain = channel.gram / (SAMPLES - 1)
            plain.diagonal().add_(1.0)
            error = log_det_nats(channel) / nats - 1
            within = nats <= 100
            bar(
                "2.2", f"log-det, spectrum 1/k^{power:g}, {nats:g} nats: relative error", round(error, 4), "share",
                target=0.1 if within else None, holds=abs(error) <= 0.1 if within else None,
                reference={"without shrinkage": round(float(torch.logdet(plain)) / 2 / nats - 1, 4)},
            )  # fmt: skip


def known_bars() -> None:
    """2.3: what is known exactly."""
    points = torch.arange(SAMPLES).remainder(10)
    channel = channel_of(torch.nn.functional.one_hot(points, 10) * 50.0)
    for name in ("kde", "sandwich"):
        error = abs(estimator_named(name).estimate(channel, seeded(0)).value - math.log(10))
        bar("2.3", f"{name}, ten points: error", round(error, 4), "nats", target=0.02, holds=error <= 0.02)
    constant = channel_of(torch.ones(500, 4))
    for name in ESTIMATORS:
        value = estimator_named(name).estimate(constant, seeded(0)).value
        bar("2.3", f"{name}, constant T", value, "nats", target=0, holds=value == 0)
    images = torch.from_numpy(load_digits().data).float() / 16
    rows = images[torch.randperm(len(images), generator=seeded(1))]
    rows = torch.relu((rows - rows.mean(dim=0)) @ torch.randn(64, 512, generator=seeded(2)))
    centred = rows - rows.mean(dim=0)
    index = ridge_index([Kernels(centred @ centred.T)], Components.of(images)).index.value
    bar("2.3", "ridge index, shuffled pairs of digits", round(index, 4), "index", target=0.02, holds=index <= 0.02)
    values = []
    for seed in range(10):
        generator = seeded(seed)
        pair = [torch.randn(SAMPLES, 16, generator=generator) for _ in range(2)]
        values.append(mine_information(*pair, generator=generator).value)
    bar("2.3", "MINE, independent pairs, worst of 10 seeds", round(max(values), 4), "nats", target=0.05,
        holds=max(values) <= 0.05)  # fmt: skip


def varied_channels() -> Iterator[Channel]:
    """Channels of many strengths: Gaussian, digits, random ReLU features of digits."""
    images = torch.from_numpy(load_digits().data).float()[:600] / 16
    features = torch.relu(images @ torch.randn(64, 300, generator=seeded(3)) / 8 - 0.2)
    for seed in range(3):
        for nats in (0.5, 2.0, 4.0, 8.0, 40.0):
            yield channel_of(white(nats, 600, seeded(seed), 512))
    for rows in (images, features):
        for noise in (0.05, 0.3, 1.0, 3.0, 10.0):
            yield channel_of(rows / noise)


def monotone_bars() -> None:
    """2.4: more dropout or more noise never tells more."""
    keeps = [1 - 0.05 * step for step in range(20)]
    good: dict[str, int] = {}
    pairs = 0
    for channel in varied_channels():
        noise = SampledNoise(channel, seeded(0))
        for attenuations in (keeps, [1.25 ** (-2 * step) for step in range(20)]):
            values: dict[str, list[float]] = {name: [] for name in ("KL", "BD", "low", "up", "log-det")}
            for keep in attenuations:
                bounds, distances = noise.bounds(keep), channel.distances * keep
                found = (kullback_leibler_nats(distances), bhattacharyya_nats(distances), bounds.low, bounds.up)
                for name, value in zip(values, (*found, log_det_nats(channel, keep)), strict=True):
                    values[name].append(value)
            pairs += len(attenuations) - 1
            for name, series in values.items():
                falls = sum(b <= a + 1e-9 for a, b in pairwise(series))
                good[name] = good.get(name, 0) + falls
    for name, count in good.items():
        share = count / pairs
        bar("2.4", f"{name}: adjacent pairs that do not rise", round(share, 5), "share", target=0.99,
            holds=share >= 0.99, pairs=pairs)  # fmt: skip


def saturation_bars() -> None:
    """2.5: who cannot be resolved is told so, and nobody else."""
    missed = beyond = alarms = within = 0
    for samples in (200, 500, 2000):
        for seed in range(5):
            for extra in (2.0, 3.0, 10.0, 100.0):
                generator = seeded(seed)
                rows = white(math.log(samples) + extra, samples, generator, 1024)
                beyond += 1
                missed += not SampledNoise(channel_of(rows), generator).bounds().saturated
            for nats in (0.1, 0.5, 1.0, 2.0, 3.0):
                generator = seeded(seed)
                within += 1
                alarms += SampledNoise(channel_of(white(nats, samples, generator, 1024)), generator).bounds().saturated
    bar("2.5", "saturated channels (truth >= ln N + 2) that were told", beyond - missed, f"of {beyond}", target=beyond,
        holds=missed == 0)  # fmt: skip
    bar("2.5", "false alarms at truth <= 3", alarms, f"of {within}", target=0, holds=alarms == 0)


def dropout_bars() -> None:
    """2.6: element dropout in closed form against explicit masks, X of 1 to 5 nats before dropout."""
    worst: dict[str, float] = {}
    for kind in ("Gaussian", "rectified"):
        for nats in (1.0, 3.0, 5.0):
            generator = seeded(int(nats))
            rows = white(nats, SAMPLES // 2, generator)
            if kind == "rectified":
                rows = torch.relu(rows) * math.sqrt(2 * math.pi / (math.pi - 1))  # of the same variance
            channel = channel_of(rows)
            noise = SampledNoise(channel, seeded(0))
            for rate in RATES:
                explicit = []
                for mask in range(MASKS):
                    kept = torch.rand(DIMENSIONS, generator=seeded(100 + mask)) >= rate
                    masked = channel_of(rows[:, kept])
                    bounds = SampledNoise(masked, seeded(0)).bounds()
                    explicit.append((kullback_leibler_nats(masked.distances), bhattacharyya_nats(masked.distances),
                                     (bounds.low + bounds.up) / 2))  # fmt: skip
                distances, bounds = channel.distances * (1 - rate), noise.bounds(1 - rate)
                closed = (kullback_leibler_nats(distances), bhattacharyya_nats(distances), (bounds.low + bounds.up) / 2)
                for name, value, seen in zip(
                    ("KL", "BD", "sandwich"), closed, zip(*explicit, strict=True), strict=True
                ):
                    worst[name] = max(worst.get(name, 0.0), abs(value - statistics.mean(seen)))
    for name, value in worst.items():
        bar("2.6", f"{name}: closed form against explicit masks, worst", round(value, 4), "nats", target=0.06,
            holds=value <= 0.06, rates=RATES)  # fmt: skip


def fano_bars() -> None:
    """2.11: the attacker who knows the exact likelihood stays below the ceiling."""
    images = torch.from_numpy(load_digits().data).float() / 16
    cases = {f"Gaussian, {nats:g} nats": white(nats, 1000, seeded(0), 1024) for nats in (0.5, 1.0, 2.0, 3.0, 5.0)}
    cases |= {f"digits, noise {noise:g} of the range": images / noise for noise in (0.1, 0.3, 0.6, 1.0, 2.0, 4.0)}
    for name, rows in cases.items():
        generator = seeded(1)
        channel = channel_of(rows)
        ceiling = reidentification_ceiling(kullback_leibler_nats(channel.distances), len(rows))
        right = 0
        for _ in range(10):
            released = rows + torch.randn(rows.shape, generator=generator)
            right += int((torch.cdist(released, rows).argmin(dim=1) == torch.arange(len(rows))).sum())
        reached = right / (10 * len(rows))
        bar("2.11", f"re-identification, {name}", round(reached, 4), "share", target=round(ceiling, 4),
            holds=reached <= ceiling, reference={"guessing": round(1 / len(rows), 5)})  # fmt: skip


def main() -> None:
    """Print the bars that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="1,2,3,4,5,6,11")
    parser.add_argument("--seeds", type=int, default=100)
    arguments = parser.parse_args()
    runs = {
        "1": lambda: sandwich_bars(arguments.seeds),
        "2": log_det_bars,
        "3": known_bars,
        "4": monotone_bars,
        "5": saturation_bars,
        "6": dropout_bars,
        "11": fano_bars,
    }
    for number in arguments.only.split(","):
        runs[number]()
    machine(("torch", "numpy", "scipy", "scikit-learn"))


if __name__ == "__main__":
    main()
