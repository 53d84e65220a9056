"""Fine-tuned weights on disk, by the content of everything that they depend on.

A file says by which revisions it was made. Weights of another revision have another name: they are never read, and
stay until they are cleared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ..records import Exchange, canonical_json, hash_json, write_bytes
from ..records.revisions import Revisions
from .finetune import Tuned


@dataclass(frozen=True)
class TunedFiles:
    """The files of one folder, shared with other machines by `exchange`. Without a folder nothing is kept."""

    folder: Path | None
    exchange: Exchange

    def read(self, key: list[Any], revisions: Revisions) -> tuple[bool, Tuned | None]:
        """Whether this was tuned before, and what came of it; None where tuning gained nothing."""
        place = self._place(key, revisions)
        if place is None:
            return False, None
        self.exchange.fetch(place)
        tensors = _read(place)
        return tensors is not None, None if tensors is None else Tuned.from_tensors(tensors)

    def write(self, key: list[Any], revisions: Revisions, tuned: Tuned | None) -> None:
        """Keep what came of it."""
        place = self._place(key, revisions)
        if place is not None:
            tensors = {} if tuned is None else tuned.tensors
            write_bytes(place, save_tensors(tensors, {"revisions": canonical_json(dict(revisions))}))
            self.exchange.offer(place)

    def _place(self, key: list[Any], revisions: Revisions) -> Path | None:
        name = hash_json([*key, dict(revisions)])[:24]
        return None if self.folder is None else self.folder / f"{name}.safetensors"


def _read(place: Path) -> dict[str, Tensor] | None:
    """The tensors of a file, empty where tuning gained nothing; None where there is no file, or it is damaged."""
    if not place.is_file():
        return None
    try:
        return load_tensors(place.read_bytes())
    except (OSError, SafetensorError, ValueError):
        return None
