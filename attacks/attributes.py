"""Attributes: what a probe reads off a release about a sensitive label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from ..estimators.share_interval import share_interval
from ..records import AttributeRate
from ..records.revisions import Part
from .adversary_view import AdversaryView
from .features import Standard
from .releases import ObservedReleases

ATTRIBUTES = Part("attributes", 3)
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
        answered = torch.from_numpy(probe.predict(asked.numpy()))
        right = answered == labels
        found.append(
            AttributeRate(
                probe=name,
                threat="black-box",
                accuracy=share_interval(float(right.double().mean()), len(right)),
                majority=float((labels == commonest).double().mean()),
                balanced_accuracy=balanced(answered, labels),
                auc=area(torch.from_numpy(probe.predict_proba(asked.numpy())), classes, labels),
                class_count=len(classes),
                target_count=len(labels),
            )
        )
    return tuple(found)


def balanced(answered: Tensor, labels: Tensor) -> float:
    """The mean over the classes in `labels` `[n]` of the share of `answered` `[n]` that is right within the class."""
    classes = sorted(set(labels.tolist()))
    return float(torch.stack([(answered[labels == each] == each).double().mean() for each in classes]).mean())


def area(probabilities: Tensor, classes: Tensor, labels: Tensor) -> float | None:
    """The area under the ROC curve: that of the second of two classes, else the mean of each class against the rest.

    Args:
        probabilities: `[n, classes]`.
        classes: `[classes]`, ascending: what the columns stand for.
        labels: `[n]`.

    Returns:
        None if `labels` lacks one of the classes.
    """
    columns = list(enumerate(classes.tolist()))
    found = []
    for column, each in columns[1:] if len(columns) == 2 else columns:
        mine = labels == each
        if not bool(mine.any()) or bool(mine.all()):
            return None
        found.append(float(roc_auc_score(mine.numpy(), probabilities[:, column].numpy())))
    return sum(found) / len(found)
