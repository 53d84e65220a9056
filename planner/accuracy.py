"""Accuracy under a defense, and its paired drop against the undefended model on the same samples.

Scores are kept per unit: per sample where the metric gives one number a sample, else per fold of
the samples. A unit's defended score is averaged over the draws of the masks, its drop is undefended
minus defended, and the interval is taken over units, so that it covers both samples and draws.

For scores in [0, 1] the intervals add pseudo-observations (Agresti & Coull 1998 for one proportion;
Bonett & Price 2012 for paired ones: one more sample lost and one more won). Without them, no change
seen in n samples would read as a drop of exactly 0 with no doubt left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor
from torch.utils import _pytree as pytree

from ..records import Accuracy, Interval, TargetError

Evaluate = Callable[[Any, Tensor | None], Any]
"""The user's metric: (model outputs of n samples, their labels) -> n scores, or one score. Higher is better."""

FOLDS = 10
_Z = 1.959964


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one run: `values` `[units]`, a unit being a sample or a fold of samples."""

    metric: str
    values: NDArray[np.float64]
    per_sample: bool
    sample_count: int


def top1(outputs: Any, labels: Tensor) -> Tensor:
    """Share of right classes per sample `[N]`: 0 or 1, or a mean over positions (pixels, tokens).

    Args:
        outputs: logits `[N, classes, ...]`, or a structure whose `logits`, or first tensor, are they.
        labels: classes `[N, ...]`.

    Raises:
        TargetError: shapes that do not belong together.
    """
    logits = find_logits(outputs)
    if logits.ndim < 2 or (logits.shape[0], *logits.shape[2:]) != tuple(labels.shape):
        raise TargetError(
            f"outputs of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} are no classification "
            "([N, classes, ...] with [N, ...]); define `evaluate(outputs, labels)` in the target file"
        )
    return (logits.argmax(dim=1) == labels).double().reshape(len(labels), -1).mean(dim=1)


def find_logits(outputs: Any) -> Tensor:
    """The tensor of logits in a model's output: itself, its `logits`, or its first tensor."""
    if isinstance(outputs, Tensor):
        return outputs
    named = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if isinstance(named, Tensor):
        return named
    for leaf in pytree.tree_leaves(outputs):
        if isinstance(leaf, Tensor):
            return leaf
    raise TargetError("the model's output holds no tensor; define `evaluate(outputs, labels)` in the target file")


def first_rows(outputs: Any, count: int) -> Any:
    """The first `count` rows of a model's output, on the CPU: a graph of fixed batch size may have been filled up."""
    return pytree.tree_map(lambda leaf: leaf[:count].cpu() if isinstance(leaf, Tensor) and leaf.ndim else leaf, outputs)


class Scorer:
    """Turns outputs into scores, by the user's metric, by top-1, or by agreement with the model itself.

    Without labels and metric, the undefended model's own classes stand in for labels: its accuracy
    is then 1 by construction, and the drop is the share of changed answers.
    """

    def __init__(self, evaluate: Evaluate | None, *, labelled: bool) -> None:
        self._evaluate = evaluate
        self.needs_own_labels = evaluate is None and not labelled
        if evaluate is not None:
            self.metric = str(getattr(evaluate, "__name__", "evaluate"))
        else:
            self.metric = "agreement with the undefended model" if self.needs_own_labels else "top-1 accuracy"

    def own_labels(self, outputs: Any) -> Tensor:
        """The classes that the undefended model answers, as labels `[N, ...]`."""
        return find_logits(outputs).argmax(dim=1)

    def tally(self) -> Tally:
        """Collects the scores of one run."""
        return Tally(self)

    def call(self, outputs: Any, labels: Tensor | None) -> Tensor:
        """Scores of one batch: `[N]`, or a single one.

        Raises:
            TargetError: the metric's result is not finite, or labels are missing.
        """
        if self._evaluate is None:
            return top1(outputs, _given(labels))
        score = torch.as_tensor(self._evaluate(outputs, labels)).detach().double().cpu()
        if not bool(torch.isfinite(score).all()):
            raise TargetError(f"{self.metric} returned a score that is not finite; return numbers, higher is better")
        return score

    @property
    def scores_each_sample(self) -> bool:
        """True where the metric is known to give one score a sample, so that outputs need not be kept."""
        return self._evaluate is None


