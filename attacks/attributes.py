"""Attributes: what a probe reads off the release about a label that is nobody's business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from ..records import AttributeRate
from ..records.revisions import Part
from .adversary_view import AdversaryView
from .audit_target import ObservedReleases
from .features import Standard
from .metrics import bootstrap

ATTRIBUTES = Part("attributes")
"""Raise its revision whenever the same releases tell the probes something else."""

MOST_FEATURES = 2048
"""Wider releases are projected at random to so many numbers."""

HIDDEN = 128
ROUNDS = 300


def attribute_rates(
    scene: AdversaryView,
    known: ObservedReleases,
    known_labels: Tensor,
    released: ObservedReleases,
    labels: Tensor,
    generator: torch.Generator,
) -> tuple[AttributeRate, ...]:
    """Accuracy of a linear and of a perceptron probe on `released`, both learned on `known`.

    Args:
        scene: of an attacker who may query.
        known_labels: `[m]` classes of what the attacker learns from; `labels` `[n]` of the others.

    Returns:
        Nothing where all known labels are the same.
    """
    scene.require("black-box", "learn from labelled releases")
    classes, counts = torch.unique(known_labels, return_counts=True)
    if len(classes) < 2:
        return ()
    standard = Standard.of(known.rows)
    learned, asked = (_flat(standard, part) for part in (known, released))
    if learned.shape[1] > MOST_FEATURES:
        mixing = torch.randn(learned.shape[1], MOST_FEATURES, generator=generator) / MOST_FEATURES**0.5
        learned, asked = learned @ mixing, asked @ mixing
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    commonest = classes[counts.argmax()]
    probes: Sequence[tuple[Literal["linear", "mlp"], LogisticRegression | MLPClassifier]] = (
        ("linear", LogisticRegression(C=0.1, max_iter=ROUNDS)),
        ("mlp", MLPClassifier((HIDDEN,), max_iter=ROUNDS, early_stopping=True, random_state=seed)),
    )
    found = []
    for name, probe in probes:
        probe.fit(learned.numpy(), known_labels.numpy())
        right = torch.from_numpy(probe.predict(asked.numpy())) == labels
        found.append(
            AttributeRate(
                probe=name,
                threat="black-box",
                accuracy=bootstrap(right.double(), generator),
                majority=float((labels == commonest).double().mean()),
                class_count=len(classes),
                target_count=len(labels),
            )
        )
    return tuple(found)


def _flat(standard: Standard, released: ObservedReleases) -> Tensor:
    return torch.cat([rows.flatten(1) for rows in standard(released, torch.device("cpu"))], dim=1)
