"""What the undefended network sees in an image: the class that it takes it for, and its features.

Distances in the features of a network follow what people see better than squared errors do (Johnson, Alahi & Fei-Fei,
ECCV 2016; Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018). Those
works take networks trained on photographs. Here the network is the user's own, so no weights come from elsewhere, and
what counts is what that network attends to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimators.activations import graph_arguments
from ..graph import Cut, Halves, TracedGraph, candidate_cuts, split, to_samples
from ..targets.data import Data
from .audit_target import AuditTarget

MOST_FEATURES = 16_384
"""Numbers per sample that may cross the cut at which features are read."""


@dataclass(frozen=True, eq=False)
class Look:
    """What the network sees in n images.

    Attributes:
        classes: `[n]`, what it takes them for; None where its first output is no class scores.
        features: `[n, f]` float32; None where no cut has features.
    """

    classes: Tensor | None
    features: Tensor | None


@dataclass(frozen=True, eq=False)
class Sight:
    """What the network sees in the targets, which reconstructions are compared with.

    Attributes:
        targets: what it sees in the n targets.
        from_mean: `[n]` float64, how far each target's features are from those of the mean image; None without any.
        look: from reconstructions `[k, *image_shape]` of the first k targets to what it sees in them.
    """

    targets: Look
    from_mean: Tensor | None
    look: Callable[[Tensor], Look]

    def kept(self, seen: Look) -> Tensor | None:
        """`[k]` float64: 1 where a reconstruction is taken for its original's class; None where there are none."""
        if self.targets.classes is None or seen.classes is None:
            return None
        return (seen.classes == self.targets.classes[: len(seen.classes)]).double()

    def apart(self, seen: Look) -> tuple[Tensor, Tensor] | None:
        """How far the first k targets' features are from those of reconstructions and of the mean image.

        A reconstruction whose features are not finite counts as the mean image. None where there are no features.

        Returns:
            Two `[k]` float64.
        """
        if self.targets.features is None or seen.features is None or self.from_mean is None:
            return None
        prior = self.from_mean[: len(seen.features)]
        found = distances(seen.features, self.targets.features[: len(seen.features)])
        return torch.where(found.isfinite(), found, prior), prior


def distances(features: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances of rows `[n, f]` and `[n, f]`, `[n]` float64."""
    return (features.double() - others.double()).square().sum(dim=1).sqrt()


def feature_halves(traced: TracedGraph) -> Halves | None:
    """The network divided at its last cut that one private floating tensor crosses; None if there is no such cut.

    The features are what crosses: the input of a classifier's last layer, or its scores if a softmax follows them.
    Tensors of more than `MOST_FEATURES` numbers a sample are passed over.
    """
    cuts = [cut for cut in candidate_cuts(traced, 1) if _has_features(cut)]
    return split(traced, cuts[-1]) if cuts else None


def _has_features(cut: Cut) -> bool:
    private = [crossing for crossing in cut.crossing if not crossing.public]
    return (
        cut.kind == "proper"
        and len(private) == 1
        and private[0].is_floating
        and not private[0].raw_input
        and private[0].layout is not None
        and private[0].sample_elements <= MOST_FEATURES
    )


@torch.no_grad()
def look(target: AuditTarget, data: Data, halves: Halves | None) -> Look:
    """What the undefended network sees in `data`.

    Args:
        target: of the audit; its network is run without a defense.
        data: the inputs.
        halves: the network, divided where features are read (`feature_halves`); None reads none.
    """
    traced = target.traced

    def run(some: slice) -> Look:
        batch = data.part(some)
        arguments = graph_arguments(traced, batch, batch_size=target.batch_size, device=target.device)
        if halves is None:
            return Look(_classes(traced.flat(*arguments)[0], len(batch)), None)
        crossed = halves.edge.graph_module(*arguments)  # type: ignore[operator]
        outputs = halves.cloud.graph_module(*crossed)  # type: ignore[operator]
        layout = halves.cut.crossing[0].layout
        assert layout is not None  # `_has_features`
        features = to_samples(crossed[0], layout)[: len(batch)].flatten(1).float().cpu()
        return Look(_classes(outputs[0], len(batch)), features)

    seen = list(target.batch.over(len(data), run))
    classes = [each.classes for each in seen if each.classes is not None]
    features = [each.features for each in seen if each.features is not None]
    return Look(
        torch.cat(classes) if len(classes) == len(seen) else None,
        torch.cat(features) if features else None,
    )


def _classes(scores: object, count: int) -> Tensor | None:
    """The classes `[count]` of the first output; None if that is no class scores."""
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        return None
    if scores.ndim != 2 or scores.shape[1] < 2 or len(scores) < count:
        return None
    return scores[:count].argmax(dim=1).cpu()
