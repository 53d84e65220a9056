"""Damage: bytes and JSON changed at random, and bundles that are sealed again over what was changed."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collabplan.records import BundleManifest, BundlePart, CollabplanError
from collabplan.runtime import CloudPart, EdgePart, open_cloud, open_edge

OPEN: dict[str, Callable[..., EdgePart | CloudPart]] = {"edge": open_edge, "cloud": open_cloud}
FILES = ("manifest.json", "plan.json", "graph.json", "weights.safetensors")


def edit(file: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def reseal(folder: Path) -> None:
    """Make the manifest's hashes right again, as somebody would who may write here. Raises ValidationError."""
    file = folder / "manifest.json"
    document = json.loads(file.read_text())
    for entry in document["part"]["files"]:
        data = (folder / entry["name"]).read_bytes()
        entry.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        if entry["name"] == "plan.json":
            document["part"]["plan_sha256"] = entry["sha256"]
    part = BundlePart.model_validate_json(json.dumps(document["part"]))
    edge, cloud = (part, None) if part.role == "edge" else (part.model_copy(update={"role": "edge"}), part)
    sealed = BundleManifest.sealed(edge, cloud)[0 if cloud is None else 1]
    assert sealed is not None
    file.write_text(sealed.model_dump_json())


def meaning(part: EdgePart | CloudPart) -> object:
    weights = {name: tensor.numpy().tobytes() for name, tensor in part.program.state_dict().items()}
    return part.manifest, part.plan, part.program.document, weights


def found_in(folder: Path, role: str) -> EdgePart | CloudPart | None:
    """The part, or None where it is refused with one line."""
    try:
        return OPEN[role](folder)
    except CollabplanError as error:
        if "\n" in str(error):
            pytest.fail(f"not one line: {error}")
        return None


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One flip, cut, repetition or insertion."""
    at = draw.randrange(len(data))
    kind = draw.choice(("flip", "flip", "byte", "truncate", "repeat", "remove", "insert"))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
    if kind == "byte":
        return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
    if kind == "truncate":
        return data[:at]
    other = draw.randrange(at, min(at + 40, len(data)))
    if kind == "repeat":
        return data[:other] + data[at:]
    return data[:at] + data[other:] if kind == "remove" else data[:at] + draw.randbytes(4) + data[at:]


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**400, 0.5, 1e308, "", "x", "../x", "\ud800", "float32", [], {}, [[]], {"ref": "n0"},
    {"ref": []}, {"ref": "i0"}, {"dtype": "onnx"}, {"dtype": []}, {"slice": [1]}, {"complex": ["x", 1]},
    {"float": "inf"}, {"device": "cuda"}, {"a": 1, "b": 2}, {"dict": [[1, 2]]}, {"list": 3}, {"output": 10**6},
    [-5, 2**40],
)  # fmt: skip
"""JSON values to put where they do not belong."""


def odd(draw: random.Random) -> Any:
    """One of `ODD`, which later edits may change."""
    return copy.deepcopy(draw.choice(ODD))


def edited(document: Any, draw: random.Random) -> None:
    """Replace, remove, rename or add one value somewhere in a JSON document."""
    here = document
    while True:
        if not isinstance(here, (dict, list)) or not here:
            return
        key = draw.choice(list(here)) if isinstance(here, dict) else draw.randrange(len(here))
        if isinstance(here[key], (dict, list)) and here[key] and draw.random() < 0.85:
            here = here[key]
            continue
        break
    kind = draw.choice(("replace", "replace", "remove", "add", "nudge"))
    if kind == "remove":
        del here[key]
    elif kind == "add" and isinstance(here, dict):
        here[draw.choice(("x", "ref", "op"))] = odd(draw)
    elif kind == "add" and isinstance(here, list):
        here.insert(key, odd(draw))
    elif kind == "nudge" and isinstance(here[key], (int, float)):
        here[key] += draw.choice((1, -1, 1000))
    else:
        here[key] = odd(draw)


def mutate(folder: Path, draw: random.Random) -> None:
    file = folder / draw.choice(FILES)
    if file.suffix == ".json" and draw.random() < 0.6:
        edit(file, lambda document: edited(document, draw))
    else:
        file.write_bytes(damaged(file.read_bytes(), draw))
