"""Floor 1: what is kept. Records, hashes, errors, atomic files. Imports nothing else of ours."""

from .atomic import write_bytes, write_text
from .base import Interval, Record, Timing
from .defense import DefenseSpec, DropoutKind, MaskKind, NoiseKind, Rounding, TensorRange
from .errors import (
    BudgetError,
    CollabplanError,
    CutError,
    MismatchError,
    RecordError,
    TargetError,
    TraceError,
)
from .files import load, save, schema_text
from .hashing import canonical_json, hash_file, hash_json, hash_rows, hash_tensors
from .leakage import ControlRow, IndexAt, InformationEstimate, Leakage, LeakageReport, LeakageRow
from .link import Link
from .model import (
    DTYPE_BYTES,
    Crossing,
    CutKind,
    DeviceIdentity,
    Layout,
    ModelIdentity,
    Provenance,
    TargetIdentity,
)
from .plan import Accuracy, Baseline, Budgets, Candidate, Latency, LatencyParts, Plan, ResultAt
from .profile import CutProfile, NodeProfile, Profile, Role
from .provenance import collect_provenance, processor_name
from .units import parse_bandwidth, parse_duration_ms, parse_size

__all__ = [
    "DTYPE_BYTES",
    "Accuracy",
    "Baseline",
    "BudgetError",
    "Budgets",
    "Candidate",
    "CollabplanError",
    "ControlRow",
    "Crossing",
    "CutError",
    "CutKind",
    "CutProfile",
    "DefenseSpec",
    "DeviceIdentity",
    "DropoutKind",
    "IndexAt",
    "InformationEstimate",
    "Interval",
    "Latency",
    "LatencyParts",
    "Layout",
    "Leakage",
    "LeakageReport",
    "LeakageRow",
    "Link",
    "MaskKind",
    "MismatchError",
    "ModelIdentity",
    "NodeProfile",
    "NoiseKind",
    "Plan",
    "Profile",
    "Provenance",
    "Record",
    "RecordError",
    "ResultAt",
    "Role",
    "Rounding",
    "TargetError",
    "TargetIdentity",
    "TensorRange",
    "Timing",
    "TraceError",
    "canonical_json",
    "collect_provenance",
    "hash_file",
    "hash_json",
    "hash_rows",
    "hash_tensors",
    "load",
    "parse_bandwidth",
    "parse_duration_ms",
    "parse_size",
    "processor_name",
    "save",
    "schema_text",
    "write_bytes",
    "write_text",
]
