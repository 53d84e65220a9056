"""Accuracy under a defense, and its paired drop against the undefended model on the same samples.

Scores are kept per unit: per sample where the metric gives one number a sample, else per fold of
the samples. A unit's defended score is averaged over the draws of the masks, its drop is undefended
minus defended, and the interval is taken over units, so that it covers both samples and draws.

For scores in [0, 1] the intervals add pseudo-observations (Agresti & Coull 1998 for one proportion;
Bonett & Price 2012 for paired ones: one more sample lost and one more won). Without them, no change
seen in n samples would read as a drop of exactly 0 with no doubt left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from ..estimators.t_interval import t_half_width
from ..records import Accuracy, Interval, TargetError
from .readings import Reading, clear_gain, concatenated

Evaluate = Callable[[Any, Tensor | None], Any]
"""The user's metric: (model outputs of n samples, their labels) -> n scores, or one score. Higher is better."""

FOLDS = 10

Z95 = 1.959964
"""Half a 95 % interval of a normal distribution, in standard deviations."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one run: `values` `[units]`, a unit being a sample or a fold of samples.

    `sample_count` leaves out samples that do not count; `shares` is False where the scores are no shares of 1.
    """

    metric: str
    values: NDArray[np.float64]
    per_sample: bool
    sample_count: int
    shares: bool = True


class Scorer:
    """Turns outputs into scores: by the user's metric, or as the model's outputs are read.

    Where a reading has no labels, the undefended model's own answers stand in for them: its accuracy
    is then 1 by construction, and the drop is what the defense changes.
    """

    def __init__(self, metric: Evaluate | Reading) -> None:
        self._reading = metric if isinstance(metric, Reading) else None
        self._evaluate = None if isinstance(metric, Reading) else metric
        self.metric = metric.name if isinstance(metric, Reading) else str(getattr(metric, "__name__", "evaluate"))

    @property
    def needs_own_labels(self) -> bool:
        """Whether the undefended model's answers are to be given as labels."""
        return self._reading is not None and self._reading.own

    def own_labels(self, outputs: Any) -> Tensor:
        """What the undefended model answers, as labels `[N, ...]`."""
        assert self._reading is not None
        return self._reading.own_labels(outputs)

    def tally(self) -> ScoreTally:
        """Collects the scores of one run."""
        return ScoreTally(self)

    def call(self, outputs: Any, labels: Tensor | None, count: int) -> Tensor:
        """Scores of one batch of `count` samples: `[count]` (NaN where one does not count), or a single one `[]`.

        Raises:
            TargetError: labels are missing, or the metric's result is neither, or not finite.
        """
        if self._reading is not None:
            return self._reading.scores(outputs, _given(labels))
        assert self._evaluate is not None
        return self._checked(self._evaluate(outputs, labels), count)

    @property
    def scores_each_sample(self) -> bool:
        """True where the metric is known to give one score a sample, so that outputs need not be kept."""
        return self._reading is not None

    @property
    def shares(self) -> bool:
        """False where scores are known to be no shares of 1, though all of them may happen to lie in [0, 1]."""
        return self._reading is None or self._reading.kind != "values"

    def _checked(self, made: Any, count: int) -> Tensor:
        """What the user's metric returned, as numbers."""
        wanted = (
            f"return one score a sample ({count} here), higher is better: (outputs.argmax(1) == labels).float(), say"
        )
        boolean = isinstance(made, bool) or getattr(made, "dtype", None) in (torch.bool, np.bool_)
        if not isinstance(made, Tensor | np.ndarray | np.generic | float | int | list | tuple) or isinstance(
            made, bool
        ):
            what = repr(made) if made is None or boolean else f"a {type(made).__name__}"
            raise TargetError(f"{self.metric} returned {what}; {wanted}")
        try:
            score = torch.as_tensor(made).detach().double().cpu()
        except (TypeError, ValueError, RuntimeError):
            raise TargetError(f"{self.metric} returned a {type(made).__name__} of no numbers; {wanted}") from None
        if tuple(score.shape) != (count,) and (boolean or score.numel() != 1 or score.ndim > 1):
            raise TargetError(
                f"{self.metric} returned {'truth values' if boolean else 'numbers'} of shape {tuple(score.shape)} for "
                f"{count} samples; {wanted}"
            )
        if not bool(torch.isfinite(score).all()):
            raise TargetError(f"{self.metric} returned a score that is not finite; return numbers, higher is better")
        return score


