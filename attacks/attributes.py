"""Attributes: what a probe reads off a release about a sensitive label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from ..estimators.share_interval import share_interval
from ..records import AttributeRate
from ..records.revisions import Part
from .adversary_view import AdversaryView
from .features import Standard
from .releases import ObservedReleases

ATTRIBUTES = Part("attributes", 2)
"""Raise its revision whenever the same releases tell the probes something else."""

MOST_FEATURES = 2048
"""Wider releases are projected at random to this many numbers."""

HIDDEN = 128
ROUNDS = 300


def attribute_rates(
    view: AdversaryView,
    known: ObservedReleases,
    known_labels: Tensor,
    released: ObservedReleases,
    labels: Tensor,
    generator: torch.Generator,
) -> tuple[AttributeRate, ...]:
    """Accuracy of a linear and of a perceptron probe on `released`, both trained on `known`.

    Args:
        view: of an attacker who may query the device.
        known: releases whose labels the attacker knows.
        known_labels: `[m]` classes of `known`.
        released: the targets' releases.
        labels: `[n]` classes of `released`.
        generator: of random projections and of the perceptron; on the CPU.

    Returns:
        Nothing if all known labels are the same.

    Raises:
        AttackFailed: the attacker is query-free.
    """
    view.require("black-box", "learn from labelled releases")
    classes, counts = torch.unique(known_labels, return_counts=True)
    if len(classes) < 2:
        return ()
    standard = Standard.of(known.rows)
    learned, asked = (standard.flat(part) for part in (known, released))
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
                accuracy=share_interval(float(right.double().mean()), len(right)),
                majority=float((labels == commonest).double().mean()),
                class_count=len(classes),
                target_count=len(labels),
            )
        )
    return tuple(found)
