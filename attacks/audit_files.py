"""Kept audit results: a file for each finished attack, named by the hash of everything that made it.

A file says by which revisions it was made. A result of another revision has another name: it is never read, and stays
until somebody clears it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..records import AttackResult, Exchange, canonical_json, write_bytes
from ..records.revisions import Revisions
from .claims import turn

T = TypeVar("T")


def write_attack(
    place: Path | None, result: AttackResult, pictures: Tensor | None, revisions: Revisions, exchange: Exchange
) -> None:
    """Keep one attack's result with its first reconstructions `[n, *image_shape]` in [0, 1], as eight-bit levels."""
    if place is None:
        return
    tensors = {} if pictures is None else {"pictures": (pictures * 255).round().to(torch.uint8).contiguous()}
    metadata = {"result": result.model_dump_json(), "revisions": canonical_json(dict(revisions))}
    write_bytes(place, save(tensors, metadata))
    exchange.offer(place)


def read_attack(place: Path | None, exchange: Exchange) -> tuple[AttackResult, Tensor | None] | None:
    """What `write_attack` kept; None for a missing or damaged file."""
    if place is None:
        return None
    exchange.fetch(place)
    if not place.is_file():
        return None
    try:
        with safe_open(place, framework="pt") as file:
            result = AttackResult.model_validate_json((file.metadata() or {})["result"])
            pictures = file.get_tensor("pictures").float() / 255 if "pictures" in file.keys() else None  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return result, pictures


def remembered(
    place: Path | None, kind: TypeAdapter[T], revisions: Revisions, compute: Callable[[], T], exchange: Exchange
) -> T:
    """The figures of type `kind` that `place` keeps, else those that `compute` finds, which are kept there."""
    with turn(place, exchange):
        return _remembered(place, kind, revisions, compute, exchange)


def _remembered(
    place: Path | None, kind: TypeAdapter[T], revisions: Revisions, compute: Callable[[], T], exchange: Exchange
) -> T:
    if place is not None:
        exchange.fetch(place)
        kept = _read_json(place)
        if kept is not None:
            try:
                return kind.validate_python(kept["figures"], strict=False)
            except (ValidationError, KeyError):
                pass  # damaged: computed again
    found = compute()
    if place is not None:
        kept = {"revisions": dict(revisions), "figures": kind.dump_python(found, mode="json")}
        write_bytes(place, canonical_json(kept).encode())
        exchange.offer(place)
    return found


def kept_revisions(place: Path) -> dict[str, int] | None:
    """By which revisions a kept file of an audit was made; None for a file that does not say.

    Args:
        place: a file that `run_audit` kept in its `folder`.
    """
    kept: Mapping[str, Any] | None
    if place.suffix == ".safetensors":
        try:
            with safe_open(place, framework="pt") as file:
                kept = {"revisions": json.loads((file.metadata() or {}).get("revisions", "null"))}
        except (OSError, SafetensorError, ValueError):
            return None
    else:
        kept = _read_json(place)
    try:
        return TypeAdapter(dict[str, int]).validate_python((kept or {})["revisions"])
    except (KeyError, ValidationError):
        return None


def _read_json(place: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(place.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
