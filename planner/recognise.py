"""Decides what accuracy means for a model without a metric of its own: from its undefended outputs and all labels.

Each kind of output and labels has one right reading or none. Where there is none the user is asked for `evaluate`, with
a line that fits:

| outputs | labels | read as |
|---|---|---|
| `[N, C, ...]` or `[N, ..., C]`, C >= 2 | classes `[N, ...]` from 0 (255, -1, -100: ignored), or one-hot | top-1 |
| `[N]` or `[N, 1]`, also per position, also `[N, L]` | 0 or 1 of the same shape | yes or no, at logit 0 or at 0.5 |
| whole numbers | the same | equal or not |
| floating | floating of the same shape | R2 |
| any of these | none | the same answers as undefended, or R2 against its outputs |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..estimators.activations import EdgeActivations
from ..estimators.data import Data
from ..records import TargetError
from .accuracy import Z95
from .labels import any_of, are_whole, whole_values
from .readings import Reading, concatenated, deviations, first_rows, tensors_of
from .suggestions import Found, asks, listed, score_line, size

LOOKED, HELD = 2000, 64_000_000
"""Samples whose outputs are looked at, and numbers in these, at most. Labels are looked at without exception."""

IGNORED = (-100, -1, 255)
"""What data sets write where nothing is known: torch's `ignore_index`, and a mask's greatest byte."""

CONSTANT = 0.95
"""Share of samples on one answer from which on agreement with it says nothing."""


class UndecidedError(TargetError):
    """Outputs that may be read in two ways, as far as these samples tell."""


def read_outputs(activations: EdgeActivations, data: Data) -> Iterator[tuple[Data, Any]]:
    """Successive batches of `data` with the undefended model's outputs, on the CPU."""
    structure: pytree.TreeSpec = activations.traced.module.output_structure  # type: ignore[assignment]
    for batch in data.batches(activations.batch_size):
        with torch.inference_mode():
            made = activations.traced.flat(*activations.arguments(batch))
        outputs = pytree.tree_unflatten(made, structure)
        yield batch, first_rows(outputs, len(batch), activations.rows_run(len(batch)))


def recognised(activations: EdgeActivations, *parts: Data, samples: int = LOOKED) -> Reading:
    """How the outputs of the undefended model are read.

    Args:
        activations: runs the model.
        parts: samples in random order; all their labels are looked at.
        samples: how many the model is run on, where these make no more than `HELD` numbers.

    Raises:
        UndecidedError: two readings are possible on these samples.
        TargetError: no reading is right; the message shows an `evaluate` that fits.
    """
    given, rows, held = [], 0, 0
    for batch, outputs in chain.from_iterable(read_outputs(activations, part) for part in parts):
        given.append(outputs)
        rows += len(batch)
        held += sum(tensor.numel() for _, tensor in tensors_of(outputs))
        if rows >= samples or held >= HELD:
            break
    labels = None if any(part.labels is None for part in parts) else torch.cat([_known(part) for part in parts])
    _require_rows(activations, parts[0], given[0])
    inputs = [torch.cat([part.inputs[at][:rows] for part in parts])[:rows] for at in _whole_numbered(parts[0])]
    return recognise(concatenated(given), labels, rows, inputs)


def _require_rows(activations: EdgeActivations, data: Data, outputs: Any) -> None:
    """Refuse outputs whose first dimension is as long as a batch by chance: for one sample it must be 1."""
    if not activations.traced.dynamic_batch:
        return
    ((_, alone),) = read_outputs(activations, data.take([0]))
    for (name, tensor), (_, one) in zip(tensors_of(outputs), tensors_of(alone), strict=True):
        if tensor.ndim and len(tensor) == min(activations.batch_size, len(data)) and len(one) != 1:
            raise TargetError(
                f"the first dimension of {name} {size(one)} does not count samples; return it with the samples first, "
                f"{name}.transpose(0, 1) say"
            )


