"""How one tensor is read, given labels that fit its shape: as classes, decisions or numbers.

If labels or outputs can also be meant in another way, both readings are scored on the undefended model. A reading that
another clearly beats is never chosen. A reading that only the shape supports must beat a constant answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..records import TargetError
from .labels import any_of, are_whole, whole_values
from .readings import Reading, clear_gain, deviations
from .suggestions import AskedError, UndecidedError, asks, decided, score_line, size

IGNORED = (-100, -1, 255)
"""Labels by which data sets mark unknown positions: torch's `ignore_index`, -1, and the largest byte of a mask."""

_EXCLUSIVE = 2 / 3
"""If exactly one label holds at more than this share of positions, labels may be one-hot with exceptions."""

_GAIN = 0.02
"""Gain in accuracy at threshold 0.5 that puts a reading as logits in doubt."""

_MOST = 0.95
"""If more than this share of outputs is near [0, 1], they may be probabilities fitted by least squares."""


def classes_along(axis: int, name: str, given: Tensor, labels: Tensor, inputs: Sequence[Tensor]) -> Reading:
    """Top-1 accuracy with labels `[N, ...]` that index classes along `axis` of `given` `[n, ...]`, N >= n.

    Raises:
        TargetError: the labels are not such indices, or can be meant in another way.
    """
    classes = given.shape[axis]
    if labels.is_floating_point() and not are_whole(labels):
        raise _floating_labels(axis, name, given)
    values = whole_values(labels)
    outside = [value for value in values if not 0 <= value < classes]
    if outside:
        _require_ignored(values, outside, axis, name, given, labels)
    _require_no_inputs(name, given, labels, inputs, outside)
    ignoring = f", {' and '.join(map(str, outside))} ignored" if outside else ""
    reading = Reading(f"top-1 accuracy{ignoring}", axis=axis, ignored=tuple(outside))
    _require_no_shift(reading, values, name, given, labels)
    _require_indices(reading, values, name, given, labels)
    return reading


def _floating_labels(axis: int, name: str, given: Tensor, kind: type[TargetError] = TargetError) -> TargetError:
    return asks(
        f"labels are floating, not classes, and outputs of shape {size(given)} give {given.shape[axis]} numbers for "
        f"each; for classes give labels.long()",
        f"-({name}.select({axis}, 0) - labels).reshape(len(labels), -1).abs().mean(1)",
        kind,
    )


def _require_ignored(
    values: list[int], outside: list[int], axis: int, name: str, given: Tensor, labels: Tensor
) -> None:
    """Refuse labels that are neither classes nor ignored values, and labels that leave fewer than two classes."""
    classes = given.shape[axis]
    one_based = (values[0], values[-1]) == (1, classes)
    if set(outside) <= set(IGNORED) and len(values) - len(outside) > 1 and not one_based:
        return
    why = f"labels run from {values[0]} to {values[-1]}, the model has {classes} classes, 0 to {classes - 1}"
    remedy, right, kind = "255, -1 and -100 alone are ignored", "labels", TargetError
    if one_based:
        remedy, right, kind = "give labels - 1", "(labels - 1)", AskedError
    elif values in ([-1, 1], [0, 255]):
        remedy, right, kind = "give (labels > 0).long()", "(labels > 0)", AskedError
    elif values == [-1, 0]:
        remedy, right, kind = "give labels + 1", "(labels + 1)", AskedError
    elif set(outside) <= set(IGNORED):
        remedy = f"without {' and '.join(map(str, outside))} one class is left, or none"
    raise asks(f"{why}; {remedy}", score_line(name, given, labels, right, axis), kind)


def _require_no_inputs(
    name: str, given: Tensor, labels: Tensor, inputs: Sequence[Tensor], outside: Sequence[int]
) -> None:
    for tokens in inputs:
        some = labels[: len(tokens)].reshape(len(tokens), -1)
        if given.ndim > 2 and tokens.shape == labels[: len(tokens)].shape:
            known = torch.ones_like(some, dtype=torch.bool) if not outside else ~any_of(some, outside)
            if bool((tokens.reshape(some.shape) == some)[known].all()):
                raise asks(
                    "the labels are the input tokens themselves, and a language model answers the next one",
                    f"({name}[:, :-1].argmax(-1) == labels[:, 1:]).float().mean(1)",
                )


