"""Checks what a target file promises before the long work: data that fit, and a metric that fits the outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..estimators import EdgeActivations
from ..graph import TracedGraph
from ..graph.signature import ragged_outputs
from ..planner.accuracy import Evaluate, ScaleOfMetric, Scorer, beside_constant, require_enough
from ..planner.readings import Reading, concatenated
from ..planner.recognise import read_outputs, recognised
from ..planner.suggestions import UndecidedError
from ..records import CollabplanError, CutError
from ..targets import Data
from ..targets.target import Finding, Target, TargetData
from .reporter import Reporter

SAMPLES = 32
"""How many the model is run on, to see what it answers."""

READ = 128
"""How many are read of a set that hands them out one by one."""


def check_promises(target: Target, traced: TracedGraph, reporter: Reporter) -> None:
    """Read the target's data and score the undefended model on a few samples, within seconds; say what accuracy is.

    Raises:
        TargetError: data that do not fit the model or one another, or a metric that does not fit its outputs.
    """
    if target.evaluate is None and target.declared.get("validation_data") is None:
        return
    target.require_validation_data()
    with reporter.progress("checking the data and the metric"):
        data = target.load_data(traced, most=READ)
        accuracy = check_accuracy(target, traced, data)
    reporter.note("Data, at a first look", (accuracy,))


def check_accuracy(target: Target, traced: TracedGraph, data: TargetData) -> Finding:
    """What accuracy is for this model and data, with the undefended model's on a few samples.

    Raises:
        TargetError: there is no metric, or its scores are none.
        CutError: and no plan can be made anyway, since values decide the shape of what the model returns.
    """
    try:
        return _accuracy(target, traced, data)
    except CollabplanError as error:
        ragged = ragged_outputs(traced)
        if ragged is None:
            raise
        raise CutError(f"no plan can be made: {ragged}") from error


def _accuracy(target: Target, traced: TracedGraph, data: TargetData) -> Finding:
    activations = _runs(traced)
    few = _chosen(data.validation)
    try:
        metric = target.evaluate or recognised(activations, data.search, data.confirm, samples=SAMPLES)
    except UndecidedError as error:
        if data.whole and len(data.validation) <= SAMPLES:
            raise
        return Finding("accuracy", f"`optimize` decides from all samples; by the first {SAMPLES}, {error}")
    scorer = Scorer(metric)
    outputs = concatenated([made for _, made in read_outputs(activations, few)])
    scores = scorer.call(outputs, scorer.own_labels(outputs) if scorer.needs_own_labels else few.labels, len(few))
    if scores.numel() == 1 and len(few) > 1 and data.whole:
        require_enough(scorer.metric, min(len(data.search), len(data.confirm)))
    score = float(scores.nanmean())
    shown = f"{score:.3f}" if isinstance(metric, Reading) else f"{score:.3g}"
    how = f"{scorer.metric}, {shown} undefended on {len(few)} samples"
    if not isinstance(metric, Reading):
        scale = ScaleOfMetric.of(scorer, outputs, few.labels, len(few))
        beside = "" if scale is None else f"; {scale.others:.3g} with the answers to other samples"
        return Finding("accuracy", f"by the target's own metric {how}{beside}")
    counted = scores.double().numpy()[~scores.isnan().numpy()]
    # So few samples show no small gain; that they show none at all is worth a word.
    poor = beside_constant(metric, counted, few.labels, few=True) if len(counted) else None
    return Finding("accuracy", "; ".join([how, *metric.notes, *([poor] if poor else [])]))


def metric_of(target: Target, traced: TracedGraph, data: TargetData) -> Evaluate | Reading:
    """What accuracy is, decided over all validation data as the search decides it.

    Raises:
        TargetError: in no way that is right.
    """
    return target.evaluate or recognised(_runs(traced), data.search, data.confirm)


def reading_of(target: Target, traced: TracedGraph, data: TargetData) -> Reading | None:
    """As `metric_of`; None where the target has a metric of its own."""
    metric = metric_of(target, traced, data)
    return metric if isinstance(metric, Reading) else None


def _runs(traced: TracedGraph) -> EdgeActivations:
    return EdgeActivations(traced, cache_bytes=0, batch_size=SAMPLES)


def _chosen(data: Data) -> Data:
    """A few samples, evenly over the order of their labels: the rare ones are among them."""
    labels: Tensor | None = data.labels
    order = torch.arange(len(data)) if labels is None or labels.numel() != len(data) else labels.reshape(-1).argsort()
    return data.take(order[torch.linspace(0, len(data) - 1, min(SAMPLES, len(data))).round().long()])
