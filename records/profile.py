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
    `flops` is None where the count of the operator is unknown: unknown is never zero.
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

    Timings are at the profile's batch size. `edge` is None in a profile of role *cloud*, and `cloud` in one of role
    *edge*; each is None where the cut lacks that part. `interpolated`: the timings were not measured at this cut but
    interpolated between measured neighbours by the node breakdown. `payload_bytes` is per sample, in the model's own
    dtypes, before any quantizer. `edge_flops` is None where the count of any operator is unknown. `edge_flops_counted`
    is the sum over the known counts, a lower bound. `edge_parameter_count` counts the parameters of the edge half,
    trainable or frozen, also quantized weights in buffers, but no running statistics. `edge_parameter_bytes` are those
    of all tensors in its file.
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
    """The profile file. `sample_output_bytes` is the size of a result per sample, which is sent back.

    `peak_memory_method` is *liveness* (computed from shapes: weights, live activations, no
    allocator overhead) or *measured* (CUDA's allocator). `power` is None where no energy counter could be read, and
    `power_missing` then says why.
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
        """The cut with this id. Raises KeyError if the profile has no such cut."""
        for cut in self.cuts:
            if cut.id == cut_id:
                return cut
        raise KeyError(cut_id)
