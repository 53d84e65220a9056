"""Opens one part of a bundle, on the device or in the cloud. Nothing in it is executed.

Every file is hashed before it is parsed, and the bytes that are parsed are those that were hashed. A part opens alone,
wherever it was copied to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from ..defenses.catalogue import custom_stage
from ..defenses.pipeline import Defense
from ..defenses.projection import ProjectionMatrices
from ..graph import Program, parse_program
from ..records import (
    BundleFile,
    BundleManifest,
    BundlePart,
    BundleRole,
    CollabplanError,
    DefenseRecord,
    Plan,
    RecordError,
    WireFormat,
    hash_file,
    parse,
)
from ..records.bundle import MANIFEST_FILE, NEEDED, PROJECTION, SIGNATURE_FILE

MOST_MANIFEST_BYTES = 2**22
MOST_BYTES = {"plan.json": 2**24, "graph.json": 2**25, "fallback/graph.json": 2**25}
"""The largest files that are parsed as JSON, which takes 25 times their size. Weights may have any size."""

MOST_VALUES = 250_000
"""The most values of a plan or a manifest, which has a few hundred for each candidate of the front."""

_AGAIN = "copy the part again, or make it again with `collabplan bundle`"


@dataclass(frozen=True, eq=False)
class EdgePart:
    """What a device runs. `open_edge` opens it.

    Attributes:
        folder: where the part lies.
        manifest: what the part holds, takes and returns.
        plan: the plan that it deploys.
        program: takes the tensors of `manifest.part.inputs` and returns those that cross, in the order of
            `defense.crossing`. If everything runs on the device (`sends` is False), it returns the model's output.
        defense: must act on what crosses before it leaves the device.
    """

    folder: Path
    manifest: BundleManifest
    plan: Plan
    program: Program
    defense: Defense

    @property
    def sends(self) -> bool:
        """False if everything runs on the device."""
        return self.manifest.part.cut_kind != "edge-only"

    def fallback(self) -> Program:
        """The whole model, for an answer without the cloud. It takes the same inputs and returns the model's output.

        Raises:
            RecordError: the part has no fallback (`collabplan bundle --with-fallback`), or it is damaged.
        """
        if not self.sends:
            return self.program
        if not self.manifest.part.has_fallback:
            raise RecordError(
                f"bundle part {self.folder} holds no fallback; make one with `collabplan bundle --with-fallback`"
            )
        names = ("fallback/graph.json", "fallback/weights.safetensors")
        graph, weights = (_read(self.folder, self.manifest.part.file(name)) for name in names)
        return parse_program(graph, weights, self.folder / "fallback")


@dataclass(frozen=True, eq=False)
class CloudPart:
    """What a server runs. `open_cloud` opens it.

    Attributes:
        folder: where the part lies.
        manifest: what the part holds, takes and returns.
        plan: the plan that it deploys.
        program: takes what `defense.receive` makes of a release, and returns the model's output.
        defense: decodes a release.
    """

    folder: Path
    manifest: BundleManifest
    plan: Plan
    program: Program
    defense: Defense


def open_edge(path: Path, *, trust: Sequence[Path] | None = None) -> EdgePart:
    """Open the edge part at `path`: a bundle, or its `edge` folder alone.

    Args:
        path: the folder.
        trust: files of public keys, one of which must have signed the part; None: whoever made the part, it is opened.

    Raises:
        RecordError: it is not an edge part, a file is missing, added, renamed or changed, or no trusted key signed it.
        CollabplanError: a file of `trust` is no public key.

    Example::

        edge = open_edge(Path("bundle"))
        released = edge.defense.release(edge.program(image), Fresh())
    """
    folder, manifest, plan, program, defense = _open(Path(path), "edge", trust)
    part = manifest.part
    _require(folder, program.document["inputs"] == [spec.name for spec in part.inputs], "graph.json", "inputs")
    if part.cut_kind != "edge-only":
        outputs = program.document["output"]
        returned = outputs.get("tuple") if isinstance(outputs, dict) else None
        _require(folder, returned is not None and len(returned) == len(part.wire.crossing), "graph.json", "crossings")
    return EdgePart(folder, manifest, plan, program, defense)


def open_cloud(path: Path, *, trust: Sequence[Path] | None = None) -> CloudPart:
    """Open the cloud part at `path`: a bundle, or its `cloud` folder alone.

    Args:
        path: the folder.
        trust: as of `open_edge`.

    Raises:
        RecordError, CollabplanError: as `open_edge`, or the plan runs everything on the device.

    Example::

        cloud = open_cloud(Path("bundle"))
        output = cloud.program(*cloud.defense.receive(released))
    """
    folder, manifest, plan, program, defense = _open(Path(path), "cloud", trust)
    crossing = manifest.part.wire.crossing
    _require(folder, len(program.document["inputs"]) == len(crossing), "graph.json", "crossings")
    return CloudPart(folder, manifest, plan, program, defense)


def bundle_id_of(path: Path) -> str:
    """The ID of the bundle at `path`: a bundle, or either part of it alone.

    Raises:
        RecordError: there is no manifest of a bundle, or it is damaged.
    """
    for folder in (path, path / "edge", path / "cloud"):
        if (folder / MANIFEST_FILE).is_file():
            return _manifest_in(folder).bundle_id
    raise RecordError(
        f"{path} holds no part of a bundle ({MANIFEST_FILE} is missing); make one with `collabplan bundle`"
    )


def wire_of(plan: Plan) -> WireFormat:
    """The wire format of a plan. It is empty if everything runs on the device.

    Raises:
        CollabplanError: the defense is not calibrated, or cannot act on what crosses.
    """
    whole = plan.cut_kind == "edge-only"
    defense = Defense(DefenseRecord() if whole else plan.defense, () if whole else plan.crossing)
    _ = defense.quantizers, [defense.noise(crossing) for crossing in defense.crossing]  # raises if a range is missing
    return WireFormat(crossing=defense.crossing, defense=defense.record, payload_bytes=defense.payload_bytes())


def files_of(folder: Path) -> set[str]:
    """The relative paths of everything in a part's folder, except its own subfolder. Raises OSError."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.relative_to(folder).as_posix() != "fallback" or not path.is_dir()
    }


