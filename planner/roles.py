"""Divides the images of an audit between target and attacker."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.seeds import generator_for
from ..targets.data import Data

MOST_INTERCEPTED = 2000

TRAIN_DATA = "train_data (no attacker_data is defined)"
SEARCH_SPLIT = "the search split of validation_data (neither attacker_data nor train_data is defined)"


@dataclass(frozen=True, eq=False)
class Roles:
    """Which images are attacked, and which belong to the attacker.

    Attributes:
        targets: images that are attacked, in random order.
        intercepted: further images of the same distribution, whose releases the attacker has seen.
        auxiliary: the attacker's images, in random order.
        source: the origin of `auxiliary`, in words.
        other: auxiliary images of another distribution; None if there are none.
        sensitive: sensitive labels of the targets and of the intercepted images, for a probe.
        region: `[H, W]`, how much each pixel of an image matters; None where that is not declared.
    """

    targets: Data
    intercepted: Data | None
    auxiliary: Data
    source: str
    other: Data | None = None
    sensitive: tuple[Tensor, Tensor] | None = None
    region: Tensor | None = None

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
        region: Tensor | None = None,
        seed: int = 0,
    ) -> Roles:
        """Targets are the confirm split of the validation data, intercepted images the search split.

        The auxiliary data is `attacker` if given, else the training data, else the search split.

        Args:
            search: search split of the validation data.
            confirm: confirm split.
            attacker: `attacker_data` of the target.
            train: data that the model was trained on.
            other: auxiliary images of another distribution.
            sensitive: sensitive labels of the confirm split and of the search split.
            region: `region_of_interest` of the target.
            seed: of the order of the auxiliary images.
        """
        auxiliary, source = attacker, "attacker_data"
        if auxiliary is None:
            auxiliary, source = train, TRAIN_DATA
        if auxiliary is None:
            auxiliary, source = search, SEARCH_SPLIT
        order = torch.randperm(len(auxiliary), generator=generator_for(seed, "attacker"))
        seen = search.take(torch.arange(min(MOST_INTERCEPTED, len(search))))
        if sensitive is not None:
            sensitive = (sensitive[0], sensitive[1][:MOST_INTERCEPTED])
        return cls(confirm, seen, auxiliary.take(order), source, other, sensitive, region)

    def while_searching(self, search: Data, targets: int) -> Roles:
        """The same attacker against images of the search split.

        If the search split was its auxiliary data, it keeps the images that are not attacked. Nothing is intercepted:
        the search runs no attack that needs it.

        Args:
            search: search split of the validation data.
            targets: most images of it to attack where the attacker keeps the rest.
        """
        if self.source != SEARCH_SPLIT:
            return Roles(search, None, self.auxiliary, self.source, region=self.region)
        count = min(targets, len(search) // 3)
        order = torch.arange(len(search))
        chosen, kept = search.take(order[:count]), search.take(order[count:])
        return Roles(chosen, None, kept, self.source, region=self.region)
