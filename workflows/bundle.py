"""Writes the folder that deploys a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..runtime import WrittenBundle, write_bundle
from .planned import LoadedPlan
from .reporter import Reporter


@dataclass(frozen=True, slots=True)
class Bundled:
    """A bundle on disk.

    Attributes:
        folder: holds `edge`, and `cloud` where anything is sent.
        written: the manifests of its parts.
        bytes: size of each part.
    """

    folder: Path
    written: WrittenBundle
    bytes: dict[str, int]


def bundle_plan(
    planned: LoadedPlan,
    folder: Path,
    reporter: Reporter,
    *,
    formats: Sequence[Literal["onnx", "pt2"]] = (),
    with_fallback: bool = False,
    allow_shared_weights: bool = False,
    sign: Path | None = None,
) -> Bundled:
    """Write one part for the device and one for the cloud, and read both back.

    Args:
        planned: the plan with its model.
        folder: for the bundle; it must not hold anything else.
        reporter: hears what is done.
        formats: other engines that the halves are written for, `onnx` or `pt2`.
        with_fallback: put the whole model into the edge part.
        allow_shared_weights: also where both halves need the same weights.
        sign: the file of the Ed25519 key that signs both parts.

    Raises:
        CollabplanError: the bundle cannot be written, or does not compose to the model.
    """
    with reporter.progress("writing and checking the bundle"):
        written = write_bundle(
            planned.plan,
            planned.traced,
            planned.cut,
            folder,
            tuned=planned.tuned,
            projection=planned.projection,
            allow_shared_weights=allow_shared_weights,
            fallback=with_fallback,
            formats=list(formats),
            sign=sign,
        )
    sizes: dict[str, int] = {m.part.role: sum(file.size_bytes for file in m.part.files) for m in written.parts}
    return Bundled(folder, written, sizes)


def bundle_notes(planned: LoadedPlan, bundled: Bundled) -> list[str]:
    """What the holder of each part should know; a note about weights opens with `WARNING`."""
    part, notes = bundled.written.edge.part, []
    if part.shared_tensors:
        notes.append(f"WARNING: both parts hold {', '.join(part.shared_tensors)}")
    if part.has_fallback:
        notes.append("WARNING: the edge part holds ALL weights of the model, in edge/fallback")
    if planned.plan.portable() != planned.plan:
        notes.append("note: the plan in the bundle names files without their folders, which may be private")
    return notes
