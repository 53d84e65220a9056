"""A search problem without networks: figures are smooth functions of the point, plus seeded noise."""

from __future__ import annotations

import numpy as np
from collabplan.defenses.seeds import derive_seed
from collabplan.planner.budgets import judged
from collabplan.planner.space import Space
from collabplan.records import (
    Accuracy,
    Audited,
    Budgets,
    Candidate,
    Interval,
    Latency,
    LatencyParts,
    Leakage,
    TierFigures,
)
from collabplan.records.privacy import AUDITED_BUDGETS
from defense_records import grid, point_at

FINGERPRINT = {"model structure": "a" * 64, "weights": "b" * 64, "data": "c" * 64, "seed": "0"}


def interval(value, width=0.01, low=None):
    return Interval(value=value, low=value - width if low is None else low, high=value + width)


def space(cuts=12):
    ids = tuple(f"cut{i:02d}" for i in range(cuts))
    return Space(ids, dict.fromkeys(ids[1:], ("element", "channel")), grid())


def candidate(
    point=None, *, accuracy=0.9, drop=0.0, latency_ms=10.0, leakage=0.5, memory=1000, parameters=10, budgets=None
):
    point = point or point_at("cut00")
    parts = LatencyParts(edge_ms=latency_ms, defense_ms=0, serialisation_ms=0, transfer_ms=0, cloud_ms=0, download_ms=0)
    made = Candidate(
        cut_id=point.cut_id,
        cut_name=f"layer {point.cut_id}",
        cut_kind="proper",
        defense=point.defense,
        latency=Latency(p50_ms=interval(latency_ms, 1.0), p95_ms=latency_ms + 1.0, parts=parts),
        accuracy=Accuracy(
            metric="top-1",
            accuracy=interval(accuracy),
            undefended=accuracy + drop,
            drop=interval(drop),
            sample_count=100,
            draws=3,
        ),
        leakage=Leakage(index=interval(leakage), status="estimated", sample_count=100),
        payload_bytes=100,
        edge_peak_bytes=memory,
        edge_parameter_count=parameters,
        meets_budgets=True,
    )
    return judged(made, budgets or Budgets())


def audited(index, *, split="search", effort="quick", failed=(), **rates):
    """An audit that found this index, give or take 0.01; `rates` are the figures of further budgets on privacy."""
    figures = TierFigures(
        threat="white-box",
        index=interval(index),
        index_attack="inverse",
        reidentification=interval(0.5),
        **{
            budget.field: interval(rate)
            for budget in AUDITED_BUDGETS
            if (rate := rates.get(budget.name.removeprefix("max_"))) is not None
        },
        lower_bound=effort == "quick",
        conclusive=not failed,
        failed=failed,
    )
    return Audited(effort=effort, split=split, seeds=1, attacks=("inverse",), figures=figures)


def evaluate(point, cuts=12):
    depth = int(point.cut_id.removeprefix("cut")) / (cuts - 1)
    noise = np.random.default_rng(derive_seed(7, point.key)).normal(size=2) * 0.01
    dropout = point.defense.dropout
    strength = point.defense.rate * (1.2 if dropout is not None and dropout.granularity == "channel" else 1.0)
    drop = max(0.0, 0.4 * strength**2 * (1.3 - depth) + noise[0])
    return candidate(
        point,
        accuracy=0.95 - drop,
        drop=drop,
        latency_ms=20 + 30 * depth - 25 * depth * (1 - depth),
        leakage=float(np.clip(0.9 - 0.5 * depth - 0.4 * strength + noise[1], 0, 1)),
    )
