"""Floor 1: what is kept. Records, hashes, errors, atomic files. Imports nothing else of ours."""

from .atomic import write_bytes, write_text
from .base import Interval, Record, Timing
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
from .plan import (
    Accuracy,
    Baseline,
    Budgets,
    Candidate,
    DefenseSpec,
    DropoutKind,
    Latency,
    LatencyParts,
    Leakage,
    Plan,
    ResultAt,
    TensorRange,
)
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
    "Crossing",
    "CutError",
    "CutKind",
    "CutProfile",
    "DefenseSpec",
    "DeviceIdentity",
    "DropoutKind",
    "Interval",
    "Latency",
    "LatencyParts",
    "Layout",
    "Leakage",
    "Link",
    "MismatchError",
    "ModelIdentity",
    "NodeProfile",
    "Plan",
    "Profile",
    "Provenance",
    "Record",
    "RecordError",
    "ResultAt",
    "Role",
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
