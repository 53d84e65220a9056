"""The manifest of a bundle's part: its files, what crosses the wire, and the other part that belongs to it.

A bundle has an edge part and a cloud part, and each travels alone. Each manifest names its own files by SHA-256,
and the other part by one hash, so that two machines can check in a handshake that they run one bundle. Hashes find
damage and mix-ups. They are not a signature: anyone who can write into a part can also replace its manifest. A
signature lies beside it (`SIGNATURE_FILE`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Annotated, Literal

from pydantic import Field, JsonValue, NonNegativeInt, model_validator

from .base import Record
from .defense import DefenseRecord
from .errors import RecordError
from .hashing import hash_json
from .model import DTYPE_BYTES, Crossing, CutKind

BundleRole = Literal["edge", "cloud"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Literal[
    "plan.json",
    "graph.json",
    "weights.safetensors",
    "projection.safetensors",
    "half.onnx",
    "half.pt2",
    "fallback/graph.json",
    "fallback/weights.safetensors",
]
"""Every name that a part's file may have. Other paths from a manifest are never followed."""

NEEDED: frozenset[FileName] = frozenset({"plan.json", "graph.json", "weights.safetensors"})
PROJECTION: FileName = "projection.safetensors"
FALLBACK: frozenset[FileName] = frozenset({"fallback/graph.json", "fallback/weights.safetensors"})
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"

MOST_SAMPLE_BYTES = 2**32
"""The most bytes that one tensor of one sample may hold. A manifest that says more is refused before any allocation."""

_DEEPEST = 32


class TensorSpec(Record):
    """A tensor that goes into a part or comes back.

    `shape` is that of one sample. Dimension d in `batch_dims` has the size `shape[d]` times the batch. Dimensions in
    `free_dims` have a size that depends on the batch or on values in another way. Where the trace has a single batch
    size, both are empty for outputs, and `shape` is the whole one. `number`: a Python number, such as the batch size,
    instead of a tensor.
    """

    name: str
    dtype: str
    shape: tuple[NonNegativeInt, ...]
    batch_dims: tuple[NonNegativeInt, ...] = ()
    free_dims: tuple[NonNegativeInt, ...] = ()
    public: bool = False
    number: bool = False

    def shape_at(self, batch: int) -> tuple[int | None, ...]:
        """The shape of `batch` samples; None for a size that is known only after the run."""
        return tuple(
            None if dim in self.free_dims else size * batch if dim in self.batch_dims else size
            for dim, size in enumerate(self.shape)
        )

    @model_validator(mode="after")
    def _possible(self) -> TensorSpec:
        _require_possible(self.name, self.dtype, self.shape)
        if any(dim >= len(self.shape) for dim in (*self.batch_dims, *self.free_dims)):
            raise ValueError(f"{self.name} has {len(self.shape)} dimensions, fewer than it names")
        return self


class OutputSpec(Record):
    """What the model returns.

    `structure` nests `{"dict": [[key, value], ...]}`, `{"list": [...]}` and `{"tuple": [...]}`. `{"output": k}` stands
    for the k-th of `tensors`, anything else for a constant of the model. `output_key` reads the keys.
    """

    structure: JsonValue
    tensors: tuple[TensorSpec, ...]

    @model_validator(mode="after")
    def _numbered(self) -> OutputSpec:
        if _outputs(self.structure) != list(range(len(self.tensors))):
            raise ValueError(f"the structure must name each of {len(self.tensors)} outputs once, in order")
        return self


class WireFormat(Record):
    """What crosses: the tensors, and the defense that the device applies to them. It holds no key and no seed.

    `payload_bytes` is per sample, without framing. Nothing crosses where everything runs on the device.
    """

    crossing: tuple[Crossing, ...]
    defense: DefenseRecord
    payload_bytes: int = Field(ge=0)

    @model_validator(mode="after")
    def _possible(self) -> WireFormat:
        for crossing in self.crossing:
            _require_possible(crossing.name, crossing.dtype, crossing.sample_shape)
            if crossing.layout is not None and crossing.layout.batch_dim > len(crossing.sample_shape):
                raise ValueError(f"{crossing.name} has no dimension {crossing.layout.batch_dim} for the batch")
            if crossing.layout is None and not crossing.public:
                raise ValueError(f"{crossing.name} is private and cannot be divided into samples")
        return self


