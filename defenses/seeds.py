"""Seeds that depend on what they are for, never on the order in which things happen to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records import hash_json

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 32-bit seed for one purpose: equal arguments, equal seed, in any process."""
    return int(hash_json([seed, *purpose])[:8], 16)


def generator_for(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator seeded by `derive_seed`."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *purpose))
