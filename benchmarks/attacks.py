"""Bars 3.1 to 3.3: attacks beside the published ones, what dropout really does to them, and their speed.

    .venv/bin/python benchmarks/attacks.py --only 1 --example mnist_lenet     COLLABPLAN_DATA names the data folder
    .venv/bin/python benchmarks/attacks.py --only 2 --example cifar10_cnn6
    .venv/bin/python benchmarks/attacks.py --only 3

The published figures are those of He, Zhang & Lee (ACSAC 2019, IEEE IoT-J 2020): ten images, the same networks and
layers. Ours are means over all images that were attacked. What is finished is kept under --work, so that a stopped run
goes on. The CIFAR-10 images may be JPEG copies: every line names the data as what they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from collabplan.attacks import (
    ATTACKS,
    EFFORTS,
    AdversaryView,
    ArtifactCache,
    Attack,
    Attacker,
    AuditRequest,
    AuditTarget,
    Effort,
    ObservedReleases,
    attack_named,
    run_audit,
)
from collabplan.attacks.likelihood import MaximumLikelihood
from collabplan.attacks.metrics import psnr_db, squared_errors
from collabplan.attacks.similarity import ssim
from collabplan.defenses import Defense
from collabplan.defenses.seeds import generator_for
from collabplan.estimators import EdgeActivations
from collabplan.graph import Cut, TracedGraph, candidate_cuts, trace
from collabplan.records import DefenseRecord, DropoutRecord, QuantizerRecord, Threat, hash_json
from collabplan.targets import Data, InputScaling
from report import bar, machine
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

from example_data import CIFAR_ZIP, data_folder, load_example

SCALING = InputScaling.from_range(-1, 1)
ABOVE_PRIOR_DB = 0.5
NAIVE_SSIM = 0.25
RECOGNISABLE = 0.5
RATES = (0.3, 0.5, 0.7, 0.9)
EFFORT = Effort("standard", 1000, 10_000, 3000, 1000, 100, 32, False)
"""Of the table: fixed steps, so that it says what so much work buys."""

CURVE = replace(EFFORTS["quick"], targets=1000, fit_samples=6000, train_steps=1000)
SEED = 0
FEW = 16
"""Images that are attacked one at a time."""

T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """(PSNR in dB, SSIM) by threat model; the query-free attacker owns the training data, or other data."""

    example: str
    layer: str
    white_box: tuple[float, float]
    black_box: tuple[float, float]
    same_data: tuple[float, float]
    other_data: tuple[float, float]


PUBLISHED = (
    Published("mnist_lenet", "conv1", (39.69, 0.997), (40.72, 0.995), (17.60, 0.742), (21.53, 0.912)),
    Published("mnist_lenet", "ReLU2", (15.10, 0.600), (20.81, 0.805), (9.61, 0.498), (9.27, 0.465)),
    Published("cifar10_cnn6", "conv11", (37.59, 0.996), (49.02, 0.999), (21.16, 0.910), (21.45, 0.915)),
    Published("cifar10_cnn6", "ReLU22", (19.47, 0.694), (19.36, 0.680), (12.74, 0.175), (11.51, 0.172)),
    Published("cifar10_cnn6", "ReLU32", (13.38, 0.163), (13.95, 0.220), (11.09, 0.042), (11.98, 0.010)),
)
NAMES = {"mnist_lenet": "MNIST", "cifar10_cnn6": "CIFAR-10", "cifar10_resnet20": "CIFAR-10"}


@dataclass(frozen=True, eq=False)
class Bench:
    """One example, traced, with its data in their roles."""

    name: str
    traced: TracedGraph
    cuts: tuple[Cut, ...]
    targets: Data
    intercepted: Data
    attacker: Data
    train: Data

    def target(self, layer: str, spec: DefenseRecord) -> AuditTarget:
        """The device cut behind `layer`, its quantizer calibrated on intercepted images."""
        cut = next(cut for cut in self.cuts if cut.name == layer)
        defense = Defense.for_cut(spec, cut)
        if spec.bits is not None:
            activations = EdgeActivations(self.traced, cache_bytes=0)
            rows = activations.rows(cut, self.intercepted.take(torch.arange(512)))
            defense = defense.calibrate(activations.to_graph(cut, rows))
        return AuditTarget(self.traced, cut, defense, SCALING)


@cache
def bench(name: str) -> Bench:
    """The example with its data."""
    example = load_example(name)
    parts = {part: Data((images,), labels) for part, (images, labels) in example.parts().items()}
    traced = trace(example.model(), (example.example_inputs[0].expand(2, -1, -1, -1),))
    targets, intercepted = parts["validation"].splits(SEED)
    cuts = tuple(candidate_cuts(traced, 1))
    return Bench(name, traced, cuts, targets, intercepted, parts["attacker"], parts["train"])


def data_name(name: str) -> str:
    """What the images are."""
    jpeg = name.startswith("cifar") and not any(data_folder().glob("cifar-10-batches-*"))
    return NAMES[name] + (f" (JPEG copies, {CIFAR_ZIP})" if jpeg else "")


def reconstructed(
    device: Bench,
    layer: str,
    attack: Attack,
    threat: Threat,
    own: Data,
    effort: Effort,
    work: Path,
    artifacts: ArtifactCache,
) -> Tensor:
    """Reconstructions of the first targets, undefended; from `work` where they were made before."""
    count = effort.optimised_targets if attack.per_image else effort.targets
    key = [device.traced.identity.weights_hash, layer, repr(attack), threat, own.content_hash, repr(effort)]
    place = work / f"{hash_json(key)[:24]}.safetensors"
    if place.is_file():
        return load_file(place)["images"]
    target = device.target(layer, DefenseRecord())
    draws = generator_for(SEED, device.name, layer, attack.name)
    seen = target.release(device.intercepted.take(torch.arange(2000)), draws) if threat == "query-free" else None
    view = AdversaryView(target, own, threat, intercepted=seen, artifacts=artifacts).limited(effort.fit_samples)
    released = target.release(device.targets.take(torch.arange(count)), draws)
    started = time.perf_counter()
    images = attack.fit(view, effort, draws).reconstruct(released, draws).images
    work.mkdir(parents=True, exist_ok=True)
    save_file({"images": images.contiguous()}, place)
    print(f"{device.name} {layer} {attack.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return images


def own_range_ssim(images: Tensor, originals: Tensor) -> float:
    """SSIM with each original's own range, as some papers have it: for comparison only."""
    found = []
    for image, original in zip(images, originals, strict=True):
        span = max(float(original.max() - original.min()), 1e-3)
        ssim = structural_similarity_index_measure(image[None], original[None], data_range=span)
        assert isinstance(ssim, Tensor)
        found.append(float(ssim))
    return sum(found) / len(found)


