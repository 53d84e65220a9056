"""Bars 5.2 and 5.3: the race against the whole suite run to its end, on the same pairs in the same run.

    .venv/bin/python benchmarks/audit_speed.py [--victims mnist_lenet] [--share 1] [--log race.jsonl]

For each (cut, defense) both arms attack at standard effort with one seed and keep nothing. Printed are the index and
the reconstructed share of both, the race's share of the time, and what was outrun. `--share 8` gives both arms an
eighth of the steps: what the whole suite takes hours for is then seen in minutes. `--race-only` leaves the whole suite
out. MNIST and CIFAR-10 are read from COLLABPLAN_DATA. The whole suite takes about an hour a pair.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from collabplan.attacks import ATTACKS, EFFORTS, AuditRequest, Effort, attack_named, random_queries, run_audit
from collabplan.attacks.race import reduced
from collabplan.defenses.seeds import generator_for
from collabplan.records import Audit, DefenseRecord, DropoutRecord, NoiseRecord, QuantizerRecord
from collabplan.targets import Data
from report import bar, machine

from attacks import SEED, Bench, bench, data_name

EIGHT = QuantizerRecord()
DEFENSES = {
    "none": DefenseRecord.of(EIGHT),
    "dropout 0.5": DefenseRecord.of(DropoutRecord(granularity="element", rate=0.5), EIGHT),
    "dropout 0.9": DefenseRecord.of(DropoutRecord(granularity="element", rate=0.9), EIGHT),
    "noise 0.1": DefenseRecord.of(NoiseRecord(distribution="gaussian", std=0.1), EIGHT),
}
CUTS = {
    "mnist_lenet": ("fc1", "ReLU2", "fc2"),
    "cifar10_resnet20": ("layer2.2", "layer3.2", "layer1.2"),
}
INDEX_SLACK, SHOWN_SLACK, TIME_SHARE, LONGEST_S = 0.01, 0.02, 0.3, 900


def request_of(device: Bench, cut: str, record: DefenseRecord) -> AuditRequest:
    """What is audited; among the attackers is one who has random images only."""
    target, shape = device.target(cut, record), device.attacker.inputs[0].shape[1:]
    pixels = random_queries(len(device.attacker), tuple(shape), generator_for(SEED, "random queries"))
    others = {"random queries": Data((target.scaling.from_unit(pixels),))}
    return AuditRequest(target, device.targets, device.attacker, device.intercepted, others=others)


def audited(request: AuditRequest, effort: Effort, *, racing: bool) -> tuple[Audit, float]:
    """The audit, and its seconds."""
    started = time.perf_counter()

    def step(what: str) -> None:
        print(f"{time.perf_counter() - started:7.0f} s  {what}", file=sys.stderr, flush=True)

    attacks = [attack_named(name) for name in ATTACKS]
    made = run_audit(request, attacks, effort, seed=SEED, racing=racing, step=step).record
    return made, time.perf_counter() - started


def figures(audit: Audit) -> dict[str, float]:
    """Index and reconstructed share of the strongest tier, with their upper ends."""
    worst = audit.tiers[-1]
    shown = worst.reconstruction_rate
    return {
        "index": worst.index.value,
        "index_high": worst.index.high,
        "reconstructed": 0.0 if shown is None else shown.value,
        "reconstructed_high": 0.0 if shown is None else shown.high,
    }


def by_attack(audit: Audit) -> dict[str, Any]:
    """Of each attack its status, its index, its seconds, and why it is not ok."""
    return {
        each.attack: (
            each.status,
            None if each.figures is None else round(each.figures.index.value, 4),
            round(each.seconds),
            each.reason,
        )
        for each in audit.attacks
    }


def compare(device: Bench, cut: str, defense: str, effort: Effort, *, race_only: bool) -> dict[str, Any]:
    """One pair's bars, and its figures."""
    request = request_of(device, cut, DEFENSES[defense])
    raced, seconds = audited(request, effort, racing=True)
    name, ours = f"{data_name(device.name)}, {cut}, {defense}", figures(raced)
    bar(
        "5.3", f"{name}: the race", round(seconds), "s", target=LONGEST_S, holds=seconds <= LONGEST_S,
        outrun=sum(each.status == "outrun" for each in raced.attacks), attacks=len(raced.attacks),
        by=raced.tiers[-1].index_attack, **{key: round(value, 4) for key, value in ours.items()},
    )  # fmt: skip
    found = {"pair": name, "seconds": seconds, "race": ours, "raced": by_attack(raced)}
    if race_only:
        return found
    whole, whole_seconds = audited(request, effort, racing=False)
    theirs = figures(whole)
    for figure, slack in (("index", INDEX_SLACK), ("reconstructed", SHOWN_SLACK)):
        bar(
            "5.2", f"{name}: {figure} of the race", round(ours[figure], 4), "share",
            target=round(theirs[figure] - slack, 4), holds=ours[figure] >= theirs[figure] - slack,
            reference=round(theirs[figure], 4), high=round(ours[f"{figure}_high"], 4),
            reference_high=round(theirs[f"{figure}_high"], 4), by=whole.tiers[-1].index_attack,
        )  # fmt: skip
    share = seconds / whole_seconds
    bar(
        "5.2", f"{name}: time of the race / of the whole suite", round(share, 3), "ratio", target=TIME_SHARE,
        holds=share <= TIME_SHARE, reference_seconds=round(whole_seconds),
    )  # fmt: skip
    return {**found, "whole": theirs, "whole_seconds": whole_seconds, "run": by_attack(whole)}


def main() -> None:
    """Run and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victims", default=",".join(CUTS))
    parser.add_argument("--cuts", default="", help="instead of the listed ones")
    parser.add_argument("--defenses", default=",".join(DEFENSES))
    parser.add_argument("--share", type=int, default=1, help="both arms make 1 / SHARE of the steps")
    parser.add_argument("--targets", type=int, default=EFFORTS["standard"].targets)
    parser.add_argument("--race-only", action="store_true")
    parser.add_argument("--log", type=Path, help="a line of JSON for each pair")
    options = parser.parse_args()
    effort = replace(reduced(EFFORTS["standard"], options.share), until_converged=True, targets=options.targets)
    for victim in options.victims.split(","):
        device = bench(victim)
        for cut in options.cuts.split(",") if options.cuts else CUTS[victim]:
            for defense in options.defenses.split(","):
                found = compare(device, cut, defense, effort, race_only=options.race_only)
                if options.log is not None:
                    with options.log.open("a") as log:
                        log.write(json.dumps(found) + "\n")
    machine(("torch", "numpy"))


if __name__ == "__main__":
    main()