def _require_no_shift(reading: Reading, values: list[int], name: str, given: Tensor, labels: Tensor) -> None:
    """Refuse labels that may count from 1 or from -1, which is possible if the first or the last class never occurs.

    A byte holds -1 as 255. A label that could be ignored or be a class is ignored only if the model's outputs say so.
    """
    classes, shown = given.shape[reading.axis], labels[: len(given)].long()
    shifts = ([-1] if 0 not in values else []) + ([1] if classes - 1 not in values else [])
    for by in shifts:
        moved, lost = shown + by, set(reading.ignored)
        wrapped = lost & ({-1, 255} if by == 1 else {classes})
        for value in lost - wrapped:
            moved[shown == value] = -100
        if by == 1:
            moved[any_of(shown, sorted(wrapped))] = 0
        rival = Reading("", axis=reading.axis, ignored=(-100,))
        if (
            _beats(rival, moved, reading, shown, given)
            if not wrapped
            else not _leads(reading, shown, rival, moved, given)
        ):
            sign = "+" if by > 0 else "-"
            raise asks(
                f"labels run from {values[0]} to {values[-1]}, the model has {classes} classes, and they may be "
                f"meant as labels {sign} 1 as well",
                score_line(
                    name,
                    given,
                    labels,
                    f"((labels.long() {sign} 1) % 256)" if 255 in wrapped and by > 0 else f"(labels {sign} 1)",
                    reading.axis,
                ),
                UndecidedError,
            )


def _require_indices(reading: Reading, values: list[int], name: str, given: Tensor, labels: Tensor) -> None:
    """Refuse labels that top-1 does not explain and that may be numbers, or decisions for each column."""
    axis, shown = reading.axis, labels[: len(given)]
    if better_than_constant(reading, given, shown):
        return
    if labels.is_floating_point():
        raise _floating_labels(axis, name, given, UndecidedError)
    if values[-1] <= 1 and given.shape[axis] > 2 and labels[0].numel() > 1:
        raise asks(
            f"labels 0 and 1 of shape {size(labels)} may be classes along dimension {axis} of outputs of shape "
            f"{size(given)}, or decisions",
            f"(({name}.mean({axis}) > 0) == (labels > 0)).flatten(1).float().mean(1)",
            UndecidedError,
        )
    if given.ndim == 2:
        right = shown.reshape(-1, 1)
        counted = ~any_of(right[:, 0], reading.ignored)
        near = (given.round() == right)[counted]
        if len(near):
            best = near.double().mean(dim=0).argmax()
            column, truth = near[:, best].double(), right[counted, 0]
            least = (truth == truth.mode().values).double()
            top = (given[counted].argmax(dim=1) == truth).double()
            if clear_gain(column - least, near.shape[1]) and clear_gain(column - top, near.shape[1]):
                raise asks(
                    f"number {int(best)} of the {near.shape[1]} in outputs of shape {size(given)} is nearly the "
                    "label itself, and the greatest of them is not it",
                    f"({name}[:, {int(best)}].round() == labels.flatten()).float()",
                    UndecidedError,
                )


def better_than_constant(reading: Reading, given: Tensor, labels: Tensor) -> bool:
    """Whether `given` `[n, ...]`, read in this way, clearly beats the best constant answer."""
    alone = replace(reading, tensor=0)
    scores = alone.scores(given, labels)
    if bool(scores.isnan().all()):
        return False
    return clear_gain(scores - alone.constant(labels)[0])


def _leads(reading: Reading, labels: Tensor, over: Reading, others: Tensor, given: Tensor) -> bool:
    """Whether outputs score clearly better with one reading and its labels than with another."""
    return clear_gain(reading.scores(given, labels) - over.scores(given, others))


