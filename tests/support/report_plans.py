"""Made-up plans, audits and galleries for reports: known figures, no model and no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from collabplan.attacks.galleries import ENDING, Gallery
from collabplan.records import (
    Accuracy,
    AttackFigures,
    AttackResult,
    Audit,
    Audited,
    Baseline,
    Budgets,
    Candidate,
    Crossing,
    DefenseRecord,
    DeviceIdentity,
    DropoutRecord,
    Interval,
    Latency,
    LatencyParts,
    Leakage,
    Link,
    Measured,
    ModelIdentity,
    Plan,
    ProjectionRecord,
    Provenance,
    QuantizerRecord,
    TargetIdentity,
    TierFigures,
    Timing,
)
from safetensors.numpy import save_file

NONE = DefenseRecord.of(QuantizerRecord())
RANK = DefenseRecord.of(ProjectionRecord(rank=96), QuantizerRecord())
DROPOUT = DefenseRecord.of(DropoutRecord(granularity="element", rate=0.9), QuantizerRecord())
MODEL = ModelIdentity(
    name="ResNet20",
    structure_hash="5" * 64,
    weights_hash="a" * 64,
    torch_version="2.13",
    parameter_count=272_474,
    parameter_bytes=1_089_896,
)
PLAN_TARGET = TargetIdentity(spec="/home/somebody/model.py:Net", file="/home/somebody/model.py")
MADE = Provenance(
    created_utc="2026-11-30T09:00:00Z",
    collabplan_version="0.1.0",
    python_version="3.12",
    torch_version="2.13",
    platform="Linux",
    processor="a processor",
    cores=2,
    seed=0,
    command=("/home/somebody/bin/collabplan", "optimize", "-o", "/home/somebody/plan.json"),
)


def interval(value: float, low: float, high: float, level: float = 0.95) -> Interval:
    return Interval(value=value, low=low, high=high, level=level)


def tier(**changes: Any) -> TierFigures:
    """What attackers recovered: 21.4 of 100 pictures, 24.2 at most."""
    known: dict[str, Any] = {
        "threat": "white-box",
        "index": interval(0.41, 0.38, 0.44),
        "index_attack": "inverse",
        "reidentification": interval(0.5, 0.45, 0.55),
        "reconstruction_rate": interval(0.214, 0.19, 0.242),
        "linkage": interval(1.0, 0.99, 1.0),
        "target_count": 1000,
        "fewest_targets": 200,
        "lower_bound": False,
        "conclusive": True,
    }
    return TierFigures(**known | changes)


def audited(effort: str = "standard", seeds: int = 3, split: str = "confirm", **changes: Any) -> Audited:
    figures = tier(lower_bound=effort == "quick", **changes)
    return Audited(effort=effort, split=split, seeds=seeds, attacks=("ridge", "inverse"), figures=figures)


def candidate(name: str = "layer2.2", defense: DefenseRecord = RANK, **changes: Any) -> Candidate:
    known: dict[str, Any] = {
        "cut_id": f"id-{name}",
        "cut_name": name,
        "cut_kind": {"cloud-only": "cloud-only", "edge-only": "edge-only"}.get(name, "proper"),
        "defense": defense,
        "latency": Latency(
            p50_ms=interval(33.0, 30.0, 36.0, 0.9),
            p95_ms=41.0,
            parts=LatencyParts(
                edge_ms=12.0, defense_ms=1.0, serialisation_ms=1.0, transfer_ms=8.0, cloud_ms=3.0, download_ms=8.0
            ),
        ),
        "accuracy": Accuracy(
            metric="top-1 accuracy",
            accuracy=interval(0.844, 0.83, 0.858),
            undefended=0.884,
            drop=interval(0.04, 0.03, 0.0512),
            sample_count=5000,
            draws=3,
        ),
        "leakage": Leakage(index=interval(0.36, 0.34, 0.38), status="estimated", sample_count=2000),
        "payload_bytes": 96,
        "edge_peak_bytes": 100_000,
        "edge_parameter_count": 50_000,
        "meets_budgets": True,
    }
    return Candidate(**known | changes)


def plan(*, chosen: Candidate | None = None, **changes: Any) -> Plan:
    """The plan of the issue's example: cut at layer2.2, 96 numbers, 88.4 to 84.4 %, 33 ms."""
    chosen = chosen or candidate()
    raw = Leakage(index=interval(1.0, 1.0, 1.0), status="by-definition", sample_count=0)
    known: dict[str, Any] = {
        "headline": "made up",
        "target": PLAN_TARGET,
        "model": MODEL,
        "cut_id": chosen.cut_id,
        "cut_name": chosen.cut_name,
        "cut_kind": chosen.cut_kind,
        "crossing": (Crossing(name="layer2.2", node="relu", dtype="float32", sample_shape=(32, 16, 16)),),
        "defense": chosen.defense,
        "batch": 1,
        "chosen": chosen,
        "searched": chosen,
        "budgets": Budgets(latency_p95_ms=50.0, max_reconstruction=0.3),
        "link": Link.assumed(),
        "edge_device": DeviceIdentity(device="cpu", name="a small processor", threads=1),
        "cloud_device": DeviceIdentity(device="cpu", name="a large processor", threads=2),
        "front": (
            chosen,
            candidate("layer1.1", DROPOUT, leakage=estimated(0.7), audited=audited("quick", 1, "search")),
            candidate("layer3.2", NONE, leakage=estimated(0.5), meets_budgets=False, violations=("too slow",)),
        ),
        "baselines": (
            Baseline(role="cloud-only", candidate=candidate("cloud-only", NONE, leakage=raw)),
            Baseline(role="middle", candidate=candidate("layer2.0", NONE, leakage=estimated(0.95))),
        ),
        "trials": 40,
        "study": "search-1",
        "provenance": MADE,
    }
    return Plan(**known | changes)


