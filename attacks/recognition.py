"""Black-box: a network for attackers who want to know *which* picture was sent, not what each of its pixels is.

Of many pictures, the one nearest to a reconstruction must be its original. The network starts where `inverse` ended. It
goes on with the cross entropy of recognising each image among others by their squared distances to the reconstruction
(InfoNCE; van den Oord, Li & Vinyals, 2018, eq. 4). The squared error counts beside it, so that what is made still looks
like a picture.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..records import Threat
from .adversary_view import AdversaryView
from .decoder_training import TrainedDecoder
from .interface import Attacker, Effort
from .inverse import InverseNetwork
from .shared_fits import fitted_once
from .training import train

OTHERS = 1000
"""Images among which each of a batch is recognised, beside the batch itself: about as many as an audit's gallery."""

RATE = 1e-3
"""Learning rate, also of linear paths: they lead to the least squared error, which is no longer what is sought."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """The attack. Its revision rises with that of its start."""

    revision: ClassVar[int] = 1 + InverseNetwork.revision
    iterated: ClassVar[bool] = True
    name: str = "recognition"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Go on from `inverse`, which is fitted or taken from the cache. Raises AttackFailed if training diverges."""
        start = fitted_once(InverseNetwork(), view, effort)
        assert isinstance(start, TrainedDecoder)
        data, prepare = view.learned, start.prepare
        images, bank = view.pixels(data), view.bank(data)
        held, truth = prepare(view.query(view.held_out, generator)), view.pixels(view.held_out).to(view.device)
        blank = float((images.mean(dim=0) - images).square().mean()) or 1.0

        def step_loss(network: nn.Module, positions: Tensor, step: int) -> Tensor:  # noqa: ARG001
            assert isinstance(network, _Recogniser)
            others = torch.randint(0, len(data), (OTHERS,), generator=generator)
            candidates = torch.cat([positions, others[~torch.isin(others, positions)]])
            made = network.decoder(prepare(bank.at(positions, generator)))
            return network.loss(made, images[candidates].to(view.device), blank)

        @torch.no_grad()
        def held_loss(network: nn.Module) -> float:
            assert isinstance(network, _Recogniser)
            return float(network.loss(network.decoder(held), truth, blank))

        with torch.no_grad():
            missed = float((start.decoder(held) - truth).square().flatten(1).sum(dim=1).mean()) or 1.0
        # The mean image is recognised by chance, with the mean image's error.
        unit = math.log(len(truth)) + 1
        network, training = train(
            _Recogniser(copy.deepcopy(start.decoder), missed).to(view.device),
            step_loss, held_loss, len(data), effort, generator, rate=lambda _: RATE, unit=unit,
        )  # fmt: skip
        assert isinstance(network, _Recogniser)
        return TrainedDecoder(network.decoder, prepare, training)


class _Recogniser(nn.Module):
    """A decoder, with how sharply distances tell images apart.

    Args:
        decoder: from what `DecoderInput` gives to images.
        missed: the squared error of one image, which distances are counted in at first.
    """

    def __init__(self, decoder: nn.Module, missed: float) -> None:
        super().__init__()
        self.decoder = decoder
        self.sharpness = nn.Parameter(torch.tensor(-math.log(missed)))

    def loss(self, made: Tensor, candidates: Tensor, blank: float) -> Tensor:
        """How badly reconstructions are recognised, and how far they are from their originals: a scalar.

        Args:
            made: `[b, *image_shape]`.
            candidates: `[c, *image_shape]`, of which the first b are the originals.
            blank: the mean squared error of the mean image, per number.
        """
        apart = torch.cdist(made.flatten(1), candidates.flatten(1)).square() * self.sharpness.exp()
        own = torch.arange(len(made), device=made.device)
        return cross_entropy(-apart, own) + (made - candidates[: len(made)]).square().mean() / blank
