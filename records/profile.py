"""The profile: what each node and each cut of one model costs on one machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Record, Timing
from .energy import MeasuredPower
from .model import Crossing, CutKind, DeviceIdentity, ModelIdentity, Provenance, TargetIdentity

Role = Literal["both", "edge", "cloud"]


class NodeProfile(Record):
    """One node of the traced graph, measured while the whole graph is interpreted.

    The sum over nodes is **not** the model's latency (interpreter overhead, caches, overlap).
    `flops` is None where the operator's count is unknown: unknown is never zero.
    """

    name: str
    operator: str
    module: str
    timing: Timing
    output_bytes: int = Field(ge=0)
    flops: int | None = Field(ge=0)
    parameter_count: int = Field(ge=0)


class CutProfile(Record):
    """One candidate cut: measured prefix and suffix, what crosses, what the edge must hold.

    Timings are at the profile's batch size. `edge` is None in a profile of role *cloud* and `cloud`
    None in one of role *edge*; both are None where the cut has no such part. `interpolated` says
    that the timings were not measured at this cut but set between measured neighbours by the node
    breakdown. `payload_bytes` is per sample, in the model's own dtypes, before any quantizer.
    `edge_flops` is None where any operator's count is unknown; `edge_flops_counted` is the sum over those that
    are known, a lower bound. `edge_parameter_count` is of what the edge half holds, trainable or frozen, quantized
    weights in buffers too, but for running statistics; `edge_parameter_bytes` is of all that its file stores.
    """

    id: str
    name: str
    kind: CutKind
    depth: int = Field(ge=0, description="position among the cuts, edge to cloud")
    crossing: tuple[Crossing, ...]
    searchable: bool
    edge: Timing | None
    cloud: Timing | None
    interpolated: bool = False
    payload_bytes: int = Field(ge=0)
    edge_parameter_count: int = Field(ge=0)
    edge_parameter_bytes: int = Field(ge=0)
    edge_peak_bytes: int = Field(ge=0)
    edge_flops: int | None = Field(ge=0)
    edge_flops_counted: int = Field(default=0, ge=0)


class Profile(Record):
    """The profile file. `sample_output_bytes` is what a result costs to send back, per sample.

    `peak_memory_method` is *liveness* (computed from shapes: weights, live activations, no
    allocator overhead) or *measured* (CUDA's allocator). `power` is None where no counter of energy could be read;
    `power_missing` then says why (None in profiles from before power was measured).
    """

    format: Literal["collabplan.profile"] = "collabplan.profile"
    schema_version: Literal[2] = 2
    target: TargetIdentity
    model: ModelIdentity
    role: Role
    device: DeviceIdentity
    dtype: str
    batch: int = Field(ge=1)
    whole: Timing
    node_sum_ms: float = Field(ge=0)
    nodes: tuple[NodeProfile, ...]
    cuts: tuple[CutProfile, ...]
    sample_input_bytes: int = Field(ge=0)
    sample_output_bytes: int = Field(ge=0)
    peak_memory_method: Literal["liveness", "measured"]
    power: MeasuredPower | None = None
    power_missing: str | None = None
    warnings: tuple[str, ...] = ()
    provenance: Provenance

    def cut(self, cut_id: str) -> CutProfile:
        """The cut with this id. Raises KeyError where there is none."""
        for cut in self.cuts:
            if cut.id == cut_id:
                return cut
        raise KeyError(cut_id)
