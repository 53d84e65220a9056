"""What one (cut, defense) leaks: the estimated leakage index and the KDE surrogate, as one record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..graph import Cut
from ..records import CollabplanError, CutProfile, Interval, Leakage, ResultAt
from .defenses import Defense
from .inputs import Components
from .kde import wire_information
from .ridge import ridge_index, undropped
from .wire import wire_rows

DRAWS = 3


def by_definition(cut: Cut | CutProfile, *, result_at: ResultAt = "edge") -> Leakage | None:
    """The leakage of a cut that needs no measurement, else None.

    A raw private input that crosses (or an invertible view of one) is 1, whatever a defense does to it and an
    estimator says. Nothing private crossing is 0: only public tensors, or the edge-only cut whose result stays at
    the edge.
    """
    if any(crossing.raw_input for crossing in cut.crossing):
        return _certain(1.0)
    nothing_sent = cut.kind == "edge-only" and result_at == "edge"
    if nothing_sent or all(crossing.public for crossing in cut.crossing):
        return _certain(0.0)
    return None


def estimate_leakage(
    rows: Sequence[Tensor],
    inputs: Components | Tensor | Sequence[Tensor],
    defense: Defense,
    cut: Cut | CutProfile,
    *,
    generator: torch.Generator,
    draws: int = DRAWS,
    result_at: ResultAt = "edge",
) -> Leakage:
    """The leakage of `cut` under `defense`.

    A private crossing that is neither raw nor floating (positions of a maximum, for example) is measured
    with the rest, as it crosses: undefended.

    Args:
        rows: edge activations laid back to samples: one tensor per crossing of the cut (public ones may be
            anything), or one per private crossing `[N, *sample_shape]`.
        inputs: the same samples' private inputs in [0, 1], `[N, d]` or one such per private input; or their
            `Components`, computed once for many calls. With several private inputs the worst index counts.
        defense: calibrated, over `cut.crossing`.
        generator: draws masks and divides samples; on the CPU.
        draws: fresh masks, each tested on another fifth of the samples.
        result_at: where the model's output is wanted; matters for the edge-only cut alone.

    Returns:
        The record. `index.high` is what a budget should see: the attacker here is a lower bound.

    Raises:
        CollabplanError: rows, inputs and crossings that do not fit together, NaN or infinity in the rows, too
            few samples, or samples whose private input is always the same.
    """
    known = by_definition(cut, result_at=result_at)
    if known is not None:
        return known
    private = defense.private
    kept = [row.detach().cpu() for row in _private_rows(rows, defense)]
    components = inputs if isinstance(inputs, Components) else Components.of(inputs)
    _require_fit(kept, private, len(components))
    order = torch.randperm(len(components), generator=generator)
    index = ridge_index(kept, components, private, generator=generator, draws=draws)
    clean = wire_rows(private, undropped(private).release(kept, generator)).take(order)
    information = wire_information(clean, private, generator=generator, draws=draws)
    return Leakage(
        index=index.index,
        status="estimated",
        information_low_nats=information.low_nats,
        information_high_nats=information.high_nats,
        information_is="surrogate",
        saturation_nats=information.saturation_nats,
        saturated=information.saturated,
        sample_count=index.samples,
    )


def _certain(value: float) -> Leakage:
    return Leakage(index=Interval(value=value, low=value, high=value), status="by-definition", sample_count=0)


def _private_rows(rows: Sequence[Tensor], defense: Defense) -> list[Tensor]:
    crossing, private = defense.crossing, defense.private.crossing
    if len(rows) == len(crossing):
        return [row for row, crossed in zip(rows, crossing, strict=True) if not crossed.public]
    if len(rows) == len(private):
        return list(rows)
    names = ", ".join(crossed.name for crossed in private)
    raise CollabplanError(f"expected rows of the {len(private)} private crossings ({names}), got {len(rows)} tensors")


def _require_fit(rows: Sequence[Tensor], private: Defense, count: int) -> None:
    for row, crossing in zip(rows, private.crossing, strict=True):
        if tuple(row.shape) != (count, *crossing.sample_shape):
            raise CollabplanError(
                f"rows of {crossing.name} have shape {tuple(row.shape)}, expected {(count, *crossing.sample_shape)}: "
                "samples first, as `EdgeActivations.rows` gives them"
            )
        if not bool(torch.isfinite(row).all()):
            raise CollabplanError(
                f"activations at {crossing.name} hold NaN or infinity; check the weights and the data"
            )