def _beats(rival: Reading, moved: Tensor, reading: Reading, labels: Tensor, given: Tensor) -> bool:
    return _leads(rival, moved, reading, labels, given) and better_than_constant(rival, given, moved)


def equal(name: str, given: Tensor, labels: Tensor) -> Reading:
    """Integers that are correct if they equal the label. Refused if they clearly are another function of it."""
    reading, shown = Reading("accuracy", "equal"), labels[: len(given)].reshape(given.shape)
    whole = shown.long()
    for right, rival in (("labels - 1", whole - 1), ("labels + 1", whole + 1), ("labels > 0", (whole > 0).long())):
        if _beats(reading, rival, reading, shown, given):
            raise asks(
                f"answers of shape {size(given)} are more often {right} than the labels themselves",
                f"({name} == ({right}).reshape({name}.shape)).reshape(len(labels), -1).float().mean(1)",
                UndecidedError,
            )
    return reading


def same_shape(name: str, given: Tensor, labels: Tensor) -> Reading:
    """The reading if there is one label for each number: one-hot classes, decisions, or numbers."""
    values = whole_values(labels) if are_whole(labels) else []
    if values and set(values) <= {0, 1}:
        shaped = labels.reshape(-1, *given.shape[1:])
        sums = {axis: shaped.sum(dim=axis) for axis in axes_of(given)}
        axes = [axis for axis, each in sums.items() if bool((each == 1).all())]
        if len(axes) == 1:
            return Reading("top-1 accuracy", axis=axes[0], one_hot=True)
        if not axes:
            _require_no_exceptions(sums, name, given)
        return _decisions(name, given, labels)
    if values == [-1, 1]:
        return _decisions(name, given, labels)
    if len(values) == 2:
        raise asks(
            f"labels are {values[0]} and {values[1]}, two kinds rather than numbers; "
            f"give (labels > {values[0]}).long()",
            decided(name, "0.5" if float(given.min()) >= 0 else "0", f"labels > {values[0]}"),
            AskedError,
        )
    ignored = tuple(value for value in values if value not in (0, 1))
    if not labels.is_floating_point() and {0, 1} < set(values) and set(ignored) <= set(IGNORED) and ignored != (-1,):
        return replace(_decisions(name, given, labels, ignored), ignored=ignored)
    shaped = labels.reshape(-1, *given.shape[1:])
    if not labels.is_floating_point():
        return _whole_numbers(name, given, shaped)
    if any(bool(((shaped.sum(dim=axis) - 1).abs() < 1e-3).all()) for axis in axes_of(given)) and bool(
        (labels >= 0).all()
    ):
        raise asks(
            "labels are distributions over classes (they sum to 1), not classes",
            f"({name}.argmax(1) == labels.argmax(1)).float()",
        )
    return numbers(shaped, "R2")


def _whole_numbers(name: str, given: Tensor, labels: Tensor) -> Reading:
    """R2 with labels `[N, ...]` that are whole numbers, as a table of a regression may hold.

    They may be classes too, of a model with another output, so the outputs must clearly beat the mean label.
    """
    reading = numbers(labels, "R2")
    gained = reading.scores(given, labels[: len(given)])
    spoken = f"labels are whole numbers from {int(labels.min())} to {int(labels.max())}"
    if clear_gain(gained):
        return replace(reading, notes=(*reading.notes, f"{spoken}, which the outputs come near to: read as numbers"))
    raise asks(
        f"{spoken}, and outputs of shape {size(given)} give one number for each, no nearer to it than the mean label "
        "is; for a regression give labels.float() (in a table, write them with a point: 3.0)",
        f"-({name}.reshape(len(labels), -1) - labels.reshape(len(labels), -1)).abs().mean(1)",
        UndecidedError if float(gained.mean()) > 0 else TargetError,
    )