class Tally:
    """Scores of one run over the samples, batch by batch. Made by `Scorer.tally`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._scores: list[Tensor] = []
        self._kept: list[tuple[Any, Tensor | None]] = []
        self._lengths: list[int] = []

    def add(self, outputs: Any, labels: Tensor | None, count: int) -> None:
        """Score the outputs of `count` further samples."""
        self._scores.append(self._scorer.call(outputs, labels))
        self._lengths.append(count)
        if not self._scorer.scores_each_sample:
            self._kept.append((outputs, labels))

    def finish(self) -> Scores:
        """The scores of all samples that were added.

        Raises:
            TargetError: the metric returns neither one score per sample nor a single one.
        """
        total = sum(self._lengths)
        each = all(s.ndim == 1 and s.shape[0] == n for s, n in zip(self._scores, self._lengths, strict=True))
        values = torch.cat(self._scores).numpy() if each else self._folded(total)
        return Scores(self._scorer.metric, np.asarray(values, dtype=np.float64), each, total)

    def _folded(self, total: int) -> NDArray[np.float64]:
        metric = self._scorer.metric
        if total < 2 * FOLDS:
            raise TargetError(
                f"{metric} gives one score for all samples; an interval then needs at least {2 * FOLDS} samples, "
                f"there are {total}. Return one score per sample, or give more data"
            )
        outputs = _concatenated([outputs for outputs, _ in self._kept])
        labels = None if self._kept[0][1] is None else torch.cat([_given(labels) for _, labels in self._kept])
        scores = []
        for fold in torch.arange(total).tensor_split(FOLDS):
            score = self._scorer.call(_taken(outputs, fold), None if labels is None else labels[fold])
            if score.numel() != 1:
                raise TargetError(
                    f"{metric} returned {score.numel()} scores for {len(fold)} samples; return one, or one per sample"
                )
            scores.append(float(score))
        return np.array(scores)


def paired_accuracy(undefended: Scores, defended: Sequence[Scores], *, changes: bool = True) -> Accuracy:
    """Accuracy and paired drop with 95 % intervals.

    Args:
        undefended: scores of the model as it is.
        defended: scores of the same samples under the defense, one per draw.
        changes: False where nothing is done to what crosses: the halves equal the model bit for bit, and the
            drop is 0 by definition.
    """
    kept = np.mean([scores.values for scores in defended], axis=0)
    lost = undefended.values - kept
    if not changes:
        drop = Interval(value=0.0, low=0.0, high=0.0)
    else:
        drop = _interval(lost, undefended, pseudo=(1.0, -1.0), bounds=(-1.0, 1.0))
    return Accuracy(
        metric=undefended.metric,
        accuracy=_interval(kept, undefended, pseudo=(1.0, 1.0, 0.0, 0.0), bounds=(0.0, 1.0)),
        undefended=float(undefended.values.mean()),
        drop=drop,
        sample_count=undefended.sample_count,
        draws=len(defended),
    )


def _interval(
    values: NDArray[np.float64], like: Scores, pseudo: Sequence[float], bounds: tuple[float, float]
) -> Interval:
    """95 % interval of the mean of `values` `[units]`."""
    mean = float(values.mean())
    bounded = bool((values >= bounds[0]).all() and (values <= bounds[1]).all())
    if like.per_sample and bounded:
        padded = np.concatenate([values, pseudo])
        half = _Z * float(padded.std()) / len(padded) ** 0.5
        low, high = float(padded.mean()) - half, float(padded.mean()) + half
        return Interval(value=mean, low=min(mean, max(low, bounds[0])), high=max(mean, min(high, bounds[1])))
    spread = float(values.std(ddof=1)) if len(values) > 1 else abs(mean)
    half = float(stdtrit(max(len(values) - 1, 1), 0.975)) * spread / len(values) ** 0.5
    half = max(half, 3.0 / like.sample_count)  # the rule of three: no change seen is not no change
    return Interval(value=mean, low=mean - half, high=mean + half)


def _given(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise TargetError("the data has no labels; give (inputs, labels), or define `evaluate` in the target file")
    return labels


def _taken(outputs: Any, indices: Tensor) -> Any:
    return pytree.tree_map(lambda leaf: leaf[indices] if isinstance(leaf, Tensor) and leaf.ndim else leaf, outputs)


def _concatenated(outputs: Sequence[Any]) -> Any:
    if len(outputs) == 1:
        return outputs[0]
    return pytree.tree_map(
        lambda *leaves: torch.cat(leaves) if isinstance(leaves[0], Tensor) and leaves[0].ndim else leaves[0], *outputs
    )