def table(name: str, layers: Sequence[str], work: Path, effort: Effort) -> None:
    """Bar 3.1: every threat model at the published layers."""
    device = bench(name)
    artifacts = ArtifactCache(SEED)
    for row in (row for row in PUBLISHED if row.example == name and (not layers or row.layer in layers)):
        attacker, train = device.attacker, device.train
        tiers: list[tuple[str, Threat, tuple[float, float], Data, Sequence[str]]] = [
            ("black-box, same distribution", "black-box", row.black_box, attacker, ("ridge", "inverse")),
            ("white-box", "white-box", row.white_box, attacker, ("likelihood", "refined", "ridge", "inverse")),
            ("query-free, training data, same network", "query-free", row.same_data, train, ("shadow-same",)),
            ("query-free, other data, same network", "query-free", row.other_data, attacker, ("shadow-same",)),
        ]
        for label, threat, published, own, attacks in tiers:
            originals = SCALING.to_unit(device.targets.inputs[0][: effort.targets]).float()
            mean = SCALING.to_unit(own.inputs[0]).float().mean(dim=0)
            found = {}
            for attack in attacks:
                asked = "black-box" if attack in ("ridge", "inverse") else threat
                images = reconstructed(device, row.layer, attack_named(attack), asked, own, effort, work, artifacts)
                truth = originals[: len(images)]
                similar = ssim(images, truth)
                assert similar is not None
                found[attack] = {
                    "psnr_db": round(float(psnr_db(squared_errors(images, truth)).mean()), 2),
                    "ssim": round(float(similar.mean()), 3),
                    "ssim_own_range": round(own_range_ssim(images, truth), 3),
                    "images": len(images),
                }
            prior = float(psnr_db(squared_errors(mean.expand_as(originals), originals)).mean())
            best = max(entry["psnr_db"] for entry in found.values())
            wanted = max(published[0], prior + ABOVE_PRIOR_DB)
            bar(
                "3.1",
                f"{name} {row.layer}, {label}",
                best,
                "dB PSNR",
                target=round(wanted, 2),
                holds=best >= wanted,
                reference={
                    "published_psnr_db": published[0],
                    "published_ssim": published[1],
                    "published_is_an_attack": published[0] >= prior + ABOVE_PRIOR_DB,
                    "prior_only_psnr_db": round(prior, 2),
                },
                attacks=found,
                effort=repr(effort),
                data=data_name(name),
            )


