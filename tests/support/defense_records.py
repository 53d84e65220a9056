"""Defense records for tests, from their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from collabplan.planner.space import DEFAULT_RATES, Point
from collabplan.records import (
    DefenseRecord,
    DropoutRecord,
    Granularity,
    MaskKind,
    NoiseDistribution,
    NoiseRecord,
    ProjectionRecord,
    QuantizerRecord,
    Rounding,
    StageRecord,
    TensorRange,
)


def defense_record(
    *,
    share: float | None = None,
    rank: int | None = None,
    matrices: str | None = None,
    dropout: Granularity | Literal["none"] = "none",
    rate: float = 0.0,
    masks: MaskKind = "fresh",
    noise: NoiseDistribution | Literal["none"] = "none",
    noise_std: float = 0.0,
    bits: int | None = 8,
    rounding: Rounding = "nearest",
    ranges: Sequence[TensorRange] = (),
) -> DefenseRecord:
    """The stages that the numbers ask for; rate 0 and noise 0 are none. Keyed where anything draws."""
    stages: list[StageRecord] = []
    if share is not None or rank is not None:
        stages.append(ProjectionRecord(share=share, rank=rank, matrices=matrices))
    if dropout != "none" and rate:
        stages.append(DropoutRecord(granularity=dropout, rate=rate))
    if noise != "none" and noise_std:
        stages.append(NoiseRecord(distribution=noise, std=noise_std))
    if bits is not None:
        stages.append(QuantizerRecord(bits=bits, rounding=rounding))
    found = DefenseRecord(stages=tuple(stages), ranges=tuple(ranges))
    return found.model_copy(update={"masks": masks}) if found.may_draw else found


def point_at(cut_id: str, dropout: Granularity | Literal["none"] = "none", rate: float = 0.0, **stages: Any) -> Point:
    """A point of a search, its defense by `defense_record`."""
    return Point(cut_id, defense_record(dropout=dropout, rate=rate, **stages))


def grid(
    kinds: Sequence[Granularity] = ("element", "channel"),
    rates: Sequence[float] = DEFAULT_RATES,
    wires: Sequence[Mapping[str, Any]] = ({},),
) -> tuple[DefenseRecord, ...]:
    """Each wire without dropout, then with each kind at each rate."""
    dropouts: list[tuple[Granularity | Literal["none"], float]] = [("none", 0.0)]
    dropouts += [(kind, rate) for kind in kinds for rate in rates]
    return tuple(defense_record(dropout=kind, rate=rate, **wire) for wire in wires for kind, rate in dropouts)
