"""How a model's outputs are read, as classes, decisions or numbers, and how an answer is scored.

A `Reading` is decided once, from the undefended model's outputs and all labels (`recognise.py`). Search, fine-tuning,
attacks and verification all measure accuracy by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from statistics import NormalDist
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..records import TargetError
from .labels import any_of

Kind = Literal["classes", "threshold", "equal", "values"]

_ROWS = 256


@dataclass(frozen=True, eq=False)
class Reading:
    """How outputs are read.

    Attributes:
        name: the metric's name in reports.
        kind: *classes*, the argmax along an axis; *threshold*, yes or no for each number; *equal*, outputs compared
            with labels as they are; *values*, numbers scored by R2.
        tensor: index of the output tensor that is read.
        axis: the dimension that holds the classes.
        threshold: the answer is yes above it: 0 for logits, 0.5 for probabilities.
        ignored: labels of positions that are not scored.
        one_hot: labels are one-hot along `axis`.
        own: the undefended model's own answers serve as labels.
        center: for *values*, the mean label, shaped as one sample's output.
        spread: for *values*, the divisor of each squared error, of the same shape; infinite at positions that are not
            scored.
        notes: what the user should know about the reading.
    """

    name: str
    kind: Kind = "classes"
    tensor: int = 0
    axis: int = 1
    threshold: float = 0.0
    ignored: tuple[int, ...] = ()
    one_hot: bool = False
    own: bool = False
    center: Tensor | None = None
    spread: Tensor | None = None
    notes: tuple[str, ...] = ()

    def of(self, outputs: Any) -> Tensor:
        """The tensor that is read: logits, probabilities or numbers `[N, ...]`."""
        return list(tensors_of(outputs))[self.tensor][1]

    def scores(self, outputs: Any, labels: Tensor) -> Tensor:
        """Scores `[N]` in float64, higher is better: means over positions, NaN for a sample without scored positions.

        Shares of correct answers lie in [0, 1]. Scores of *values* average to R2 over the data of the reading.

        Raises:
            TargetError: the labels have another shape than those of the reading, or R2 is not finite.
        """
        return self._scored(self._answers(self.of(outputs)), labels)

    def own_labels(self, outputs: Any) -> Tensor:
        """The undefended model's answers `[N, ...]`, as labels."""
        return self._answers(self.of(outputs))

    def targets(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The correct classes, decisions or numbers, and which positions are scored; both `[N, ...]`."""
        counted = ~any_of(labels, self.ignored)
        if self.own or self.kind in ("values", "equal"):
            return labels, counted
        if self.one_hot:
            return labels.argmax(dim=self.axis), counted.any(dim=self.axis)
        return (labels > 0 if self.kind == "threshold" else labels.long()), counted

    def constant(self, labels: Tensor) -> tuple[Tensor, str]:
        """Scores `[N]` of the best constant answer, and that answer in words."""
        if self.kind == "values":
            assert self.center is not None
            return self._scored(self.center.expand(len(labels), *self.center.shape), labels), "with the mean label"
        right, counted = self.targets(labels)
        if self.kind == "threshold" and right.ndim == 2 and right.shape[1] > 1:
            answer = (right & counted).sum(dim=0) * 2 > counted.sum(dim=0)
            what = "with the commonest value of each label"
        else:
            values, counts = torch.unique(right[counted], return_counts=True)
            answer = values[counts.argmax()]
            what = f"{int(answer)}" if self.kind == "threshold" else f"class {int(answer)}"
        return self._scored(answer.expand(right.shape), labels), what

    def _answers(self, given: Tensor) -> Tensor:
        if self.kind == "classes":
            return given.argmax(dim=self.axis)
        return given > self.threshold if self.kind == "threshold" else given

    def _scored(self, answers: Tensor, labels: Tensor) -> Tensor:
        right, counted = self.targets(labels)
        if right.numel() != answers.numel() or len(right) != len(answers):
            raise TargetError(
                f"labels of shape {tuple(labels.shape)} do not fit {self.name} of outputs that give "
                f"{tuple(answers.shape)}; every batch of labels must have one shape"
            )
        if self.kind == "values":
            return self._explained(answers, right.reshape(answers.shape))
        counted = counted.reshape(len(answers), -1)
        hits = (answers == right.reshape(answers.shape)).reshape(len(answers), -1) & counted
        return hits.sum(dim=1).double() / counted.sum(dim=1)

    def _explained(self, answers: Tensor, right: Tensor) -> Tensor:
        """1 minus each sample's squared error, in units of the labels' variance."""
        assert self.spread is not None
        error = (answers.double() - right.double()).square() / self.spread
        scores = 1 - error.reshape(len(answers), -1).sum(dim=1)
        if not bool(torch.isfinite(scores).all()):
            raise TargetError(f"{self.name} is not finite: the outputs hold NaN or infinity")
        return scores


TOP1 = Reading("top-1 accuracy")


def tensors_of(outputs: Any, name: str = "outputs") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a model's output, in order, with the Python expression that reaches it."""
    if isinstance(outputs, Tensor):
        yield name, outputs
    elif isinstance(outputs, Mapping):
        for key, value in outputs.items():
            yield from tensors_of(value, f'{name}["{key}"]' if isinstance(key, str) else f"{name}[{key!r}]")
    elif isinstance(outputs, tuple | list):
        named = getattr(outputs, "_fields", None)
        for at, value in enumerate(outputs):
            yield from tensors_of(value, f"{name}.{named[at]}" if named else f"{name}[{at}]")
    elif is_dataclass(outputs):
        for field in fields(outputs):
            yield from tensors_of(getattr(outputs, field.name), f"{name}.{field.name}")
    else:
        leaves = pytree.tree_leaves(outputs)
        if len(leaves) > 1 or (leaves and leaves[0] is not outputs):
            yield from tensors_of(leaves, name)


def first_rows(outputs: Any, count: int, ran: int) -> Any:
    """A model's output for the first `count` of the `ran` samples that it was run on, on the CPU.

    A batch may have been padded to the fixed batch size of a graph. Tensors whose length is not `ran` stay whole: their
    first dimension counts something else.
    """

    def cut(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return (leaf[:count] if leaf.ndim and len(leaf) == ran else leaf).cpu()

    return pytree.tree_map(cut, outputs)


def concatenated(outputs: Sequence[Any]) -> Any:
    """Outputs of successive batches, concatenated. Raises TargetError if their shapes do not match."""
    if len(outputs) == 1:
        return outputs[0]
    try:
        return pytree.tree_map(
            lambda *leaves: torch.cat(leaves) if isinstance(leaves[0], Tensor) and leaves[0].ndim else leaves[0],
            *outputs,
        )
    except RuntimeError:
        raise TargetError(
            "the model's answers to batches of other sizes do not go together: the first dimension of what it returns "
            "must count samples"
        ) from None


def clear_gain(gained: Tensor, among: int = 1) -> bool:
    """Whether the mean of paired gains `[n]` is above 0, at 95 % confidence. NaN gains are left out.

    Args:
        gained: the gains.
        among: number of alternatives that the best was taken from; more of them need a larger gain.
    """
    counted = gained[~gained.isnan()].double()
    if not len(counted):
        return False
    least = NormalDist().inv_cdf(1 - 0.025 / among) * float(counted.std(correction=0)) / len(counted) ** 0.5
    return bool(float(counted.mean()) > least)


def deviations(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of `numbers` `[N, ...]` over samples, each `[...]` in float64, computed in chunks of rows."""
    rows = torch.split(numbers, _ROWS)
    total = sum((part.double().sum(dim=0) for part in rows), torch.zeros(numbers.shape[1:], dtype=torch.float64))
    center = total / len(numbers)
    squares = sum(((part.double() - center).square().sum(dim=0) for part in rows), torch.zeros_like(center))
    return center, squares / len(numbers)