def curve(name: str, layers: Sequence[str], rates: Sequence[float], work: Path, effort: Effort) -> None:
    """Bar 3.2: what dropout does to attackers who do not know of it, and to those who do."""
    device = bench(name)
    attacks = [attack_named(attack) for attack in ("prior", "ridge", "inverse")]
    artifacts = ArtifactCache(SEED)
    for row in (row for row in PUBLISHED if row.example == name and (not layers or row.layer in layers)):
        points = []
        for masks, rate in [("fresh", 0.0), *((masks, rate) for rate in rates for masks in ("fresh", "keyed"))]:
            drop = [DropoutRecord(granularity="element", rate=rate)] if rate else []
            spec = DefenseRecord.of(*drop, QuantizerRecord(), masks=masks if rate else "fresh")  # type: ignore[arg-type]
            target = device.target(row.layer, spec)
            request = AuditRequest(target, device.targets, device.attacker, device.intercepted)
            made = run_audit(request, attacks, effort, seed=SEED, folder=work, artifacts=artifacts).record
            entry: dict[str, Any] = {
                "rate": rate,
                "masks": masks,
                "accuracy": round(defended_accuracy(device, target), 4),
            }
            for result in made.attacks:
                figures = result.figures
                if figures is not None and figures.ssim is not None and result.attack != "prior":
                    entry[result.attack] = {
                        "ssim": round(figures.ssim.value, 3),
                        "index": round(figures.index.value, 3),
                        "reidentified": round(figures.reidentification.value, 3),
                    }
            entry["linked"] = {f"{r.copies}, {r.queries}": round(r.rate.value, 3) for r in made.linkage}
            points.append(entry)
        undefended = max(points[0][attack]["ssim"] for attack in ("ridge", "inverse"))
        naive = [max(point[f"{a} (naive)"]["ssim"] for a in ("ridge", "inverse")) for point in points[1:]]
        bar(
            "3.2",
            f"{name} {row.layer}: least SSIM of attackers who do not know of dropout",
            min(naive),
            "SSIM",
            target=NAIVE_SSIM,
            holds=min(naive) < NAIVE_SSIM if undefended >= RECOGNISABLE else None,
            reference={"undefended_ssim": undefended},
            curve=points,
            effort=repr(effort),
            data=data_name(name),
        )


@torch.no_grad()
def defended_accuracy(device: Bench, target: AuditTarget) -> float:
    """Top-1 accuracy on all targets, one draw of the masks."""
    draws, right = generator_for(SEED, "accuracy"), 0
    data = device.targets
    assert data.labels is not None
    for batch in torch.arange(len(data)).split(64):
        part = data.take(batch)
        released = target.release(part, draws)
        rows = [row / (1 - target.defense.rate) for row in released.rows]
        right += int((target.cloud(rows).argmax(dim=1) == data.labels[batch]).sum())
    return right / len(data)


