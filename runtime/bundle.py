"""Writes a bundle: the folder that deploys a plan, with `edge/` for the device and `cloud/` for the server.

Neither part holds the other's weights. The folder is filled under a temporary name and then renamed, so that it exists
whole or not at all. `parts` opens it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, fx

from .. import __version__
from ..defenses import Defense, ProjectionMatrices
from ..graph import (
    Cut,
    Halves,
    Program,
    TracedGraph,
    input_specs,
    output_spec,
    require_fixed_outputs,
    shared_tensors,
    split,
    with_weights,
)
from ..records import (
    BundleFile,
    BundleManifest,
    BundlePart,
    BundleRole,
    CollabplanError,
    MismatchError,
    OutputSpec,
    Plan,
    RecordError,
    hash_file,
    hash_tensors,
    load,
    new_folder,
    record_text,
    save,
    write_bytes,
)
from ..records.bundle import MANIFEST_FILE, PROJECTION, SIGNATURE_FILE, FileName
from .exports import Format, export_half, require_format
from .halves import write_halves, write_whole
from .parts import files_of, wire_of


@dataclass(frozen=True, slots=True)
class WrittenBundle:
    """A bundle as it was written.

    Attributes:
        folder: where it lies.
        edge, cloud: the manifests of its parts; `cloud` is None if everything runs on the device.
    """

    folder: Path
    edge: BundleManifest
    cloud: BundleManifest | None

    @property
    def parts(self) -> tuple[BundleManifest, ...]:
        """The manifests of all parts that exist."""
        return (self.edge,) if self.cloud is None else (self.edge, self.cloud)


def write_bundle(
    plan: Plan,
    traced: TracedGraph,
    cut: Cut,
    folder: Path,
    *,
    tuned: Mapping[str, Tensor] | None = None,
    projection: ProjectionMatrices | None = None,
    allow_shared_weights: bool = False,
    allow_custom_stages: bool = False,
    fallback: bool = False,
    formats: Sequence[Format] = (),
    sign: Path | None = None,
) -> WrittenBundle:
    """Write `folder/edge` and `folder/cloud`, and check that they compose to the model bit for bit.

    A plan that runs everything on the device has no cloud part; its edge part is the whole model.

    Args:
        plan: as it was loaded; both parts get `plan.portable()`.
        traced: the plan's model.
        cut: the plan's cut in that trace.
        folder: absent, empty, or an older bundle of the same plan, which is replaced.
        tuned: the plan's fine-tuned weights, if it has any.
        projection: the matrices of the defense's projection, if it has one; both parts get them.
        allow_shared_weights: write the parts even if each holds weights that the other one needs too.
        allow_custom_stages: write a plan whose defense has stages that are not part of collabplan. A bundle carries no
            code: only a process that was given their classes can open it.
        fallback: put the whole model beside the edge half, for a device that must answer without the cloud. The device
            then holds all weights. It has no effect if everything runs on the device anyway.
        formats: also write the halves for other engines.
        sign: the file of the Ed25519 key that signs both parts; None: they are not signed.

    Raises:
        MismatchError: the plan is of another model, cut, or set of weights or projection matrices, or `folder` holds
            the bundle of another plan.
        CollabplanError: `folder` is not a bundle or cannot be written, `sign` is no key or not secret, weights are
            shared, a half cannot be exported, an output's shape depends on values, or samples read each other and the
            model takes no single one.
        BudgetError: the halves do not compose to the model.

    Example::

        written = write_bundle(plan, traced, cut, Path("bundle"))
        print(written.edge.bundle_id)
    """
    folder, carried = Path(folder).resolve(), plan.portable()
    for kind in formats:
        require_format(kind)
    signed = _signer(sign)
    _require_same_plan(plan, traced, cut, tuned)
    customs = ", ".join(custom.name for custom in plan.defense.customs)
    if customs and not allow_custom_stages:
        raise CollabplanError(
            f"a bundle carries no code, and the plan's defense has stages of your own ({customs}); plan without them "
            "(--defense), or make them part of collabplan"
        )
    require_fixed_outputs(traced)
    traced.samples_at_once(1)
    Defense.bound(plan.defense, cut.crossing, projection)
    _require_replaceable(folder, carried)
    halves = None if plan.cut_kind == "edge-only" else split(traced, cut)
    shared = () if halves is None else _shared(halves, allowed=allow_shared_weights)
    if halves is not None and tuned is not None:
        halves = replace(halves, cloud=with_weights(halves.cloud, tuned))
    with new_folder(folder) as temporary:
        last = _write_programs(traced, halves, temporary, tuned=tuned is not None, fallback=fallback)
        outputs = output_spec(traced, last.document)
        drafts = []
        for role, graph in _graphs(traced, halves).items():
            save(carried, temporary / role / "plan.json")
            if projection is not None:
                write_bytes(temporary / role / PROJECTION, save_tensors(projection.tensors))
            for kind in dict.fromkeys(formats):
                names = _names(role, plan, traced, outputs, whole=halves is None)
                export_half(graph, kind, temporary / role / f"half.{kind}", *names)
            drafts.append(_part(role, carried, traced, outputs, shared, temporary / role))
        edge, cloud = BundleManifest.sealed(drafts[0], drafts[1] if len(drafts) > 1 else None)
        written = WrittenBundle(folder, edge, cloud)
        for manifest in written.parts:
            file = temporary / manifest.part.role / MANIFEST_FILE
            save(manifest, file)
            if signed is not None:
                write_bytes(file.with_name(SIGNATURE_FILE), signed(file.read_bytes()))
    return written


def _signer(key: Path | None) -> Callable[[bytes], bytes] | None:
    """What signs with the key in a file; None without one. Raises CollabplanError."""
    if key is None:
        return None
    from .signing import signing_key

    return signing_key(key).sign


def _write_programs(
    traced: TracedGraph, halves: Halves | None, folder: Path, *, tuned: bool, fallback: bool
) -> Program:
    """Write the programs of all parts. Returns the one that makes the model's output."""
    if halves is None:
        return write_whole(traced, folder / "edge")
    _, cloud = write_halves(traced, halves, folder, tuned=tuned)
    if fallback:
        write_whole(traced, folder / "edge" / "fallback")
    return cloud


