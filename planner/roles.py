"""Who owns which images when a plan is attacked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.seeds import generator_for
from ..targets.data import Data

MOST_INTERCEPTED = 2000


@dataclass(frozen=True, eq=False)
class Roles:
    """Who owns which images.

    Attributes:
        targets: images that are attacked, in random order.
        intercepted: others of the same kind, whose releases were seen on the wire.
        own: the attacker's, in random order.
        source: where `own` come from, for people.
        other: images of another distribution that an attacker might own instead; None where there are none.
        sensitive: labels of targets and intercepted images that a probe goes for.
    """

    targets: Data
    intercepted: Data | None
    own: Data
    source: str
    other: Data | None = None
    sensitive: tuple[Tensor, Tensor] | None = None

    @classmethod
    def divide(
        cls,
        search: Data,
        confirm: Data,
        *,
        attacker: Data | None = None,
        train: Data | None = None,
        other: Data | None = None,
        sensitive: tuple[Tensor, Tensor] | None = None,
        seed: int = 0,
    ) -> Roles:
        """Targets are the confirm split of the validation data, intercepted images the search split.

        The attacker owns `attacker`, or without them what the model was trained on, or without that the search split.

        Args:
            sensitive: labels of the confirm split, and of the search split.
            seed: of the order of the attacker's images.
        """
        own, source = attacker, "attacker_data"
        if own is None:
            own, source = train, "train_data (no attacker_data is defined)"
        if own is None:
            own, source = search, "half of validation_data (neither attacker_data nor train_data are defined)"
        order = torch.randperm(len(own), generator=generator_for(seed, "attacker"))
        seen = search.take(torch.arange(min(MOST_INTERCEPTED, len(search))))
        if sensitive is not None:
            sensitive = (sensitive[0], sensitive[1][:MOST_INTERCEPTED])
        return cls(confirm, seen, own.take(order), source, other, sensitive)

    def while_searching(self, search: Data, targets: int) -> Roles:
        """The same attacker against images of the search split; those that were its own it keeps if not attacked.

        Nothing is intercepted: no attack that needs it is run while searching.
        """
        if not self.source.startswith("half of"):
            return Roles(search, None, self.own, self.source)
        count = min(targets, len(search) // 3)
        order = torch.arange(len(search))
        return Roles(search.take(order[:count]), None, search.take(order[count:]), self.source)