def _open(
    path: Path, role: BundleRole, trust: Sequence[Path] | None
) -> tuple[Path, BundleManifest, Plan, Program, Defense]:
    folder, manifest = _manifest(path, role, trust)
    for custom in manifest.part.wire.defense.customs:
        try:
            custom_stage(custom)
        except RecordError as error:
            raise RecordError(f"bundle part {folder} cannot be run here: {error}") from None
    contents = _verified(folder, manifest.part)
    plan = parse(Plan, contents["plan.json"], folder / "plan.json", most_values=MOST_VALUES)
    program = parse_program(contents["graph.json"], contents["weights.safetensors"], folder)
    part = manifest.part
    try:
        same = part.wire == wire_of(plan)
    except CollabplanError as error:
        raise RecordError(f"bundle part {folder}: the plan cannot be run ({error}); {_AGAIN}") from None
    same = same and (part.cut_id, part.cut_name, part.cut_kind) == (plan.cut_id, plan.cut_name, plan.cut_kind)
    _require(folder, same, "plan.json", "cut, crossings or defense")
    try:
        defense = Defense.bound(part.wire.defense, part.wire.crossing, _projection(contents.get(PROJECTION)))
    except (CollabplanError, SafetensorError, ValueError) as error:
        raise RecordError(f"bundle part {folder}: {PROJECTION} cannot be used ({error}); {_AGAIN}") from None
    return folder, manifest, plan, program, defense


def _projection(data: bytes | None) -> ProjectionMatrices | None:
    return None if data is None else ProjectionMatrices.from_tensors(load_tensors(data))


