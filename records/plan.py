"""The plan: the chosen cut and defense, what was predicted, estimated and asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Interval, Record
from .link import Link
from .model import Crossing, CutKind, DeviceIdentity, ModelIdentity, Provenance, TargetIdentity

DropoutKind = Literal["none", "element", "channel"]
ResultAt = Literal["edge", "cloud"]


class TensorRange(Record):
    """Static range of one crossing tensor on the wire: calibrated once, clipped to ever after."""

    node: str
    low: float
    high: float


class DefenseSpec(Record):
    """What the device does to the crossing tensors: dropout (released unscaled), then the quantizer.

    `rate` is the probability that an element or channel is dropped. `bits` is None where tensors
    cross in the model's own dtype. `ranges` names every floating private crossing once calibrated.
    """

    dropout: DropoutKind = "none"
    rate: float = Field(default=0.0, ge=0, lt=1)
    bits: int | None = Field(default=8, ge=1, le=16)
    ranges: tuple[TensorRange, ...] = ()


class LatencyParts(Record):
    """Where the end-to-end latency goes, medians in milliseconds."""

    edge_ms: float = Field(ge=0)
    defense_ms: float = Field(ge=0)
    serialisation_ms: float = Field(ge=0)
    transfer_ms: float = Field(ge=0)
    cloud_ms: float = Field(ge=0)
    download_ms: float = Field(ge=0)


class Latency(Record):
    """Predicted end-to-end latency of one request at the profile's batch size.

    `p50` carries its 90 % interval (spread of the measured parts and of the link); a budget is held
    against `p95_ms`. It does not cover contention with other programs or another network.
    """

    p50_ms: Interval
    p95_ms: float = Field(ge=0)
    parts: LatencyParts


class Leakage(Record):
    """What the released tensors tell about the private inputs, for one (cut, defense).

    `status` is *estimated* (ridge attackers, linear and kernel: a lower bound on what a real attacker
    recovers), *by-definition* (a raw private input crosses, or nothing does) or *audited* (worst
    case over real attacks). 0 = no better than the data prior, 1 = perfect reconstruction.
    `information_low_nats` and `information_high_nats` are the KDE pair at the quantizer's floor: a
    *surrogate*, never a bound, since a deterministic quantizer adds no noise; they tie at
    `saturation_nats` = ln N when saturated, and then rank nothing.
    """

    index: Interval
    status: Literal["estimated", "by-definition", "audited"]
    information_low_nats: float | None = None
    information_high_nats: float | None = None
    information_is: Literal["surrogate", "bound"] = "surrogate"
    saturation_nats: float | None = None
    saturated: bool | None = None
    sample_count: int = Field(ge=0)


class Accuracy(Record):
    """Accuracy under the defense, averaged over draws, and the paired drop against the whole model.

    `drop` is undefended minus defended on the same images: its `high` end is what a budget sees.
    """

    metric: str
    accuracy: Interval
    undefended: float
    drop: Interval
    sample_count: int = Field(ge=1)
    draws: int = Field(ge=1)


class Budgets(Record):
    """What the user asked for; None = not asked. Held at the bad end of each interval."""

    latency_p95_ms: float | None = Field(default=None, gt=0)
    max_accuracy_drop: float | None = Field(default=None, ge=0, le=1)
    max_leakage: float | None = Field(default=None, ge=0, le=1)
    edge_memory_bytes: int | None = Field(default=None, gt=0)
    max_edge_parameters: int | None = Field(default=None, ge=0)
    result_at: ResultAt = "edge"


class Candidate(Record):
    """One evaluated (cut, defense): a row of the front or a baseline."""

    cut_id: str
    cut_name: str
    cut_kind: CutKind
    dropout: DropoutKind
    rate: float
    latency: Latency
    accuracy: Accuracy
    leakage: Leakage
    payload_bytes: int = Field(ge=0)
    edge_peak_bytes: int = Field(ge=0)
    edge_parameter_count: int = Field(ge=0)
    meets_budgets: bool
    violations: tuple[str, ...] = ()


class Baseline(Record):
    """A cut that people choose without evidence, evaluated undefended for comparison."""

    role: Literal["cloud-only", "edge-only", "latency-optimal", "middle"]
    candidate: Candidate


class Plan(Record):
    """The plan file: everything that deploying, checking and signing off needs.

    `chosen` holds the figures of the confirm half of the validation data; `searched` those that the
    search saw. `input_names` are the model's inputs in order.
    """

    format: Literal["collabplan.plan"] = "collabplan.plan"
    schema_version: Literal[1] = 1
    headline: str
    target: TargetIdentity
    model: ModelIdentity
    cut_id: str
    cut_name: str
    cut_kind: CutKind
    crossing: tuple[Crossing, ...]
    defense: DefenseSpec
    batch: int = Field(ge=1)
    chosen: Candidate
    searched: Candidate
    budgets: Budgets
    link: Link
    edge_device: DeviceIdentity
    cloud_device: DeviceIdentity
    edge_slowdown: float = Field(default=1.0, gt=0)
    edge_slowdown_source: Literal["none", "declared"] = "none"
    front: tuple[Candidate, ...]
    baselines: tuple[Baseline, ...]
    trials: int = Field(ge=0)
    study: str
    provenance: Provenance
