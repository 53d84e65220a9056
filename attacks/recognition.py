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
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, mse_loss

from ..records import Threat
from .adversary_view import AdversaryView
from .decoder_training import TrainedDecoder, decoded
from .interface import Attacker, Effort
from .inverse import InverseNetwork
from .shared_fits import fitted_once
from .training import train

OTHERS = 1000
"""Images among which each of a batch is recognised, beside the batch itself: about as many as an audit's gallery."""

MOST_COMPARED = 1e7
"""The most numbers of these others together: of wide inputs there are fewer, so that 40 MB hold them."""

GLIMPSED = 32
"""Pixels a side by which images are told apart: more cost memory, and which picture it is shows in few."""

RATE = 1e-3
"""Learning rate, also of linear paths: they lead to the least squared error, which is no longer what is sought."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """The attack. Its revision rises with that of its start."""

    revision: ClassVar[int] = 3 + InverseNetwork.revision
    iterated: ClassVar[bool] = True
    name: str = "recognition"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Go on from `inverse`, which is fitted or taken from the cache. Raises AttackFailed if training diverges."""
        start = fitted_once(InverseNetwork(), view, effort)
        assert isinstance(start, TrainedDecoder)
        data, prepare, device = view.learned, start.prepare, view.device
        images, bank = view.pixels(data), view.bank(data)
        looks, count = glimpsed(images), len(data)
        others_count = max(1, min(OTHERS, int(MOST_COMPARED / looks.shape[1])))
        held, truth = view.query(view.held_out, generator), view.pixels(view.held_out)
        known = glimpsed(truth)
        # The mean image's squared error. The variance needs no copy of the images, which may be large.
        blank = float(images.var(dim=0, unbiased=False).mean()) or 1.0

        def step_loss(network: nn.Module, positions: Tensor, step: int) -> Tensor:  # noqa: ARG001
            assert isinstance(network, _Recogniser)
            others = torch.randint(0, count, (others_count,), generator=generator)
            candidates = looks[torch.cat([positions, others[~torch.isin(others, positions)]])].to(device)
            made = network.decoder(prepare(bank.at(positions, generator)))
            return network.mistaken(glimpsed(made), candidates) + mse_loss(made, images[positions].to(device)) / blank

        @torch.no_grad()
        def held_loss(network: nn.Module) -> float:
            assert isinstance(network, _Recogniser)
            made = torch.cat(list(decoded(network.decoder, prepare, held)))
            return float(network.mistaken(glimpsed(made), known)) + float(mse_loss(made, truth)) / blank

        unit = math.log(max(len(known), 2)) + 1  # the mean image's loss: it is recognised by chance
        begun = torch.cat([glimpsed(some) for some in decoded(start.decoder, prepare, held)])
        missed = float((begun - known).square().sum(dim=1).mean()) or 1.0
        network, training = train(
            _Recogniser(copy.deepcopy(start.decoder), missed).to(device), step_loss, held_loss, count, effort,
            generator, rate=lambda _: RATE, unit=unit, begun=True,
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

    def mistaken(self, made: Tensor, candidates: Tensor) -> Tensor:
        """The cross entropy of taking reconstructions for one of the candidates by their squared distances: a scalar.

        Args:
            made: `[b, numbers]`, as `glimpsed` gives them.
            candidates: `[c, numbers]`, of which the first b are the originals.
        """
        apart = torch.cdist(made, candidates).square() * self.sharpness.exp().to(made.device)
        return cross_entropy(-apart, torch.arange(len(made), device=made.device))


def glimpsed(images: Tensor) -> Tensor:
    """`[n, numbers]`: of images `[n, C, H, W]` at most `GLIMPSED` pixels a side, averaged; other inputs as they are.

    Examples:
        >>> glimpsed(torch.zeros(2, 3, 224, 160)).shape
        torch.Size([2, 3072])
    """
    if images.ndim == 4 and max(images.shape[2:]) > GLIMPSED:
        images = adaptive_avg_pool2d(images, (min(images.shape[2], GLIMPSED), min(images.shape[3], GLIMPSED)))
    return images.flatten(1)