def _manifest(path: Path, role: BundleRole, trust: Sequence[Path] | None) -> tuple[Path, BundleManifest]:
    """The folder of the part, and its manifest. A signature is checked before anything is parsed."""
    folder = path if (path / MANIFEST_FILE).is_file() else path / role
    if not (folder / MANIFEST_FILE).is_file():
        raise RecordError(_absent(path, role))
    manifest = _manifest_in(folder, trust)
    if manifest.part.role != role:
        raise RecordError(f"{folder} is the {manifest.part.role} part of a bundle, this needs the {role} part")
    return folder, manifest


def _manifest_in(folder: Path, trust: Sequence[Path] | None = None) -> BundleManifest:
    file = folder / MANIFEST_FILE
    try:
        if file.stat().st_size > MOST_MANIFEST_BYTES:
            raise RecordError(f"{file} is larger than any manifest; {_AGAIN}")
        data = file.read_bytes()
    except OSError as error:
        raise RecordError(f"{file} cannot be read ({error.strerror}); {_AGAIN}") from None
    if trust is not None:
        from .signing import require_trusted

        require_trusted(folder, data, trust)
    try:
        manifest = parse(BundleManifest, data, file, most_values=MOST_VALUES)
        manifest.require_sealed()
    except RecordError as error:
        raise RecordError(f"bundle part {folder}: {error}; {_AGAIN}") from None
    return manifest


def _absent(path: Path, role: BundleRole) -> str:
    """Why there is no such part at `path`."""
    if role == "cloud" and (path / "edge" / MANIFEST_FILE).is_file() and not (path / role).exists():
        return f"{path} has no cloud part: its plan runs everything on the device, or the part was not copied"
    return f"{path} holds no {role} part of a bundle ({MANIFEST_FILE} is missing); make one with `collabplan bundle`"


def _verified(folder: Path, part: BundlePart) -> dict[str, bytes]:
    """The contents of a part's files that are parsed, after checking that all files are there, whole and alone.

    Raises:
        RecordError: a file is missing, added, changed or of another size.
    """
    try:
        found, named = files_of(folder), {file.name for file in part.files}
    except OSError as error:
        raise RecordError(f"bundle part {folder} cannot be read ({error.strerror}); {_AGAIN}") from None
    missing, extra = sorted(named - found), sorted(found - named - {MANIFEST_FILE, SIGNATURE_FILE})
    if missing:
        raise RecordError(f"bundle part {folder} lacks {missing[0]}; {_AGAIN}")
    if extra:
        raise RecordError(f"bundle part {folder} holds {extra[0]}, which its manifest does not name; {_AGAIN}")
    contents: dict[str, bytes] = {}
    for file in part.files:
        if file.name in (*NEEDED, PROJECTION):
            contents[file.name] = _read(folder, file)
        else:
            _require_whole(folder, file, hash_file)
    return contents


def _read(folder: Path, file: BundleFile) -> bytes:
    """The bytes of a file, after checking them against the manifest."""
    data = b""

    def digest(path: Path) -> str:
        nonlocal data
        data = path.read_bytes()
        return hashlib.sha256(data).hexdigest()

    _require_whole(folder, file, digest)
    return data


def _require_whole(folder: Path, file: BundleFile, digest: Callable[[Path], str]) -> None:
    """Refuse a file that differs from the manifest. Its size is checked before it is read."""
    path = folder / file.name
    try:
        size = path.stat().st_size if path.is_file() else -1
        if size != file.size_bytes or size > MOST_BYTES.get(file.name, size):
            raise RecordError(f"{path} has {max(size, 0)} bytes, expected {file.size_bytes}; {_AGAIN}")
        if digest(path) != file.sha256:
            raise RecordError(f"{path} was changed after it was written (another SHA-256); {_AGAIN}")
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror}); {_AGAIN}") from None


def _require(folder: Path, holds: bool, file: str, what: str) -> None:
    if not holds:
        raise RecordError(f"bundle part {folder}: {file} has other {what} than the manifest; {_AGAIN}")