def recognise(outputs: Any, labels: Tensor | None, count: int, inputs: Sequence[Tensor] = ()) -> Reading:
    """How outputs are read.

    Args:
        outputs: what the undefended model answers to the first `count` samples.
        labels: all labels `[N, ...]`, N >= `count`; None where there are none.
        inputs: the first samples' inputs of whole numbers, tokens say.

    Raises:
        UndecidedError, TargetError: see `recognised`.
    """
    found = [(at, name, tensor) for at, (name, tensor) in enumerate(tensors_of(outputs))]
    usable = [each for each in found if each[2].ndim and len(each[2]) == count and not each[2].is_complex()]
    if not usable:
        why = f"the model answers {listed(found)}, no tensor with a row for each sample as its first dimension"
        raise asks(why, "(outputs.argmax(-1) == labels).float()")
    logits = [each for each in usable if each[1] in ('outputs["logits"]', "outputs.logits")]
    usable = logits or usable
    for _, name, tensor in usable:
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise TargetError(
                f"the undefended model answers NaN in {name}; look at its weights and at the data's scale"
            )
    if labels is None:
        return _unlabelled(usable)
    if labels.is_floating_point() and not bool(torch.isfinite(labels).all()):
        raise TargetError("the labels hold NaN or infinity; leave these samples out, or define `evaluate`")
    if len(usable) == 1:
        at, name, tensor = usable[0]
        return replace(_fitting(name, tensor, labels, inputs), tensor=at)
    return _of_several(usable, labels, inputs)


def _of_several(usable: Sequence[Found], labels: Tensor, inputs: Sequence[Tensor]) -> Reading:
    """The reading of the only tensor that the labels fit; an axis of classes must be as long as they have classes."""
    fits: list[tuple[str, Tensor, Reading]] = []
    undecided: UndecidedError | None = None
    for at, name, tensor in usable:
        try:
            reading = _fitting(name, tensor, labels, inputs)
        except UndecidedError as error:
            undecided = error
            continue
        except TargetError:
            continue
        fits.append((name, tensor, replace(reading, tensor=at, name=f"{reading.name} of {name}")))
    fits = [fit for fit in fits if fit[2].kind != "equal"] or fits
    sure = [(name, tensor, reading) for name, tensor, reading in fits if not _too_wide(tensor, reading, labels)]
    if len(sure) == 1:
        return sure[0][2]
    if undecided is not None and not fits:
        raise undecided
    how = f"may belong to {' or '.join(fit[0] for fit in fits)}" if fits else "fit none of them"
    first, tensor = fits[0][:2] if fits else next((each for each in usable if each[2].ndim > 1), usable[0])[1:]
    raise asks(
        f"the model answers {len(usable)} tensors ({listed(usable)}), and labels of shape {size(labels)} {how}",
        score_line(first, tensor, labels),
    )


def _too_wide(tensor: Tensor, reading: Reading, labels: Tensor) -> bool:
    """Whether an axis is longer than the labels have classes: features, or another head's."""
    by_index = reading.kind == "classes" and not reading.one_hot
    return by_index and tensor.shape[reading.axis] != max(set(whole_values(labels)) - set(reading.ignored)) + 1


def _fitting(name: str, given: Tensor, labels: Tensor, inputs: Sequence[Tensor]) -> Reading:
    """The reading of one tensor `[n, ...]` by labels `[N, ...]`."""
    shape, sample = tuple(given.shape[1:]), tuple(labels.shape[1:])
    axes = [axis for axis in _axes(given) if sample in _without(shape, axis)]
    if given.is_floating_point() and len(axes) > 1:
        raise asks(
            f"outputs of shape {size(given)} may have their classes in dimension 1 or in the last",
            score_line(name, given, labels),
        )
    if given.is_floating_point() and axes:
        return _classes_along(axes[0], name, given, labels, inputs)
    if _squeezed(shape) != _squeezed(sample):
        raise asks(
            f"outputs of shape {size(given)} and labels of shape {size(labels)} do not belong together",
            score_line(name, given, labels),
        )
    if not given.is_floating_point():
        return Reading("accuracy", "equal")
    return _same_shape(name, given, labels)