def _require_same_plan(plan: Plan, traced: TracedGraph, cut: Cut, tuned: Mapping[str, Tensor] | None) -> None:
    """Refuse a model, cut or fine-tuned weights that are not the plan's. Raises MismatchError."""
    plan.model.require_same(traced.identity, record="the plan")
    if (cut.id, cut.crossing) != (plan.cut_id, plan.crossing):
        raise MismatchError(f"the plan's cut {plan.cut_name!r} lets other tensors cross here: optimize again")
    wanted = None if plan.tuned_weights is None else plan.tuned_weights.sha256
    if (None if tuned is None else hash_tensors(tuned)) != wanted:
        measured = "no fine-tuned weights" if wanted is None else f"the fine-tuned weights {wanted[:12]}"
        raise MismatchError(
            f"the plan was measured with {measured}, and these are others: give those, or optimize again"
        )


def _shared(halves: Halves, *, allowed: bool) -> tuple[str, ...]:
    """The weights that both halves need. Raises CollabplanError if there are any and `allowed` is False."""
    shared = shared_tensors(halves)
    if shared and not allowed:
        raise CollabplanError(
            f"both halves need the same weights ({', '.join(shared)}), so each part would hold some of the other's; "
            "plan another cut, untie them, or give --allow-shared-weights"
        )
    return shared


def _require_replaceable(folder: Path, plan: Plan) -> None:
    """Refuse to replace anything but an older bundle of the same plan.

    Raises:
        MismatchError: it is the bundle of another plan.
        CollabplanError: it is not a bundle, or holds other files too.
    """
    another = "choose another folder with -o, or move this one away"
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        foreign = [entry.name for entry in folder.iterdir() if entry.name not in get_args(BundleRole)]
        if foreign:
            raise CollabplanError(f"{folder} is no bundle (it holds {foreign[0]}); {another}")
        for part in folder.iterdir():
            extra = sorted(files_of(part) - {*get_args(FileName), MANIFEST_FILE, SIGNATURE_FILE})
            if extra:
                raise CollabplanError(f"{part} is no part of a bundle (it holds {extra[0]}); {another}")
            found = load(BundleManifest, part / MANIFEST_FILE).part.plan_sha256
            if found != hashlib.sha256(record_text(plan).encode()).hexdigest():
                raise MismatchError(f"{folder} holds the bundle of another plan; {another}")
    except OSError as error:
        raise CollabplanError(f"{folder} is no folder that can be written to ({error.strerror}); {another}") from None
    except RecordError as error:
        raise CollabplanError(f"{folder} is no bundle that can be replaced: {error}; {another}") from None


def _graphs(traced: TracedGraph, halves: Halves | None) -> dict[BundleRole, fx.GraphModule]:
    """The graph that each part runs."""
    if halves is None:
        return {"edge": traced.flat}
    found: dict[BundleRole, fx.GraphModule] = {}
    for role, half in (("edge", halves.edge), ("cloud", halves.cloud)):
        graph = half.graph_module
        assert isinstance(graph, fx.GraphModule)
        found["edge" if role == "edge" else "cloud"] = graph
    return found


def _names(
    role: BundleRole, plan: Plan, traced: TracedGraph, outputs: OutputSpec, *, whole: bool
) -> tuple[list[str], list[str]]:
    """The names of what an exported half takes and returns."""
    crossing, results = [crossing.node for crossing in plan.crossing], [spec.name for spec in outputs.tensors]
    if role == "cloud":
        return crossing, results
    given = [spec.name for spec in traced.tensor_inputs]
    return given, results if whole else [f"{node}_sent" if node in given else node for node in crossing]


def _part(
    role: BundleRole, plan: Plan, traced: TracedGraph, outputs: OutputSpec, shared: tuple[str, ...], folder: Path
) -> BundlePart:
    """The manifest's description of the part in `folder`."""
    files = tuple(
        BundleFile.model_validate(
            {"name": name, "sha256": hash_file(folder / name), "size_bytes": (folder / name).stat().st_size}
        )
        for name in sorted(files_of(folder))
    )
    return BundlePart(
        role=role,
        plan_sha256=next(file.sha256 for file in files if file.name == "plan.json"),
        cut_id=plan.cut_id,
        cut_name=plan.cut_name,
        cut_kind=plan.cut_kind,
        batch=traced.only_batch,
        samples_independent=traced.mixed_at is None,
        wire=wire_of(plan),
        inputs=input_specs(traced) if role == "edge" else (),
        outputs=outputs,
        shared_tensors=shared,
        files=files,
        torch_version=torch.__version__,
        collabplan_version=__version__,
    )
