"""What audits of one model share, so that it is made once: it takes long and does not depend on what differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch

from ..defenses.seeds import generator_for

T = TypeVar("T")


class ArtifactCache:
    """Things by key, each made once, with draws that its key and `seed` decide.

    So it makes no difference to any figure whether a thing was there already or not.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._everywhere: dict[str, object] = {}
        self._place = ""
        self._here: dict[str, object] = {}

    def once(self, key: str, make: Callable[[torch.Generator], T], *, at: str = "") -> T:
        """What `make` made of a generator when it was first asked for.

        Args:
            key: tells it from all others, of whatever type.
            at: a cut that it belongs to; it is forgotten when another cut's is asked for.
        """
        if at and at != self._place:
            self._place, self._here = at, {}
        kept = self._here if at else self._everywhere
        if key not in kept:
            kept[key] = make(generator_for(self.seed, at, key))
        return cast("T", kept[key])