class ScoreTally:
    """Scores of one run over the samples, batch by batch. Made by `Scorer.tally`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._scores: list[Tensor] = []
        self._kept: list[tuple[Any, Tensor | None]] = []
        self._lengths: list[int] = []

    def add(self, outputs: Any, labels: Tensor | None, count: int) -> None:
        """Score the outputs of `count` further samples."""
        self._scores.append(self._scorer.call(outputs, labels, count))
        self._lengths.append(count)
        if not self._scorer.scores_each_sample:
            self._kept.append((outputs, labels))

    def finish(self) -> Scores:
        """The scores of all samples that were added.

        Raises:
            TargetError: the metric gives one score a sample for some batches only, or a single one for too few
                samples; or no sample counts.
        """
        total = sum(self._lengths)
        each = all(tuple(s.shape) == (n,) for s, n in zip(self._scores, self._lengths, strict=True))
        values = np.asarray(torch.cat(self._scores).numpy() if each else self._folded(total), dtype=np.float64)
        counted = values[~np.isnan(values)]
        if not len(counted):
            raise TargetError(
                f"{self._scorer.metric}: all labels of {total} samples are ignored; give labels that count"
            )
        return Scores(
            self._scorer.metric, counted, each, total - (len(values) - len(counted)), shares=self._scorer.shares
        )

    def _folded(self, total: int) -> NDArray[np.float64]:
        metric = self._scorer.metric
        require_enough(metric, total)
        outputs = concatenated([outputs for outputs, _ in self._kept])
        labels = None if self._kept[0][1] is None else torch.cat([_given(labels) for _, labels in self._kept])
        scores = []
        for fold in torch.arange(total).tensor_split(FOLDS):
            given = None if labels is None else labels[fold]
            score = self._scorer.call(_taken(outputs, fold), given, len(fold))
            if score.numel() != 1:
                raise TargetError(
                    f"{metric} returned {score.numel()} scores for {len(fold)} samples; return one, or one per sample"
                )
            scores.append(float(score))
        return np.array(scores)


def require_enough(metric: str, total: int) -> None:
    """Refuse too few samples for an interval, where there is one score for all of them. Raises TargetError."""
    if total < 2 * FOLDS:
        raise TargetError(
            f"{metric} gives one score for all samples; an interval then needs at least {2 * FOLDS} samples, "
            f"there are {total}. Return one score per sample, or give more data"
        )


def beside_constant(
    reading: Reading, undefended: NDArray[np.float64], labels: Tensor | None, *, few: bool = False
) -> str | None:
    """What to say where the undefended model is no better, on these samples, than an answer that never changes.

    Args:
        undefended: its scores by `reading`, without those of samples that do not count.
        labels: of the same samples, in their order.
        few: the samples are too few to tell what chance explains; any gain at all is enough.
    """
    if reading.own or labels is None:
        return None
    scores, what = reading.constant(labels)
    least = scores.numpy()[~np.isnan(scores.numpy())]
    gained = undefended - least
    if gained.mean() > 0 if few else clear_gain(torch.from_numpy(gained)):
        return None
    return (
        f"undefended {reading.name} {undefended.mean():.3f} is no better than always answering {what} "
        f"({least.mean():.3f}): a drop from it means nothing; look at labels and weights, or define `evaluate`"
    )


@dataclass(frozen=True, slots=True)
class ScaleOfMetric:
    """What a user's own metric gives the undefended model: `own`, and with one another's answers: `others`."""

    own: float
    others: float

    @classmethod
    def of(cls, scorer: Scorer, outputs: Any, labels: Tensor | None, count: int) -> ScaleOfMetric | None:
        """The two scores of some samples; None where the metric cannot score answers that do not belong to them."""
        turned = torch.arange(count).roll(count // 2)
        others = pytree.tree_map(
            lambda leaf: leaf[turned] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count else leaf,
            outputs,
        )
        own = float(scorer.call(outputs, labels, count).nanmean())
        try:
            return cls(own, float(scorer.call(others, labels, count).nanmean()))
        except TargetError:
            return None

    def beside(self, budget: float, metric: str) -> str | None:
        """What to say where a drop of `budget` admits answers that have nothing to do with their samples."""
        between = self.own - self.others
        if between > budget:
            return None
        both = f"{metric} is {self.own:.3g} undefended and {self.others:.3g} with the answers to other samples"
        if between <= 0:
            return f"{both}: a drop from it means nothing; look at the metric, labels and weights"
        return (
            f"{both}: --max-accuracy-drop {budget:g} lets all of that be lost; give less than {between:.2g}, in the "
            "metric's own unit"
        )


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
    if like.per_sample and like.shares and bounded:
        padded = np.concatenate([values, pseudo])
        half = Z95 * float(padded.std()) / len(padded) ** 0.5
        low, high = float(padded.mean()) - half, float(padded.mean()) + half
        return Interval(value=mean, low=min(mean, max(low, bounds[0])), high=max(mean, min(high, bounds[1])))
    spread = float(values.std(ddof=1)) if len(values) > 1 else abs(mean)
    half = t_half_width(spread, len(values))
    half = max(half, 3.0 / like.sample_count)  # the rule of three: no change seen is not no change
    return Interval(value=mean, low=mean - half, high=mean + half)


def _given(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise TargetError("the data has no labels; give (inputs, labels), or define `evaluate` in the target file")
    return labels


def _taken(outputs: Any, indices: Tensor) -> Any:
    return pytree.tree_map(lambda leaf: leaf[indices] if isinstance(leaf, Tensor) and leaf.ndim else leaf, outputs)