def estimated(value: float) -> Leakage:
    return Leakage(index=interval(value, value - 0.02, value + 0.02), status="estimated", sample_count=2000)


def measured(made: Plan) -> Measured:
    """What `verify` found of the plan: 35 ms instead of 33."""

    def timing(value: float) -> Timing:
        return Timing.from_samples([value, value, value + 1])

    return Measured(
        link=made.link,
        shaped=True,
        predicted=made.chosen.latency,
        p50_ms=interval(35.0, 34.0, 36.0, 0.9),
        total=timing(35.0),
        edge=timing(13.0),
        defense=timing(1.5),
        way=timing(17.5),
        cloud=timing(3.0),
        metric="top-1 accuracy",
        accuracy=interval(0.84, 0.82, 0.86),
        sample_count=1000,
        violations=("p50 above the interval",),
        provenance=MADE,
    )


def attack_result(name: str, index: float, **changes: Any) -> AttackResult:
    figures = AttackFigures(
        index=interval(index, index - 0.02, index + 0.02),
        mse=0.1,
        reidentification=interval(0.5, 0.4, 0.6),
        target_count=100,
        gallery_count=100,
    )
    known: dict[str, Any] = {"attack": name, "threat": "white-box", "status": "ok", "attacker_data": "own",
                             "figures": figures, "seconds": 1.0}  # fmt: skip
    return AttackResult(**known | changes)


def audit(of: Candidate, effort: str = "quick", index: float = 0.5, **changes: Any) -> Audit:
    known: dict[str, Any] = {
        "cut_id": of.cut_id,
        "cut_name": of.cut_name,
        "cut_kind": of.cut_kind,
        "depth": 3,
        "payload_bytes": of.payload_bytes,
        "defense": of.defense,
        "effort": effort,
        "attacks": (attack_result("ridge", index - 0.1), attack_result("inverse", index)),
        "tiers": (tier(index=interval(index, index - 0.02, index + 0.02), lower_bound=effort == "quick"),),
        "chance": 0.01,
    }
    return Audit(**known | changes)


def whole_audit(of: Candidate, index: float, **changes: Any) -> Audit:
    """Every attack of the catalogue at standard effort."""
    from collabplan.attacks.catalogue import ATTACKS

    return audit(of, "standard", index, attacks=tuple(attack_result(name, index) for name in ATTACKS), **changes)


def gallery(of: Candidate, size: int = 8, **changes: Any) -> Gallery:
    """Pictures of `size` pixels: originals bright, the inverse's half as bright, the ridge's dark."""
    shape = (4, 1, size, size)
    pictures = {"inverse": np.full(shape, 100, np.uint8), "ridge": np.full(shape, 20, np.uint8)}
    known: dict[str, Any] = {
        "model": MODEL,
        "tuned_hash": None,
        "audit": audit(of),
        "originals": np.full(shape, 200, np.uint8),
        "pictures": pictures,
        "revisions": {},
    }
    return Gallery(**known | changes)


def write_gallery(folder: Path, made: Gallery, name: str) -> None:
    """A gallery as an audit keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for attack, levels in made.pictures.items():
        files[attack] = f"{name}-{attack}.safetensors"
        save_file({"pictures": levels}, folder / files[attack])
    said = {
        "audit": made.audit.model_dump_json(),
        "model": made.model.model_dump_json(),
        "tuned": made.tuned_hash or "",
        "files": json.dumps(files),
        "revisions": json.dumps(dict(made.revisions)),
    }
    save_file({"originals": made.originals}, folder / (name + ENDING), said)
