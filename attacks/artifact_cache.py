"""What audits of one model share: artifacts that are expensive and do not depend on what differs between the audits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch

from ..defenses.seeds import generator_for
from ..records.memory import UNBOUNDED, MemoryBudget

T = TypeVar("T")


class ArtifactCache:
    """Artifacts by key, each made once per process.

    Every artifact draws from a generator of its own, so no figure depends on which audit made it first.

    Args:
        seed: of all draws.
        memory: where activations of auxiliary images lie.

    Examples:
        >>> artifacts = ArtifactCache(seed=0)
        >>> first = artifacts.once("weights", lambda draws: torch.rand(2, generator=draws))
        >>> torch.equal(first, artifacts.once("weights", lambda _: torch.zeros(2)))
        True
    """

    def __init__(self, seed: int, memory: MemoryBudget = UNBOUNDED) -> None:
        self.seed, self.memory = seed, memory
        self._of_all_cuts: dict[str, object] = {}
        self._cut = ""
        self._of_this_cut: dict[str, object] = {}
        self._defense = ""
        self._of_this_defense: dict[str, object] = {}

    def once(
        self, key: str, make: Callable[[torch.Generator], T], *, at: str = "", within: str = "",
        draws_as: str | None = None,
    ) -> T:  # fmt: skip
        """The artifact of `key`, made on the first request.

        Args:
            key: everything that the artifact depends on, revisions included.
            make: makes it with a generator on the CPU.
            at: the cut that it belongs to. It is dropped when an artifact of another cut is requested.
            within: the defense at this cut that it belongs to. It is dropped when one of another defense is requested.
            draws_as: seeds the generator; `key` by default. It stays the same when a revision is raised.
        """
        if at and at != self._cut:
            self._cut, self._of_this_cut, self._defense, self._of_this_defense = at, {}, "", {}
        if within and within != self._defense:
            self._defense, self._of_this_defense = within, {}
        kept = self._of_this_defense if within else self._of_this_cut if at else self._of_all_cuts
        if key not in kept:
            kept[key] = make(generator_for(self.seed, at, key if draws_as is None else draws_as))
        return cast("T", kept[key])

    def leave_defense(self) -> None:
        """Drop what belongs to the present defense."""
        self._defense, self._of_this_defense = "", {}
