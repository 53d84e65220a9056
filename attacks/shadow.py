"""Query-free: a shadow of the edge half, trained through the cloud half, is inverted in place of the real one.

He, Zhang & Lee (ACSAC 2019), section 4.3: whoever runs the cloud half trains an edge half of its own, on labelled
auxiliary images, until the cloud half classifies them through it. Two things make the attack stronger. Releases that
were seen on the wire tell how the real features are distributed, and the shadow's are aligned with them (FORA, CVPR
2024; SDAR, NDSS 2025), so closely that the device's own filters are found at a first convolution. And the inverse
network is trained on releases of the shadow under the defense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..defenses.randomness import Simulated
from ..graph.batch_size import BatchSize
from ..records import CollabplanError, Threat
from .adversary_view import AdversaryView, RowBank
from .decoder_training import TrainedDecoder, train_decoder
from .decoders import DecoderInput, decoder_for
from .interface import Attacker, Effort, Training
from .release_statistics import ReleaseStatistics
from .releases import ObservedReleases
from .shadow_edges import GenericEdge, SameEdge
from .threat import AttackFailed
from .training import BATCH, LEARNING_RATE, mean_over, seeded, train

ALIGNED = 10.0
"""Weight of the alignment beside the cross entropy."""

RELATIVE_RATE = 0.1
"""Learning rate as a share of the weights' size: random weights are far from the edge half's at any scale."""

CLASSIFIED = 8
"""Images of a batch that go through the cloud half. Statistics need more images, but only of the shadow."""

QUIET = 1e-3
"""Share of the typical variance; what varies less is not told apart in the end."""

FINEST_AT = 0.7
"""Share of the steps until the alignment is as fine as QUIET. It starts coarse: fine differences matter later."""

FINEST_BY = 1000
"""The most steps until then: a long training may converge and stop long before that share."""


@dataclass(frozen=True, slots=True)
class ShadowModel:
    """The attack.

    Attributes:
        same_architecture: the shadow has the edge half's architecture with random weights; else one of its own.
    """

    revision: ClassVar[int] = 6
    iterated: ClassVar[bool] = True
    weaker_form_of: ClassVar[str] = "inverse"
    same_architecture: bool = True
    threat: Threat = "query-free"
    per_image: bool = False

    @property
    def name(self) -> str:
        """`shadow-same` or `shadow-other`."""
        return "shadow-same" if self.same_architecture else "shadow-other"

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Train the shadow, then its inverse.

        Raises:
            AttackFailed: auxiliary images without classes, an edge half that no gradient crosses, or divergence.
        """
        labels = view.training.labels
        if labels is None or labels.ndim != 1 or labels.is_floating_point():
            raise AttackFailed("a shadow is trained on classes, and the attacker's images have none")
        if self.same_architecture:
            view.require_gradients()

        def made() -> nn.Module:
            return SameEdge(view) if self.same_architecture else GenericEdge(view.image_shape, view.row_shapes)

        shadow, fitted = _train_shadow(view, seeded(made, generator).to(view.device), effort, generator)
        attacker = _train_inverse(view, shadow.eval(), effort, generator)
        both = attacker.training.converged and fitted.converged
        return replace(attacker, training=replace(attacker.training, converged=both))