def speed() -> None:
    """Bar 3.3: many images at once against one at a time, and a quick audit of ResNet-20."""
    device = bench("mnist_lenet")
    for layer in ("conv1", "ReLU2"):
        target = device.target(layer, DefenseRecord())
        view = AdversaryView(target, device.attacker, "white-box").limited(1000)
        effort = replace(EFFORTS["quick"], iterations=300)
        attacker = MaximumLikelihood(priors=((1e-2, 0.0),), starts=1).fit(view, effort, generator_for(SEED, "speed"))
        data = device.targets.take(torch.arange(64))
        released = target.release(data, generator_for(SEED, "release"))
        many, together = timed(partial(reconstructions, attacker, [released]))
        alone, single = timed(
            partial(reconstructions, attacker, [released.take(torch.tensor([i])) for i in range(FEW)])
        )
        originals = target.pixels(data)
        ratio = (len(data) / many) / (FEW / alone)
        psnr = [float(psnr_db(squared_errors(i, originals[: len(i)]))[:FEW].mean()) for i in (together, single)]
        bar(
            "3.3",
            f"white-box likelihood, LeNet-5 {layer}: images per second, 64 at once against one at a time",
            round(ratio, 1),
            "x",
            target=10,
            holds=ratio >= 10 and abs(psnr[0] - psnr[1]) < 0.05,
            reference={"one at a time, images/s": round(FEW / alone, 2), "psnr_db": [round(p, 2) for p in psnr]},
            images_per_second=round(len(data) / many, 2),
            iterations=effort.iterations,
            threads=torch.get_num_threads(),
        )
    device = bench("cifar10_resnet20")
    target = device.target(
        "layer2.2", DefenseRecord.of(DropoutRecord(granularity="element", rate=0.5), QuantizerRecord())
    )
    names = tuple(ATTACKS)
    request = AuditRequest(target, device.targets, device.attacker, device.intercepted.take(torch.arange(2000)))
    seconds, made = timed(
        lambda: run_audit(request, [attack_named(name) for name in names], EFFORTS["quick"], seed=SEED).record
    )
    bar(
        "3.3",
        "quick audit of ResNet-20 at layer2.2, dropout 0.5, the whole suite",
        round(seconds, 1),
        "s",
        target=360,
        holds=seconds < 360 and any(result.status == "ok" for result in made.attacks),
        failed=[result.attack for result in made.attacks if result.status == "failed"],
        seconds={result.attack: round(result.seconds, 1) for result in made.attacks},
        threads=torch.get_num_threads(),
        data=data_name("cifar10_resnet20"),
    )


def reconstructions(attacker: Attacker, releases: Sequence[ObservedReleases]) -> Tensor:
    """Images of each of `releases`, every one started from the same draws."""
    return torch.cat([attacker.reconstruct(each, generator_for(SEED, "start")).images for each in releases])


def timed(function: Callable[[], T]) -> tuple[float, T]:
    """Wall seconds of a call, and what it gave."""
    started = time.perf_counter()
    made = function()
    return time.perf_counter() - started, made


def main() -> None:
    """Print the bars that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("1", "2", "3"))
    parser.add_argument("--example", choices=("mnist_lenet", "cifar10_cnn6"))
    parser.add_argument("--layers", help="comma-separated; default: all that were published")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="of dropout, for 3.2")
    parser.add_argument("--steps", type=int, help="of trained attacks")
    parser.add_argument("--iterations", type=int, help="of attacks that optimise each image")
    parser.add_argument("--work", type=Path, default=Path(".collabplan/benchmark-attacks"))
    options = parser.parse_args()
    layers = options.layers.split(",") if options.layers else ()
    asked = {"train_steps": options.steps, "iterations": options.iterations}
    more = {name: value for name, value in asked.items() if value}
    for name in (options.example,) if options.example else ("mnist_lenet", "cifar10_cnn6"):
        if options.only in (None, "1"):
            table(name, layers, options.work, replace(EFFORT, **more))
        if options.only in (None, "2"):
            curve(name, layers, options.rates, options.work, replace(CURVE, **more))
    if options.only in (None, "3"):
        speed()
    machine(("torch", "numpy", "torchmetrics"))


if __name__ == "__main__":
    main()
