"""Decides what accuracy means for a model without its own metric, from its undefended outputs and all labels.

Each kind of outputs and labels has at most one correct reading. Without one, the user is asked to define `evaluate`,
and the message suggests a line that fits:

| outputs | labels | read as |
|---|---|---|
| `[N, C, ...]` or `[N, ..., C]`, C >= 2 | classes `[N, ...]` from 0 (255, -1, -100: ignored), or one-hot | top-1 |
| `[N]` or `[N, 1]`, also per position, also `[N, L]` | 0 or 1, -1 or 1, of that shape | yes or no, at 0 or at 0.5 |
| whole numbers | the same | equal or not |
| floating | floating of the same shape | R2 |
| any of these | none | the same answers as undefended, or R2 against its outputs |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..estimators.activations import EdgeActivations
from ..records import TargetError
from ..targets.data import Data
from .kinds import axes_of, better_than_constant, classes_along, equal, numbers, same_shape, squeezed
from .labels import whole_values
from .readings import Reading, concatenated, first_rows, tensors_of
from .suggestions import AskedError, Found, UndecidedError, asks, listed, score_line, size

LOOKED, HELD = 2000, 64_000_000
"""Most samples whose outputs are read, and most numbers in these outputs. All labels are read."""

CONSTANT = 0.95
"""If at least this share of samples gets the same answer, agreement with it is meaningless."""


def read_outputs(activations: EdgeActivations, data: Data) -> Iterator[tuple[Data, Any]]:
    """Successive batches of `data` with the undefended model's outputs, on the CPU."""
    structure: pytree.TreeSpec = activations.traced.module.output_structure  # type: ignore[assignment]
    for batch in data.batches(activations.batch_size):
        with torch.inference_mode():
            made = activations.traced.flat(*activations.arguments(batch))
        outputs = pytree.tree_unflatten(made, structure)
        yield batch, first_rows(outputs, len(batch), activations.rows_run(len(batch)))


def recognised(
    activations: EdgeActivations,
    *parts: Data,
    samples: int = LOOKED,
    read: Callable[[EdgeActivations, Data], Iterator[tuple[Data, Any]]] = read_outputs,
) -> Reading:
    """How the outputs of the undefended model are read.

    Args:
        activations: runs the model.
        parts: samples in random order; all their labels are read.
        samples: most samples that the model is run on; fewer if their outputs exceed `HELD` numbers.
        read: in place of `read_outputs`.

    Raises:
        UndecidedError: these samples admit two readings.
        TargetError: no reading is correct; the message shows an `evaluate` that fits.
    """
    given, rows, held = [], 0, 0
    for batch, outputs in chain.from_iterable(read(activations, part) for part in parts):
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
    """Refuse outputs whose first dimension has the batch's length only by chance: for one sample it must be 1."""
    if not activations.traced.dynamic_batch:
        return
    ((_, alone),) = read_outputs(activations, data.take([0]))
    for (name, tensor), (_, one) in zip(tensors_of(outputs), tensors_of(alone), strict=True):
        if tensor.ndim and len(tensor) == min(activations.batch_size, len(data)) and len(one) != 1:
            raise TargetError(
                f"the first dimension of {name} {size(one)} does not count samples; return it with the samples "
                f"first, {name}.transpose(0, 1) say"
            )


def recognise(outputs: Any, labels: Tensor | None, count: int, inputs: Sequence[Tensor] = ()) -> Reading:
    """How outputs are read.

    Args:
        outputs: the undefended model's outputs for the first `count` samples.
        labels: all labels `[N, ...]`, N >= `count`; None if the data has none.
        inputs: integer inputs of the first samples, such as tokens.

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
    """The reading of the one output tensor that fits the labels.

    An axis with more classes than the labels have may hold features. If such a tensor is among those that fit, the
    tensor to read must clearly beat a constant answer, and the others must not.
    """
    fits: list[tuple[str, Tensor, Reading]] = []
    asked: list[tuple[str, Tensor, AskedError]] = []
    for at, name, tensor in usable:
        try:
            reading = _fitting(name, tensor, labels, inputs)
        except AskedError as error:
            asked.append((name, tensor, error))
        except TargetError:
            continue
        else:
            fits.append((name, tensor, replace(reading, tensor=at, name=f"{reading.name} of {name}")))
    fits = [fit for fit in fits if fit[2].kind != "equal"] or fits
    if len(asked) == 1 and not fits:
        raise asked[0][2]
    exact = [fit[0] for fit in fits if not _too_wide(*fit[1:], labels)]
    told = [fit[0] for fit in fits if better_than_constant(fit[2], fit[1], labels[: len(fit[1])])]
    alone = len(fits) == 1 and (exact or told)
    if not asked and (alone or (len(exact) == 1 and told == exact)):
        return next(reading for name, _, reading in fits if name in (exact or told))
    may = [*(fit[0] for fit in fits), *(each[0] for each in asked)]
    how = f"may belong to {' or '.join(may)}" if may else "fit none of them"
    known = [*(fit[:2] for fit in fits), *(each[:2] for each in asked)]
    first, tensor = known[0] if known else next((each for each in usable if each[2].ndim > 1), usable[0])[1:]
    raise asks(
        f"the model answers {len(usable)} tensors ({listed(usable)}), and labels of shape {size(labels)} {how}",
        score_line(first, tensor, labels),
        UndecidedError if may and len(exact) < 2 else TargetError,
    )


def _too_wide(tensor: Tensor, reading: Reading, labels: Tensor) -> bool:
    """Whether the axis is longer than the number of classes in the labels, so that it may hold something else."""
    by_index = reading.kind == "classes" and not reading.one_hot
    return by_index and tensor.shape[reading.axis] != max(set(whole_values(labels)) - set(reading.ignored)) + 1


def _fitting(name: str, given: Tensor, labels: Tensor, inputs: Sequence[Tensor]) -> Reading:
    """The reading of one tensor `[n, ...]` with labels `[N, ...]`."""
    shape, sample = tuple(given.shape[1:]), tuple(labels.shape[1:])
    axes = [axis for axis in axes_of(given) if _without_ones(sample) == _without_ones(_without(shape, axis))]
    if given.is_floating_point() and len(axes) > 1:
        raise asks(
            f"outputs of shape {size(given)} may have their classes in dimension 1 or in the last",
            score_line(name, given, labels),
        )
    if given.is_floating_point() and axes:
        return classes_along(axes[0], name, given, labels, inputs)
    if squeezed(shape) != squeezed(sample):
        raise asks(
            f"outputs of shape {size(given)} and labels of shape {size(labels)} do not belong together",
            score_line(name, given, labels),
        )
    if not given.is_floating_point():
        return equal(name, given, labels)
    return same_shape(name, given, labels)


def _unlabelled(usable: Sequence[Found]) -> Reading:
    """Agreement with the undefended model: the same class, the same decision, or R2 of its numbers."""
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
        reading = numbers(
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


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape of one sample's labels if `axis` holds the classes."""
    at = axis - 1 if axis > 0 else len(shape) - 1
    return (*shape[:at], *shape[at + 1 :])


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _commonest(answers: Tensor) -> float:
    return int(torch.unique(answers, return_counts=True)[1].max()) / len(answers)
