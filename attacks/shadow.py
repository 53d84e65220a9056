"""Query-free: a shadow of the edge half, trained through the cloud half, is inverted in the real one's place.

He, Zhang & Lee (ACSAC 2019), section 4.3: whoever runs the cloud half trains an edge half of its own, on its own
labelled images, until the cloud half classifies them through it. Two things make it stronger: releases that were seen
on the wire say how the real features are distributed, and the shadow's are aligned with them (FORA, CVPR 2024; SDAR,
NDSS 2025), so closely that at a first convolution the device's own filters are found; and the inverse network is
trained on releases of the shadow under the defense.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, mse_loss, unfold

from ..defenses.randomness import Simulated
from ..graph.weights import STATISTICS
from ..profilers.placement import copy_graph
from ..records import CollabplanError, Threat
from .adversary_view import AdversaryView, RowBank
from .audit_target import ObservedReleases
from .features import Standard
from .interface import Attacker, AttackFailed, Effort, Training
from .inverse import DecoderInput, Residual, TrainedDecoder, decoder_for, shapes_read, train_decoder
from .training import BATCH, LEARNING_RATE, seeded, train

ALIGNED = 10.0
"""Weight of the alignment beside the cross entropy."""

RELATIVE_RATE = 0.1
"""Learning rate as a share of the weights' size: weights at random are far from the edge half's, at whatever scale."""

CLASSIFIED = 8
"""Images of a batch that go through the cloud half; statistics need more of them, and only the shadow."""

PLACES = 8
"""Neighbourhoods along a side of a grid of which covariances are taken."""

GENERIC_GRID = 16
"""Side of the grid on which an edge half of an unknown architecture works, or twice the cut's where that is more."""

DIRECTIONS = 256
SAMPLES = 4
"""At least so many per direction in which a covariance is taken."""

MOST_WHITENED = 1200
"""Numbers of a sample; of larger ones random directions are taken."""

QUIET = 1e-3
"""Of the typical variance: what varies less is not told apart in the end."""

FINEST_AT = 0.7
"""Share of the steps until then; it begins at 1, for fine differences have no use before coarse ones are settled."""

FINEST_BY = 1000
"""Steps until then at most: a long training may be stopped as converged long before that share."""

LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class ShadowModel:
    """The attack; the shadow has the edge half's own architecture (with weights at random), or one of its own."""

    revision: ClassVar[int] = 1
    same_architecture: bool = True
    threat: Threat = "query-free"
    per_image: bool = False

    @property
    def name(self) -> str:
        """`shadow-same` or `shadow-other`."""
        return "shadow-same" if self.same_architecture else "shadow-other"

    def fit(self, scene: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Trains the shadow, then its inverse.

        Raises:
            AttackFailed: own images without classes, an architecture that no gradient trains anew, or divergence.
        """
        labels = scene.training.labels
        if labels is None or labels.ndim != 1 or labels.is_floating_point():
            raise AttackFailed("a shadow is trained on classes, and the attacker's images have none")
        if self.same_architecture:
            scene.require_gradients()

        def made() -> nn.Module:
            return _OwnEdge(scene) if self.same_architecture else GenericEdge(scene.image_shape, scene.row_shapes)

        shadow, fitted = _train_shadow(scene, seeded(made, generator).to(scene.device), effort, generator)
        attacker = _train_inverse(scene, shadow.eval(), effort, generator)
        both = attacker.training.converged and fitted.converged
        return replace(attacker, training=replace(attacker.training, converged=both))


class GenericEdge(nn.Module):
    """A residual encoder from images to rows of any shape: what an attacker tries who does not know the edge half."""

    def __init__(self, image_shape: Sequence[int], row_shapes: Sequence[tuple[int, ...]], width: int = 32) -> None:
        super().__init__()
        self.shapes = [tuple(shape) for shape in row_shapes]
        self.image = len(image_shape) == 3
        if self.image:
            largest = max([*(shape[1] for shape in self.shapes if len(shape) == 3), GENERIC_GRID // 2])
            smaller = image_shape[1] > 2 * largest
            self.body: nn.Module = nn.Sequential(
                nn.Conv2d(image_shape[0], width, 3, padding=1),
                nn.AdaptiveAvgPool2d(2 * largest) if smaller else nn.Identity(),
                Residual(width),
            )
            self.heads = nn.ModuleList(
                nn.Conv2d(width, shape[0], 3, padding=1) if len(shape) == 3 else nn.Linear(16 * width, math.prod(shape))
                for shape in self.shapes
            )
        else:
            self.body = nn.Sequential(nn.Linear(math.prod(image_shape), 8 * width), nn.ReLU())
            self.heads = nn.ModuleList(nn.Linear(8 * width, math.prod(shape)) for shape in self.shapes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """`[n, *image_shape]` in [0, 1] -> rows."""
        h = self.body(images if self.image else images.flatten(1))
        rows = []
        for head, shape in zip(self.heads, self.shapes, strict=True):
            if self.image and len(shape) == 3:
                rows.append(head(adaptive_avg_pool2d(h, shape[1:])))
            else:
                flat = adaptive_avg_pool2d(h, 4).flatten(1) if self.image else h
                rows.append(head(flat).reshape(-1, *shape))
        return rows


class _OwnEdge(nn.Module):
    """The edge half's graph with weights of its own; running statistics are forgotten with the weights."""

    def __init__(self, scene: AdversaryView) -> None:
        super().__init__()
        self.victim, self.public = scene.victim, scene.training.take(torch.arange(1))
        own = scene.victim.halves.edge.graph_module
        assert isinstance(own, fx.GraphModule)
        self.program = copy_graph(own, torch.device("cpu"), None)
        _forget(self.program)

    def forward(self, images: Tensor) -> list[Tensor]:
        """`[n, *image_shape]` in [0, 1] -> rows."""
        public = self.public.take(torch.zeros(len(images), dtype=torch.long))
        return list(self.victim.edge(self.victim.with_pixels(public, images), self.program))


def _forget(program: fx.GraphModule) -> None:
    """Weights at random (He et al., ICCV 2015), scales and variances 1, shifts and means 0: nothing of the model stays.

    What a vector is for, its reader's schema says. Buffers that are no running statistics are architecture, and stay.
    """
    uses = _uses(program)
    for name, tensor in [*program.named_parameters(), *program.named_buffers()]:
        tensor.data = tensor.data.clone()  # the copied graph shares its tensors with the model
        use = uses.get(name, "")
        if not tensor.is_floating_point() or (not isinstance(tensor, nn.Parameter) and use not in STATISTICS):
            continue
        if tensor.ndim > 1:
            tensor.data = (torch.randn(tensor.shape) * (2 / max(tensor[0].numel(), 1)) ** 0.5).to(tensor.dtype)
        else:
            tensor.data.fill_(1.0 if use in ("weight", "running_var") else 0.0)
        tensor.requires_grad_(isinstance(tensor, nn.Parameter))


def _uses(program: fx.GraphModule) -> dict[str, str]:
    """By tensor, the name of the argument that some operator reads it as."""
    found = {}
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        for position, source in enumerate(node.args):
            if isinstance(source, fx.Node) and source.op == "get_attr":
                found[str(source.target)] = schema.arguments[position].name
    return found


@dataclass(frozen=True, eq=False)
class _Statistics:
    """How released rows are distributed: by number, and how neighbours vary together.

    A convolution's numbers lie in a subspace that tells its filters up to a mixture of input channels (subspace
    identification: Moulines et al., IEEE Trans. Signal Processing 1995). The directions in which the releases hardly
    vary are the ones that tell, so covariances are compared where those of the releases are white, by the
    Kullback-Leibler divergence of normal distributions.
    """

    means: tuple[Tensor, ...]
    deviations: tuple[Tensor, ...]
    sketches: tuple[Tensor, ...]
    covariances: tuple[Tensor, ...]

    @classmethod
    def of(cls, rows: Sequence[Tensor], generator: torch.Generator) -> _Statistics:
        """Of releases `[n, *sample_shape]` each."""
        flat = [row.flatten(1).float() for row in rows]
        means = tuple(row.mean(dim=0) for row in flat)
        deviations = tuple(row.std(dim=0) for row in flat)
        sketches = tuple(_sketch(_neighbourhoods(row[:1]).shape[1], generator) for row in rows)
        covariances = tuple(_covariance(row, sketch) for row, sketch in zip(rows, sketches, strict=True))
        return cls(means, deviations, sketches, covariances)

    def to(self, device: torch.device) -> _Statistics:
        kinds = (self.means, self.deviations, self.sketches, self.covariances)
        return _Statistics(*(tuple(each.to(device) for each in kind) for kind in kinds))

    def distance(self, rows: Sequence[Tensor], generator: torch.Generator, quiet: float) -> Tensor:
        """How far rows `[n, ...]` are from it; variance below `quiet` of the typical one counts for little."""
        total = rows[0].new_zeros(())
        for row, mean, deviation, sketch, covariance in zip(
            rows, self.means, self.deviations, self.sketches, self.covariances, strict=True
        ):
            flat, near = row.flatten(1), _neighbourhoods(row)
            typical = deviation.square().mean().clamp(min=LEAST**2)
            total = total + mse_loss(flat.mean(dim=0), mean) / typical
            total = total + mse_loss(flat.std(dim=0), deviation) / typical
            least = quiet * covariance.diagonal().mean().clamp(min=LEAST**2)
            some = _orthogonal(len(covariance), len(near) // SAMPLES, generator).to(row.device)
            mixing = _whitening(covariance, least) @ some
            floor = least * mixing.T @ mixing
            found = torch.cov((near @ (sketch @ mixing)).T)
            ratio = torch.linalg.solve(mixing.T @ covariance @ mixing + floor, found + floor)
            total = total + (ratio.diagonal().sum() - torch.linalg.slogdet(ratio).logabsdet) / len(ratio) - 1
        return total


def _neighbourhoods(row: Tensor) -> Tensor:
    """What is one sample of how neighbours vary together.

    Of a grid `[n, C, H, W]` the 3x3 neighbourhoods, `[n * places, 9 C]`, and of tokens `[n, T, E]` each, `[n * T, E]`:
    their statistics hardly depend on the place, so that a batch has many samples. Other rows are flat.
    """
    if row.ndim == 4 and min(row.shape[2:]) >= 3:
        return unfold(row, 3, stride=max(1, row.shape[2] // PLACES)).transpose(1, 2).flatten(0, 1)
    return row.flatten(0, 1) if row.ndim == 3 else row.flatten(1)


def _sketch(size: int, generator: torch.Generator) -> Tensor:
    """Nothing to a sample, `[size, size]`, unless it is too large to be whitened: then random directions."""
    return torch.eye(size) if size <= MOST_WHITENED else torch.randn(size, DIRECTIONS, generator=generator) / size**0.5


def _covariance(row: Tensor, sketch: Tensor) -> Tensor:
    """Of all sketched neighbourhoods of `[n, ...]`, `[d, d]`."""
    count = 0
    total, squares = torch.zeros(sketch.shape[1]).double(), torch.zeros(sketch.shape[1], sketch.shape[1]).double()
    for part in torch.split(row, BATCH):
        near = (_neighbourhoods(part.float()) @ sketch).double()
        count, total, squares = count + len(near), total + near.sum(dim=0), squares + near.T @ near
    return (squares / count - torch.outer(total / count, total / count)).float()


def _whitening(covariance: Tensor, least: Tensor) -> Tensor:
    """Directions `[d, d]` in which a covariance is white, but where it is next to nothing."""
    wide = covariance.double() + least.double() * torch.eye(len(covariance), device=covariance.device)
    made: Tensor = torch.linalg.inv(torch.linalg.cholesky(wide))
    return made.T.float()


def _orthogonal(size: int, most: int, generator: torch.Generator) -> Tensor:
    """Random orthonormal columns `[size, k]`, at most so many."""
    drawn = torch.randn(size, max(1, min(DIRECTIONS, most, size)), generator=generator)
    made: Tensor = torch.linalg.qr(drawn).Q
    return made


def _train_shadow(
    scene: AdversaryView, shadow: nn.Module, effort: Effort, generator: torch.Generator
) -> tuple[nn.Module, Training]:
    images, labels = scene.pixels(scene.training), scene.training.labels
    held, held_labels = scene.pixels(scene.held_out), scene.held_out.labels
    assert labels is not None  # `fit` has looked
    assert held_labels is not None
    seen = None
    if scene.intercepted is not None:
        seen = _Statistics.of(scene.intercepted.rows, generator).to(scene.device)

    if not any(parameter.requires_grad for parameter in shadow.parameters()):
        return shadow, Training()  # an edge half without weights is its own shadow

    def loss_of(
        network: nn.Module, batch: Tensor, classes: Tensor, draws: torch.Generator, quiet: float = QUIET
    ) -> Tensor:
        rows = network(batch.to(scene.device))
        loss = _classified(scene, [row[: len(classes)] for row in rows], classes)
        return loss if seen is None else loss + ALIGNED * seen.distance(_defended(scene, rows, draws), draws, quiet)

    def step_loss(network: nn.Module, positions: Tensor, step: int) -> Iterator[Tensor]:
        classes = labels[positions if seen is None else positions[:CLASSIFIED]]
        quiet = QUIET ** min(1.0, step / min(FINEST_AT * effort.train_steps, FINEST_BY))
        yield loss_of(network, images[positions], classes, generator, quiet)

    def rate(parameter: nn.Parameter) -> float:
        size = float(parameter.detach().square().mean().sqrt())
        return RELATIVE_RATE * size if parameter.ndim > 1 else LEARNING_RATE

    @torch.no_grad()
    def held_loss(network: nn.Module) -> float:
        chosen = torch.arange(min(2 * BATCH, len(held)))
        return float(loss_of(network, held[chosen], held_labels[chosen], torch.Generator().manual_seed(0)))

    return train(shadow, step_loss, held_loss, len(images), effort, generator, rate=rate)


def _classified(scene: AdversaryView, rows: Sequence[Tensor], classes: Tensor) -> Tensor:
    try:
        logits = scene.cloud(rows)
    except CollabplanError as error:
        raise AttackFailed(str(error)) from None
    if logits.ndim != 2 or int(classes.min()) < 0 or int(classes.max()) >= logits.shape[1]:
        raise AttackFailed(f"the model's output {tuple(logits.shape)} does not classify the attacker's labels")
    return cross_entropy(logits, classes.to(logits.device))


def _defended(scene: AdversaryView, rows: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Rows under the defense that the attacker believes in, with gradients: rounding is noise of its variance."""
    source, made, defense = Simulated(generator), [], scene.believed.tail
    rows = scene.believed.transforms.apply_rows(rows, source)
    for crossing, quantizer, row in zip(defense.crossing, defense.quantizers, rows, strict=True):
        if defense.dropout is not None and defense.drops(crossing):
            row = row * defense.dropout.mask(crossing, len(row), source).to(row.device)
        noise = defense.noise(crossing)
        spread = noise.std if noise else quantizer.step / math.sqrt(12) if quantizer else 0.0
        made.append(row + spread * torch.randn(row.shape, generator=generator).to(row.device) if spread else row)
    return made


def _train_inverse(
    scene: AdversaryView, shadow: nn.Module, effort: Effort, generator: torch.Generator
) -> TrainedDecoder:
    """An inverse network of the shadow, under the defense."""

    @torch.no_grad()
    def rows_of(pixels: Tensor) -> tuple[Tensor, ...]:
        parts = [shadow(pixels[chunk].to(scene.device)) for chunk in torch.split(torch.arange(len(pixels)), BATCH)]
        return tuple(torch.cat([part[at] for part in parts]).cpu() for at in range(len(parts[0])))

    images, held = scene.pixels(scene.training), scene.pixels(scene.held_out)
    bank, held_rows = RowBank(lambda positions: rows_of(images[positions]), len(images)), rows_of(held)
    defense = scene.believed.tail
    marked = any(defense.drops(crossing) and not defense.noises(crossing) for crossing in defense.crossing)
    prepare = DecoderInput(Standard.of(scene.typical(bank.some)), shapes_read(scene), marked, scene.device)

    def pairs(positions: Tensor, draws: torch.Generator) -> tuple[ObservedReleases, Tensor]:
        return scene.imagine(bank.at(positions), scene.training.take(positions), draws), images[positions]

    judged = scene.imagine(held_rows, scene.held_out, generator), held
    decoder = decoder_for(scene.row_shapes, images.mean(dim=0), generator, marked=marked, width=effort.width)
    return train_decoder(decoder, prepare, pairs, len(images), judged, effort, generator)