def _classes_along(axis: int, name: str, given: Tensor, labels: Tensor, inputs: Sequence[Tensor]) -> Reading:
    """Top-1, where the labels are indices of classes."""
    classes = given.shape[axis]
    if labels.is_floating_point() and not are_whole(labels):
        raise asks(
            f"labels are floating, not classes, and outputs of shape {size(given)} give {classes} numbers for each",
            f"-({name}.select({axis}, 0) - labels).reshape(len(labels), -1).abs().mean(1)",
        )
    values = whole_values(labels)
    outside = [value for value in values if not 0 <= value < classes]
    if outside and (not set(outside) <= set(IGNORED) or outside == values or values == [-1, 1]):
        why = f"labels run from {values[0]} to {values[-1]}, the model has {classes} classes, 0 to {classes - 1}"
        remedy, right = "255, -1 and -100 alone are ignored", "labels"
        if (values[0], values[-1]) == (1, classes):
            remedy, right = "give labels - 1", "(labels - 1)"
        elif values == [-1, 1]:
            remedy, right = "give (labels > 0).long()", "(labels > 0)"
        raise asks(f"{why}; {remedy}", score_line(name, given, labels, right, axis))
    for tokens in inputs:
        some = labels[: len(tokens)].reshape(len(tokens), -1)
        if given.ndim > 2 and tokens.shape == labels[: len(tokens)].shape:
            known = torch.ones_like(some, dtype=torch.bool) if not outside else ~any_of(some, outside)
            if bool((tokens.reshape(some.shape) == some)[known].all()):
                raise asks(
                    "the labels are the input tokens themselves, and a language model answers the next one",
                    f"({name}[:, :-1].argmax(-1) == labels[:, 1:]).float().mean(1)",
                )
    ignoring = f", {' and '.join(map(str, outside))} ignored" if outside else ""
    return Reading(f"top-1 accuracy{ignoring}", axis=axis, ignored=tuple(outside))


def _same_shape(name: str, given: Tensor, labels: Tensor) -> Reading:
    """The reading where there is one label for each number: one-hot classes, decisions, or numbers."""
    values = set(whole_values(labels)) if are_whole(labels) else {-1, 0, 1, 2}
    if values <= {0, 1}:
        axes = [axis for axis in _axes(given) if bool((labels.reshape(-1, *given.shape[1:]).sum(dim=axis) == 1).all())]
        if len(axes) == 1:
            return Reading("top-1 accuracy", axis=axes[0], one_hot=True)
        return _decisions(name, given, labels)
    if values == {-1, 1}:
        return Reading("accuracy of signs", "threshold")
    ignored = tuple(sorted(values - {0, 1}))
    if not labels.is_floating_point() and {0, 1} < values and set(ignored) <= set(IGNORED) and ignored != (-1,):
        return replace(_decisions(name, given, labels, ignored), ignored=ignored)
    if not labels.is_floating_point():
        raise asks(
            f"labels are whole numbers from {int(labels.min())} to {int(labels.max())}, and outputs of shape "
            f"{size(given)} give one number for each; for a regression give labels.float()",
            f"-({name}.reshape(len(labels), -1) - labels.reshape(len(labels), -1)).abs().mean(1)",
        )
    shaped = labels.reshape(-1, *given.shape[1:])
    if any(bool(((shaped.sum(dim=axis) - 1).abs() < 1e-3).all()) for axis in _axes(given)) and bool(
        (labels >= 0).all()
    ):
        raise asks(
            "labels are distributions over classes (they sum to 1), not classes",
            f"({name}.argmax(1) == labels.argmax(1)).float()",
        )
    return _numbers(shaped, "R2")


def _decisions(name: str, given: Tensor, labels: Tensor, ignored: Sequence[float] = ()) -> Reading:
    """Yes or no for each number, at 0 where outputs are logits, at 0.5 where they are probabilities."""
    what = "accuracy" if _squeezed(tuple(given.shape[1:])) == () else "accuracy of labels"
    known = labels[: len(given)].reshape(given.shape)
    counted = ~any_of(known, ignored)
    numbers, right = given[counted].double(), known[counted] > 0
    if not len(numbers):
        raise UndecidedError("every label of these samples is ignored")
    low, high = float(numbers.min()), float(numbers.max())
    line = f"(({name} > 0.5) == (labels.reshape({name}.shape) > 0)).reshape(len(labels), -1).float().mean(1)"
    if low >= 0 and (high > 1 or low > 0.5 or high <= 0.5):
        why = f"outputs lie in {low:.3g} to {high:.3g}, so that all say the same, at 0 or at 0.5"
        raise UndecidedError(str(asks(why, line)))
    if low >= 0:
        return Reading(f"{what} at probability 0.5", "threshold", threshold=0.5)
    if low >= -1 and high <= 2:
        gained = ((numbers > 0.5) == right).double() - ((numbers > 0) == right).double()
        mean = float(gained.mean())
        if mean > max(0.02, Z95 * float(gained.std()) / len(gained) ** 0.5):
            why = f"outputs lie in {low:.3g} to {high:.3g}, and more of them are right at 0.5 than at logit 0"
            raise UndecidedError(str(asks(why, line)))
    return Reading(f"{what} at logit 0", "threshold")


