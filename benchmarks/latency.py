"""Bar 1.5: is prefix + suffix the whole? And how far is the sum over nodes from it?

ResNet-18, MobileNetV2 and VGG-11 at 224x224, batch 1, measured interleaved by the profiler itself. Only cuts that
were measured count, interpolated ones never.

    bench-env/bin/python benchmarks/latency.py [--seconds 60] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics

import torch
from collabplan.graph import trace
from collabplan.profilers import profile_model
from collabplan.records import Profile, TargetIdentity
from report import bar, machine
from zoo import torchvision_module


def errors(profile: Profile) -> dict[str, float]:
    """By cut name, the relative difference of prefix + suffix from the whole, in percent."""
    whole = profile.whole.p50_ms
    return {
        cut.name: 100 * abs(cut.edge.p50_ms + cut.cloud.p50_ms - whole) / whole
        for cut in profile.cuts
        if cut.kind == "proper" and not cut.interpolated and cut.edge and cut.cloud
    }


def main() -> None:
    """Print one bar per model, the worst cut and the node sum beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    models = torchvision_module().models
    for name in ("resnet18", "mobilenet_v2", "vgg11"):
        traced = trace(models.get_model(name, weights=None), torch.randn(1, 3, 224, 224))
        profile = profile_model(
            traced,
            target=TargetIdentity(spec=f"torchvision.models:{name}"),
            threads=options.threads,
            seconds=options.seconds,
        )
        found = errors(profile)
        worst = max(found, key=found.__getitem__)
        middle = statistics.median(found.values())
        node_sum = 100 * (profile.node_sum_ms - profile.whole.p50_ms) / profile.whole.p50_ms
        bar(
            "1.5",
            f"{name}: prefix + suffix against the whole, median absolute error over cuts",
            round(middle, 2),
            "%",
            target=5.0,
            holds=middle <= 5.0,
            reference={"node sum against the whole": round(node_sum, 2), "unit": "%"},
            worst_cut=worst,
            worst=round(found[worst], 2),
            measured_cuts=len(found),
            whole_p50_ms=round(profile.whole.p50_ms, 2),
            whole_iqr_ms=round(profile.whole.iqr_ms, 2),
            threads=profile.device.threads,
        )
    machine(("torch", "torchvision"))


if __name__ == "__main__":
    main()
