"""Runs a plan's two halves over a wire: how accurate they are, and whether they equal the halves in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..defenses import ProjectionMatrices
from ..estimators import EdgeActivations
from ..graph import Cut, TracedGraph, same_values, split, stored_outputs, with_weights
from ..planner.accuracy import Evaluate, Scorer, paired_accuracy
from ..planner.readings import Reading, first_rows
from ..planner.recognise import recognised
from ..records import Interval, Plan
from ..targets.data import Data, InputScaling
from .device.client import EdgeClient
from .device.model_inputs import with_models_layout
from .parts import EdgePart

_MOST_BATCH = 32


@dataclass(frozen=True, eq=False)
class Subject:
    """What is verified: a plan with its model and data.

    Attributes:
        plan, traced, cut, tuned, projection: as `write_bundle` takes them.
        data: the samples that accuracy is measured on.
        evaluate: the target's own metric; None: `reading` says how outputs are scored, or `data` shows it.
        scaling: how keyed masks read floating inputs as pixels.
        same_samples: the plan's accuracy was measured on these samples, so the measured one must lie in the plan's
            interval. On other samples the two intervals must overlap.
        reading: how the outputs are scored.
    """

    plan: Plan
    traced: TracedGraph
    cut: Cut
    data: Data
    tuned: Mapping[str, Tensor] | None = None
    projection: ProjectionMatrices | None = None
    evaluate: Evaluate | None = None
    scaling: InputScaling | None = None
    same_samples: bool = True
    reading: Reading | None = None


def requests_of(data: Data, part: EdgePart, batch: int, count: int) -> Iterator[tuple[Tensor, ...]]:
    """`count` requests of `batch` samples each, from the data over and over."""
    for number in range(count):
        indices = (torch.arange(batch) + number * batch) % len(data)
        yield _model_inputs(data.take(indices), part)


def accuracy_over_the_wire(
    subject: Subject, part: EdgePart, address: str | None, options: Mapping[str, Any]
) -> tuple[Interval, str]:
    """The mean score of one draw of the defense over all samples, with its 95 % interval, and the name of the metric.

    Args:
        subject: what is verified.
        part: its edge part.
        address: of the server; None if the device runs everything.
        options: of the `EdgeClient`.
    """
    scorer = Scorer(subject.evaluate or subject.reading or recognised(EdgeActivations(subject.traced), subject.data))
    tally = scorer.tally()
    batches = list(_batches(subject.data, part))
    with EdgeClient(part, address, **options) as client:
        outputs = client.stream(inputs for inputs, _, _ in batches)
        for (inputs, labels, count), output in zip(batches, outputs, strict=True):
            ran = part.manifest.part.batch or count
            if scorer.needs_own_labels:
                labels = scorer.own_labels(first_rows(_whole_models_output(subject.traced, inputs), count, ran))
            tally.add(first_rows(output, count, ran), labels, count)
    scores = tally.finish()
    return paired_accuracy(scores, [scores], changes=False).accuracy, scorer.metric


def exact_samples(subject: Subject, part: EdgePart, address: str | None, options: Mapping[str, Any]) -> int | str:
    """Compare undefended outputs over the wire with those of the halves in memory, bit for bit.

    Args:
        subject, part, address, options: as `accuracy_over_the_wire` takes them.

    Returns:
        The number of samples if all are equal, otherwise what differs.
    """
    halves = _HalvesInMemory(subject)
    without_key = {name: value for name, value in options.items() if name != "key_file"}
    seen = 0
    with _knowingly(), EdgeClient(part, address, undefended=True, **without_key) as client:
        for inputs, _, count in _batches(subject.data, part):
            if not same_values(client.infer(inputs), halves(inputs)):
                return f"undefended outputs over the wire differ from the halves in memory near sample {seen}"
            seen += count
    return seen


@contextmanager
def _knowingly() -> Iterator[None]:
    """Within: the client does not warn that nothing is defended. The tensors stay on this machine."""
    told = logging.getLogger(EdgeClient.__module__)

    def quiet(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("UNDEFENDED")

    told.addFilter(quiet)
    try:
        yield
    finally:
        told.removeFilter(quiet)


class _HalvesInMemory:
    """The undefended halves in memory, with the tuned cloud half if the plan has one."""

    def __init__(self, subject: Subject) -> None:
        halves = split(subject.traced, subject.cut)
        cloud = halves.cloud if subject.tuned is None else with_weights(halves.cloud, subject.tuned)
        self._edge: Any = halves.edge.graph_module
        self._cloud: Any = cloud.graph_module
        self._structure: Any = cloud.output_structure

    def __call__(self, inputs: tuple[Tensor, ...]) -> Any:
        """The output in a program's form. `inputs` are in the order of the model's."""
        with torch.no_grad():
            return stored_outputs(self._cloud(*self._edge(*inputs)), self._structure)


def _model_inputs(data: Data, part: EdgePart) -> tuple[Tensor, ...]:
    """Samples in the layout of the model's inputs."""
    specs = part.manifest.part.inputs
    return tuple(with_models_layout(tensor, spec) for tensor, spec in zip(data.inputs, specs, strict=True))


def _batches(data: Data, part: EdgePart) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None, int]]:
    """All samples as requests: inputs, labels, and how many samples count.

    A fixed batch size is filled up with the last sample.
    """
    size = part.manifest.part.batch or _MOST_BATCH
    for batch in data.batches(size):
        count = len(batch)
        if part.manifest.part.batch and count < size:
            filled = batch.take([min(index, count - 1) for index in range(size)])
            yield _model_inputs(filled, part), batch.labels, count
        else:
            yield _model_inputs(batch, part), batch.labels, count


def _whole_models_output(traced: TracedGraph, inputs: tuple[Tensor, ...]) -> Any:
    structure: pytree.TreeSpec = traced.module.output_structure  # type: ignore[assignment]
    with torch.no_grad():
        return pytree.tree_unflatten(traced.flat(*inputs), structure)
