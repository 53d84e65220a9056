"""Black-box: a residual network that maps releases back to inputs, trained on queried pairs under the defense.

He, Zhang & Lee (ACSAC 2019), section 4.2, with two changes. The architecture follows from the shapes at the cut. It
has residual blocks and a direct linear path. It is trained on releases as they leave the device, with fresh masks and
noise at every step, and sees what was dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Threat
from .adversary_view import AdversaryView
from .decoder_training import train_decoder
from .decoders import DecoderInput, decoder_for
from .interface import Attacker, Effort
from .releases import ObservedReleases


@dataclass(frozen=True, slots=True)
class InverseNetwork:
    """The attack."""

    revision: ClassVar[int] = 7
    iterated: ClassVar[bool] = True
    name: str = "inverse"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Train on releases of auxiliary images. Raises AttackFailed if training diverges."""
        data = view.learned
        images = view.pixels(data)
        bank = view.bank(data)
        held = view.query(view.held_out, generator), view.pixels(view.held_out)
        prepare = DecoderInput.of(view, bank.clean)

        def pairs(positions: Tensor, draws: torch.Generator) -> tuple[ObservedReleases, Tensor]:
            return bank.at(positions, draws), images[positions]

        decoder = decoder_for(
            view.read_shapes, images.mean(dim=0), generator, marked=prepare.marked, width=effort.width
        )
        return train_decoder(decoder, prepare, pairs, len(data), held, effort, generator)
