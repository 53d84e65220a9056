"""The refusal of outputs that have no plain reading, with an `evaluate` that fits their shapes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..records import TargetError
from .labels import are_whole

Found = tuple[int, str, Tensor]
"""A tensor of the outputs: its position, the expression that reaches it, and its values."""


class AskedError(TargetError):
    """Outputs that these labels may well belong to, in a way that only the user can say."""


class UndecidedError(AskedError):
    """Outputs that may be read in two ways, as far as these samples tell."""


def asks(why: str, score: str, kind: type[TargetError] = TargetError) -> TargetError:
    """The refusal that says why, and shows an `evaluate` that returns the expression `score`."""
    return kind(
        f"{why}; say what is right in the target file, one score a sample: "
        f"def evaluate(outputs, labels): return {score}"
    )


def score_line(name: str, given: Tensor, labels: Tensor, right: str = "labels", axis: int = 1) -> str:
    """An expression that scores each sample and fits the shapes, as far as these tell."""
    classes = f"{name}.argmax({axis})"
    if given.ndim < 2 or (not are_whole(labels) and labels[0].numel() == given[0].numel()):
        return f"-({name} - labels.reshape({name}.shape)).reshape(len(labels), -1).square().mean(1)"
    if labels.ndim == 1:
        return f"({classes}{'.flatten()' if given.ndim > 2 else ''} == {right}).float()"
    if given.ndim == 4 and labels.ndim == 3 and given.shape[2:] != labels.shape[1:] and axis == 1:
        classes = f'torch.nn.functional.interpolate({name}, labels.shape[1:], mode="bilinear").argmax(1)'
    elif labels.ndim == 2 and given.ndim != 3:
        return f"({classes} == {right}[:, 0]).float()"
    return f"({classes} == {right}).flatten(1).float().mean(1)"


def decided(name: str, threshold: str, right: str) -> str:
    """A score for each sample: the share of its numbers on the right side of a threshold."""
    return f"(({name} > {threshold}) == ({right}).reshape({name}.shape)).reshape(len(labels), -1).float().mean(1)"


def size(given: Tensor) -> str:
    """`[N, 3, 8]`: a shape with the number of samples left open."""
    return f"[N, {', '.join(map(str, given.shape[1:]))}]" if given.ndim > 1 else "[N]"


def listed(found: Sequence[Found]) -> str:
    """Tensors by name and shape."""
    return ", ".join(f"{name} {size(tensor) if tensor.ndim else 'scalar'}" for _, name, tensor in found) or "no tensor"
