"""Bar 4.7: ten near-duplicates never tell an attacker less than one release, over 20 (cut, defense) pairs of LeNet-5.

    .venv/bin/python benchmarks/near_copies.py [--attacks ridge,inverse] [--images 2000]     half a minute a pair

Masks are keyed. Each pair prints the index from ten near-duplicates beside that from one release, for the attack with
the worst difference. MNIST is read from COLLABPLAN_DATA.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from collabplan.attacks import EFFORTS, AuditRequest, Effort, attack_named, run_audit
from collabplan.records import DefenseRecord, DropoutRecord, NoiseRecord, QuantizerRecord
from report import bar, machine

from attacks import SEED, Bench, bench, data_name

SLACK = 0.01
CUTS = ("conv1", "ReLU2", "pool2", "fc1")
EIGHT = QuantizerRecord()
DEFENSES = (
    *(
        DefenseRecord.of(DropoutRecord(granularity="element", rate=rate), EIGHT, masks="keyed")
        for rate in (0.3, 0.5, 0.9)
    ),
    DefenseRecord.of(DropoutRecord(granularity="channel", rate=0.5), EIGHT, masks="keyed"),
    DefenseRecord.of(NoiseRecord(distribution="gaussian", std=0.1), EIGHT, masks="keyed"),
)


def compare(device: Bench, cut: str, record: DefenseRecord, names: list[str], effort: Effort) -> None:
    """One pair's figures."""
    target, started = device.target(cut, record), time.process_time()
    request = AuditRequest(target, device.targets, device.attacker, device.intercepted)
    made = run_audit(request, [attack_named(name) for name in names], effort, seed=SEED).record
    found = {(each.attack.split(" (")[0], each.queries): each for each in made.attacks if not each.naive}
    indices = {key: each.figures.index.value for key, each in found.items() if each.figures is not None}
    gain, name = min((indices[name, 10] - indices[name, 1], name) for name in names)
    bar(
        "4.7", f"{cut}, {record.text}: {name}, ten near-duplicates", round(indices[name, 10], 3), "index",
        target=round(indices[name, 1] - SLACK, 3), holds=gain >= -SLACK, reference=round(indices[name, 1], 3),
        copies=found[name, 10].copies, strongest=round(max(indices.values()), 3), notes=made.notes,
        cpu_seconds=round(time.process_time() - started), data=data_name(device.name),
    )  # fmt: skip


def main() -> None:
    """Run and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", default="ridge,inverse")
    parser.add_argument("--images", type=int, default=2000, help="auxiliary images")
    parser.add_argument("--cuts", default=",".join(CUTS))
    options = parser.parse_args()
    device, names = bench("mnist_lenet"), options.attacks.split(",")
    effort = replace(EFFORTS["quick"], targets=400, fit_samples=options.images, train_steps=150, width=32)
    for cut in options.cuts.split(","):
        for record in DEFENSES:
            compare(device, cut, record, names, effort)
    machine(("torch", "numpy"))


if __name__ == "__main__":
    main()