class BundleFile(Record):
    """One file of a part, by its path in the part's folder."""

    name: FileName
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class BundlePart(Record):
    """Everything that a part's manifest says about the part itself.

    `batch` is the only batch size that may run; None: any. `samples_independent` is False where samples of a batch
    read each other, so that requests must not be batched together. `inputs` are the model's tensors in order, only in
    the edge part. `shared_tensors` are in both parts. `plan_sha256` is the hash of `plan.json`.
    """

    role: BundleRole
    plan_sha256: Sha256
    cut_id: str
    cut_name: str
    cut_kind: CutKind
    batch: int | None = Field(default=None, ge=1)
    samples_independent: bool = True
    wire: WireFormat
    inputs: tuple[TensorSpec, ...]
    outputs: OutputSpec
    shared_tensors: tuple[str, ...] = ()
    files: tuple[BundleFile, ...]
    torch_version: str
    collabplan_version: str

    @model_validator(mode="after")
    def _complete(self) -> BundlePart:
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("a file is named twice")
        lacking = sorted(NEEDED - set(names))
        if lacking:
            raise ValueError(f"the part names no {lacking[0]}")
        if (PROJECTION in names) != (self.wire.defense.projection is not None):
            raise ValueError(f"{PROJECTION} belongs to a defense with a projection")
        if FALLBACK & set(names) and (self.role == "cloud" or not set(names) >= FALLBACK):
            raise ValueError("a fallback is two files of the edge part")
        if self.file("plan.json").sha256 != self.plan_sha256:
            raise ValueError("plan_sha256 is not that of plan.json")
        if not self.samples_independent and self.batch != 1:
            raise ValueError("samples that read each other run one at a time")
        return self

    @property
    def sha256(self) -> str:
        """The hash of this record, and through the hashes of its files that of the whole part."""
        # Parts from before `samples_independent` existed keep their hash.
        known = {"samples_independent"} if self.samples_independent else None
        return hash_json(self.model_dump(mode="json", exclude=known))

    @property
    def has_fallback(self) -> bool:
        """True where the edge part also holds the whole model."""
        return any(file.name in FALLBACK for file in self.files)

    def file(self, name: str) -> BundleFile:
        """The file called `name`. Raises KeyError if the part has no such file."""
        for file in self.files:
            if file.name == name:
                return file
        raise KeyError(name)


class BundleManifest(Record):
    """`manifest.json` of one part.

    `bundle_id` is the hash of the plan's hash and both parts' hashes: two parts with the same id form one bundle.
    `other_part_sha256` is None where everything runs on the device, so that there is no other part.
    """

    format: Literal["collabplan.bundle"] = "collabplan.bundle"
    schema_version: Literal[2] = 2
    bundle_id: Sha256
    part_sha256: Sha256
    other_part_sha256: Sha256 | None
    part: BundlePart

    @classmethod
    def sealed(cls, edge: BundlePart, cloud: BundlePart | None) -> tuple[BundleManifest, BundleManifest | None]:
        """The manifests of both parts of one bundle."""
        ours, theirs = edge.sha256, None if cloud is None else cloud.sha256
        found = _bundle_id(edge.plan_sha256, ours, theirs)
        first = cls(bundle_id=found, part_sha256=ours, other_part_sha256=theirs, part=edge)
        if cloud is None or theirs is None:
            return first, None
        return first, cls(bundle_id=found, part_sha256=theirs, other_part_sha256=ours, part=cloud)

    def require_sealed(self) -> None:
        """Refuse a manifest whose hashes do not match its content.

        Raises:
            RecordError: it was changed after it was written.
        """
        both = (self.part_sha256, self.other_part_sha256)
        edge, cloud = both if self.part.role == "edge" else both[::-1]
        found = None if edge is None else _bundle_id(self.part.plan_sha256, edge, cloud)
        if self.part.sha256 != self.part_sha256 or self.bundle_id != found:
            raise RecordError("the manifest was changed after it was written")

    def recognises(self, bundle_id: str, part_sha256: str) -> bool:
        """True where a part with these hashes is the other part of this bundle."""
        return bundle_id == self.bundle_id and part_sha256 == self.other_part_sha256


def _bundle_id(plan: str, edge: str, cloud: str | None) -> str:
    return hash_json({"plan": plan, "edge": edge, "cloud": cloud})


def _require_possible(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"{name} has the dtype {dtype!r}, known are {', '.join(DTYPE_BYTES)}")
    if any(size < 0 for size in shape) or math.prod(shape) * DTYPE_BYTES[dtype] > MOST_SAMPLE_BYTES:
        raise ValueError(f"{name} has the shape {list(shape)}, which no tensor of a bundle has")


def output_key(key: JsonValue) -> Hashable:
    """The key of a dictionary as the model has it: a list becomes a tuple, and other JSON values stay.

    Args:
        key: text, a number, true, false, null, or a list of these.

    Raises:
        ValueError: it is none of these.

    Examples:
        >>> from collabplan.records import output_key
        >>> output_key(["a", 1])
        ('a', 1)
    """
    if isinstance(key, list):
        return tuple(output_key(part) for part in key)
    if isinstance(key, dict) or (isinstance(key, float) and not math.isfinite(key)):
        raise ValueError(f"the output has a key of no known kind: {str(key)[:60]}")
    return key


def _outputs(structure: JsonValue, depth: int = 0) -> list[int]:
    """The numbers of the outputs in a structure, in its order."""
    if depth > _DEEPEST:
        raise ValueError("the output is nested too deeply")
    if not isinstance(structure, dict):
        if isinstance(structure, float) and not math.isfinite(structure):
            raise ValueError("the output holds a number that JSON cannot hold")
        return []
    ((tag, content),) = structure.items() if len(structure) == 1 else ((None, None),)
    if tag == "output" and isinstance(content, int):
        return [content]
    if tag in ("list", "tuple") and isinstance(content, list):
        return [number for child in content for number in _outputs(child, depth + 1)]
    if tag == "dict" and isinstance(content, list):
        pairs = [pair for pair in content if isinstance(pair, list) and len(pair) == 2]
        if len({output_key(key) for key, _ in pairs}) == len(content):
            return [number for _, part in pairs for number in _outputs(part, depth + 1)]
    if tag == "float" and content in ("inf", "-inf", "nan"):
        return []
    raise ValueError(f"the output has a part of no known kind: {str(structure)[:60]}")