def _require_no_exceptions(sums: dict[int, Tensor], name: str, given: Tensor) -> None:
    """Refuse labels 0 and 1 that may be either one-hot with exceptions or several decisions.

    They may be if at most one of them ever holds, or if nearly always exactly one does.
    """
    for axis, many in sums.items():
        single = float((many == 1).double().mean())
        if single > _EXCLUSIVE or (single > 0 and int(many.max()) == 1):
            raise asks(
                f"of {given.shape[axis]} labels 0 or 1, just one holds in {single:.0%} of cases: they may be one-hot "
                "with exceptions, or decisions of their own",
                f"labels.reshape({name}.shape).gather({axis}, {name}.argmax({axis}, keepdim=True)).float()"
                ".flatten(1).mean(1)",
                AskedError,
            )


def _decisions(name: str, given: Tensor, labels: Tensor, ignored: Sequence[float] = ()) -> Reading:
    """Yes or no for each number: at 0 if outputs are logits, at 0.5 if they are probabilities."""
    signs = bool((labels < 0).any()) and not ignored
    what = "accuracy" if squeezed(tuple(given.shape[1:])) == () else "accuracy of labels"
    known = labels[: len(given)].reshape(given.shape)
    counted = ~any_of(known, ignored)
    answers, right = given[counted].double(), known[counted] > 0
    if not len(answers):
        raise UndecidedError("every label of these samples is ignored")
    low, high = float(answers.min()), float(answers.max())
    why = f"outputs lie in {low:.3g} to {high:.3g}"
    if high <= 0:
        raise asks(
            f"{why}, so that all say no at logit 0; log-probabilities say yes above log 0.5",
            decided(f"{name}.exp()", "0.5", "labels > 0"),
            UndecidedError,
        )
    at_half = decided(name, "0.5", "labels > 0")
    if low >= 0 and (high > 1 or low > 0.5 or high <= 0.5):
        raise asks(f"{why}, so that all say the same, at 0 or at 0.5", at_half, UndecidedError)
    if low >= 0:
        return Reading(f"{what} at probability 0.5", "threshold", threshold=0.5)
    at_half_right, least = ((answers > 0.5) == right).double(), (right == (right.double().mean() > 0.5)).double()
    gained = at_half_right - ((answers > 0) == right).double()
    near = float(((answers >= -1) & (answers <= 2)).double().mean()) > _MOST
    if float(gained.mean()) > _GAIN and clear_gain(gained) and (near or clear_gain(at_half_right - least)):
        raise asks(f"{why}, and more of them are right at 0.5 than at logit 0", at_half, UndecidedError)
    return Reading("accuracy of signs" if signs else f"{what} at logit 0", "threshold")


def numbers(of: Tensor, name: str, *, own: bool = False, notes: tuple[str, ...] = ()) -> Reading:
    """R2 of numbers `[N, ...]`: the mean over columns for a table, else pooled over all positions."""
    center, variance = deviations(of)
    varies = variance > 1e-12 * center.square().clamp(min=1e-12)
    if not bool(varies.any()):
        raise TargetError(
            "the undefended model answers the same to every sample; look at its weights, or define `evaluate`"
            if own
            else "all labels are the same number, which nothing can be measured by; give labels that vary"
        )
    if of.ndim == 2:
        spread = torch.where(varies, variance * varies.sum(), torch.inf)
        if not bool(varies.all()):
            notes = (*notes, f"{int((~varies).sum())} of {len(varies)} numbers of an output do not vary: not scored")
    else:
        spread = variance.sum().expand(center.shape)
    return Reading(name, "values", own=own, center=center, spread=spread, notes=notes)


def axes_of(given: Tensor) -> list[int]:
    """Dimensions that may hold classes: the first after the samples, and the last."""
    last = [] if given.ndim < 3 else [-1]
    return [axis for axis in ([1] if given.ndim > 1 else []) + last if given.shape[axis] > 1]


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A sample's shape without one channel at either end: `[N, 1]` is `[N]`, `[N, 1, H, W]` is `[N, H, W]`."""
    if shape[:1] == (1,):
        return shape[1:]
    return shape[:-1] if shape[-1:] == (1,) else shape