def _numbers(of: Tensor, name: str, *, own: bool = False, notes: tuple[str, ...] = ()) -> Reading:
    """R2 of numbers `[N, ...]`: the mean over columns of a table, and over all positions together of anything else."""
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


def _unlabelled(usable: Sequence[Found]) -> Reading:
    """Agreement with the undefended model: the same class, the same side, or numbers that are as near as R2 says."""
    if len(usable) > 1:
        raise asks(
            f"the data has no labels and the model answers {len(usable)} tensors ({listed(usable)}); give "
            "(inputs, labels)",
            f"({usable[0][1]}.argmax(1) == labels).float()",
        )
    at, name, given = usable[0]
    agreement = "agreement with the undefended model"
    said = f"without labels, accuracy is {agreement}"
    if not given.is_floating_point():
        reading = Reading(agreement, "equal", own=True, notes=(said,))
        answers = given.reshape(len(given), -1)
    elif given.ndim == 2 and given.shape[1] > 1:
        reading = Reading(agreement, own=True, notes=(f"{said}: its greatest output is taken for its class",))
        answers = given.argmax(dim=1, keepdim=True)
    else:
        threshold = 0.5 if float(given.min()) >= 0 and float(given.max()) <= 1 else 0.0
        reading = Reading(
            agreement, "threshold", threshold=threshold, own=True,
            notes=(f"{said}: its one output is taken for a decision at {threshold:g}; for a regression give labels",),
        )  # fmt: skip
        answers = (given > threshold).reshape(len(given), -1)
    share = _commonest(answers) if answers.shape[1] == 1 else 0.0
    constant = share >= CONSTANT
    if given.is_floating_point() and (constant or given.ndim > 2):
        why = "it answers the same to nearly all samples" if constant else "its output is one tensor of numbers"
        reading = _numbers(
            given, "R2 against the undefended model", own=True,
            notes=(f"without labels, accuracy is R2 against the undefended model's outputs, 1 for the same: {why}",),
        )  # fmt: skip
    elif constant:
        raise TargetError(f"the undefended model answers the same in {name} to nearly all samples; give labels")
    elif share:
        reading = replace(reading, notes=(f"{reading.notes[0]} (a constant would agree on {share:.0%})",))
    return replace(reading, tensor=at)


def _known(part: Data) -> Tensor:
    assert part.labels is not None
    return part.labels


def _whole_numbered(data: Data) -> list[int]:
    return [at for at, tensor in enumerate(data.inputs) if not tensor.is_floating_point()]


def _axes(given: Tensor) -> list[int]:
    """Dimensions that may hold classes: the first after the samples, and the last."""
    last = [] if given.ndim < 3 else [-1]
    return [axis for axis in ([1] if given.ndim > 1 else []) + last if given.shape[axis] > 1]


def _without(shape: tuple[int, ...], axis: int) -> set[tuple[int, ...]]:
    """The sample shape of labels along an axis of classes: without it, or with 1 in its place."""
    at = axis - 1 if axis > 0 else len(shape) - 1
    return {(*shape[:at], *shape[at + 1 :]), (*shape[:at], 1, *shape[at + 1 :])}


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without one channel at either end: `[N, 1]` is `[N]`, a map `[N, 1, H, W]` is `[N, H, W]`."""
    if shape[:1] == (1,):
        return shape[1:]
    return shape[:-1] if shape[-1:] == (1,) else shape


def _commonest(answers: Tensor) -> float:
    return int(torch.unique(answers, return_counts=True)[1].max()) / len(answers)
