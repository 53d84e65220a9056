"""Kept pictures: for each audit its figures, the first originals, and which kept attacks hold what was made of them.

A gallery lies beside the kept attacks (`audit_files`) and names their files, so no picture is kept twice. Reading one
needs no torch and no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..records import Audit, ModelIdentity, canonical_json, write_bytes
from ..records.revisions import Revisions

if TYPE_CHECKING:
    from torch import Tensor

Levels = NDArray[np.uint8]

ENDING = ".gallery.safetensors"


@dataclass(frozen=True, eq=False)
class Gallery:
    """One audit of one seed, with its pictures.

    Attributes:
        model: the undefended model that was attacked.
        tuned_hash: of the cloud half's fine-tuned weights; None where it was not fine-tuned.
        audit: all figures.
        originals: the first target images, `[n, C, H, W]` levels from 0 to 255, C 1 or 3.
        pictures: by attack, its reconstructions of these, in the same form.
        revisions: of the code that made it.
    """

    model: ModelIdentity
    tuned_hash: str | None
    audit: Audit
    originals: Levels
    pictures: Mapping[str, Levels]
    revisions: Mapping[str, int]


def keep_gallery(
    folder: Path,
    name: str,
    audit: Audit,
    model: ModelIdentity,
    tuned_hash: str | None,
    originals: Tensor,
    files: Mapping[str, str],
    revisions: Revisions,
) -> None:
    """Keep an audit's figures and originals; nothing where the inputs are no images.

    Args:
        folder: holds the kept attacks.
        name: of the file, without its ending.
        audit: all figures.
        model: the model that was attacked.
        tuned_hash: of the cloud half's fine-tuned weights.
        originals: `[n, *image_shape]` in [0, 1].
        files: by attack, the file in `folder` that holds its reconstructions.
        revisions: of everything that the figures depend on.
    """
    if originals.ndim != 4 or originals.shape[1] not in (1, 3) or not files:
        return
    said = {
        "audit": audit.model_dump_json(),
        "model": model.model_dump_json(),
        "tuned": tuned_hash or "",
        "files": canonical_json(dict(files)),
        "revisions": canonical_json(dict(revisions)),
    }
    levels = (originals.clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8, order="C")  # save ignores strides
    write_bytes(folder / (name + ENDING), save({"originals": levels}, said))


def kept_galleries(folder: Path) -> Iterator[Gallery]:
    """The galleries in `folder`, by name. A damaged one is left out, and so is a picture whose file is gone."""
    for place in sorted(folder.glob(f"*{ENDING}")):
        found = _read(place)
        if found is not None:
            yield found


def _read(place: Path) -> Gallery | None:
    try:
        with safe_open(place, framework="np") as file:
            said: dict[str, str] = file.metadata() or {}
            originals = file.get_tensor("originals")
        files: dict[str, Any] = json.loads(said["files"])
        pictures = {name: _pictures(place.parent / Path(str(kept)).name) for name, kept in files.items()}
        return Gallery(
            model=ModelIdentity.model_validate_json(said["model"]),
            tuned_hash=said["tuned"] or None,
            audit=Audit.model_validate_json(said["audit"]),
            originals=originals,
            pictures={name: found for name, found in pictures.items() if found is not None},
            revisions=json.loads(said["revisions"]),
        )
    except (OSError, SafetensorError, KeyError, ValueError, ValidationError, AttributeError):
        return None


def _pictures(place: Path) -> Levels | None:
    try:
        with safe_open(place, framework="np") as file:
            found: Levels = file.get_tensor("pictures")
            return found
    except (OSError, SafetensorError):
        return None