def _train_shadow(
    view: AdversaryView, shadow: nn.Module, effort: Effort, generator: torch.Generator
) -> tuple[nn.Module, Training]:
    images, labels = view.pixels(view.training), view.training.labels
    held, held_labels = view.pixels(view.held_out), view.held_out.labels
    assert labels is not None  # `fit` has checked
    assert held_labels is not None
    seen = None
    if view.intercepted is not None:
        seen = ReleaseStatistics.of(view.intercepted.rows, generator).to(view.device)

    if not any(parameter.requires_grad for parameter in shadow.parameters()):
        return shadow, Training()  # an edge half without weights is its own shadow

    def loss_of(
        network: nn.Module, batch: Tensor, classes: Tensor, draws: torch.Generator, quiet: float = QUIET
    ) -> Tensor:
        rows = network(batch.to(view.device))
        loss = _classified(view, [row[: len(classes)] for row in rows], classes)
        return loss if seen is None else loss + ALIGNED * seen.distance(_defended(view, rows, draws), draws, quiet)

    def step_loss(network: nn.Module, positions: Tensor, step: int) -> Tensor:
        classes = labels[positions if seen is None else positions[:CLASSIFIED]]
        quiet = QUIET ** min(1.0, step / min(FINEST_AT * effort.train_steps, FINEST_BY))
        return loss_of(network, images[positions], classes, generator, quiet)

    def rate(parameter: nn.Parameter) -> float:
        size = float(parameter.detach().square().mean().sqrt())
        return RELATIVE_RATE * size if parameter.ndim > 1 else LEARNING_RATE

    @torch.no_grad()
    def held_loss(network: nn.Module) -> float:
        def loss(some: slice) -> Tensor:
            return loss_of(network, held[some], held_labels[some], torch.Generator().manual_seed(0))

        return mean_over(min(2 * BATCH, len(held)), 2 * BATCH, loss)

    return train(shadow, step_loss, held_loss, len(images), effort, generator, rate=rate)


def _classified(view: AdversaryView, rows: Sequence[Tensor], classes: Tensor) -> Tensor:
    """Cross entropy of what the cloud half answers to `rows`."""
    try:
        logits = view.cloud(rows)
    except CollabplanError as error:
        raise AttackFailed(str(error)) from None
    if logits.ndim != 2 or int(classes.min()) < 0 or int(classes.max()) >= logits.shape[1]:
        raise AttackFailed(f"the model's output {tuple(logits.shape)} does not classify the attacker's labels")
    return cross_entropy(logits, classes.to(logits.device))


def _defended(view: AdversaryView, rows: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Rows under the defense that the attacker believes in, with gradients: rounding is noise of its variance."""
    source, made, defense = Simulated(generator), [], view.believed.tail
    rows = view.believed.transforms.apply_rows(rows, source)
    for crossing, quantizer, row in zip(defense.crossing, defense.quantizers, rows, strict=True):
        if defense.dropout is not None and defense.drops(crossing):
            row = row * defense.dropout.mask(crossing, len(row), source).to(row.device)
        noise = defense.noise(crossing)
        spread = noise.std if noise else quantizer.step / math.sqrt(12) if quantizer else 0.0
        made.append(row + spread * torch.randn(row.shape, generator=generator).to(row.device) if spread else row)
    return made


def _train_inverse(
    view: AdversaryView, shadow: nn.Module, effort: Effort, generator: torch.Generator
) -> TrainedDecoder:
    """An inverse network of the shadow, under the defense."""

    @torch.no_grad()
    def rows_of(pixels: Tensor) -> tuple[Tensor, ...]:
        def run(some: slice) -> list[Tensor]:
            return [rows.cpu() for rows in shadow(pixels[some].to(view.device))]

        parts = list(BatchSize(BATCH).over(len(pixels), run))
        return tuple(torch.cat([part[at] for part in parts]) for at in range(len(parts[0])))

    images, held = view.pixels(view.training), view.pixels(view.held_out)
    bank = RowBank(lambda positions: rows_of(images[positions]), len(images), view.artifacts.memory)
    held_rows = rows_of(held)
    prepare = DecoderInput.of(view, bank.some)

    def pairs(positions: Tensor, draws: torch.Generator) -> tuple[ObservedReleases, Tensor]:
        return view.imagine(bank.at(positions), view.training.take(positions), draws), images[positions]

    judged = view.imagine(held_rows, view.held_out, generator), held
    decoder = decoder_for(view.row_shapes, images.mean(dim=0), generator, marked=prepare.marked, width=effort.width)
    return train_decoder(decoder, prepare, pairs, len(images), judged, effort, generator)
