"""Controls: channels of known information, for every estimator and the ridge index. A report carries the results.

A control that an estimator cannot resolve, or does not look at, is noted and counts as neither passed nor failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import CollabplanError, ControlRow
from ..records.revisions import Part
from .interface import Channel, Estimate, Estimator
from .ridge import Kernels, ridge_index
from .secrets import Components

CONTROLS = Part("controls")
"""Raise its revision whenever the same estimators are checked differently."""

GAUSSIAN_FEATURES = 3072
GAUSSIAN_NATS = (1.0, 3.0, 5.0)
DISCRETE_POINTS = 10
NOTHING_NATS = 0.05
"""The most that a learned estimator may find in a channel without information."""

ROUNDING_NATS = 1e-5
"""Slack of an interval without width, such as that of a discrete source: it is computed in float32."""

NOTHING_INDEX = 0.02
EVERYTHING_INDEX = 0.95

Judge = Callable[[Estimate, float, bool], bool]
"""From an estimate, the truth in nats, and whether the channel is Gaussian."""

JUDGES: dict[str, Judge] = {
    "kde": lambda found, truth, gaussian: _inside(found, truth) if gaussian else abs(found.value - truth) <= 0.02,
    "sandwich": lambda found, truth, _: _inside(found, truth) and abs(found.value - truth) <= 0.02 + 0.03 * truth,
    "logdet": lambda found, truth, _: abs(found.value - truth) <= 0.1 * truth,
    "ksg": lambda found, truth, _: abs(found.value - truth) <= 0.1 * truth + 0.05,
    "mine": lambda found, truth, _: (found.lower or 0.0) <= truth + 0.1,
}
"""Whether a value passes, by estimator. Any other estimator passes if the truth is between its ends."""

LEARNED = ("mine", "ksg")
"""Estimators that look at X. To all others X only labels the samples, so they do not notice shuffled pairs."""


@dataclass(frozen=True, eq=False)
class _Control:
    name: str
    channel: Channel
    truth: float | None
    pairs_matter: bool = False
    gaussian: bool = True


def run_controls(
    estimators: Sequence[Estimator], *, generator: torch.Generator, samples: int = 2000, ridge: bool = True
) -> tuple[ControlRow, ...]:
    """Run every estimator, and the ridge index, on every control.

    Args:
        estimators: which to check.
        generator: of the channels and of the estimators' draws; on the CPU.
        samples: of each control.
        ridge: whether to check the leakage index as well.

    Raises:
        CollabplanError: fewer than 200 samples.

    Examples:
        >>> import torch
        >>> from collabplan.estimators import estimator_named, run_controls
        >>> rows = run_controls([estimator_named("kde")], generator=torch.Generator().manual_seed(0), samples=200)
        >>> [row.control for row in rows if row.passed is False]
        []
    """
    if samples < 200:
        raise CollabplanError(f"controls need at least 200 samples, got {samples}; give a larger --samples")
    controls = _controls(samples, generator)
    rows = [_row(control, estimator, generator) for control in controls for estimator in estimators]
    return (*rows, *(_ridge_rows(samples, generator) if ridge else ()))


def _controls(samples: int, generator: torch.Generator) -> list[_Control]:
    small = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    other = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    order = torch.randperm(samples, generator=generator)
    controls = [
        _Control("constant T", Channel.from_rows(small, torch.ones(samples, 4), 1.0), 0.0),
        _Control("independent T", Channel.from_rows(small, other, 1.0), 0.0, pairs_matter=True),
        _Control("shuffled pairs", Channel.from_rows(small[order], small, 1.0), 0.0, pairs_matter=True),
        _Control("identity cut", Channel.from_rows(small, small, 1e-4), None),
    ]
    for nats in GAUSSIAN_NATS:
        rows = torch.randn(samples, GAUSSIAN_FEATURES, generator=generator)
        rows *= math.sqrt(math.expm1(2 * nats / GAUSSIAN_FEATURES))
        controls.append(_Control(f"Gaussian channel, {nats:g} nats", Channel.from_rows(rows, rows, 1.0), nats))
    points = torch.nn.functional.one_hot(torch.arange(samples).remainder(DISCRETE_POINTS), DISCRETE_POINTS).double()
    discrete = Channel.from_rows(points, points * 50, 1.0)
    controls.append(_Control("10-point source", discrete, math.log(DISCRETE_POINTS), gaussian=False))
    return controls


def _row(control: _Control, estimator: Estimator, generator: torch.Generator) -> ControlRow:
    name = estimator.name
    not_applicable = ""
    if control.pairs_matter and name in JUDGES and name not in LEARNED:
        not_applicable = "does not look at X"
    elif not control.gaussian and name == "logdet":
        not_applicable = "not Gaussian"
    if not_applicable:
        return ControlRow(
            control=control.name, estimator=name, truth=control.truth, value=None, passed=None, note=not_applicable
        )
    try:
        found = estimator.estimate(control.channel, generator)
    except CollabplanError as error:  # a refusal is no wrong answer
        return ControlRow(
            control=control.name, estimator=name, truth=control.truth, value=None, passed=None, note=str(error)
        )
    passed, note = _judged(control, name, found)
    return ControlRow(
        control=control.name, estimator=name, truth=control.truth, value=found.value, lower=found.lower,
        upper=found.upper, passed=passed, note=note,
    )  # fmt: skip


def _judged(control: _Control, name: str, found: Estimate) -> tuple[bool | None, str]:
    if control.truth is None:
        # Everything crosses: an estimator that can saturate must say so.
        return (found.saturated, "must say saturated") if name in ("kde", "sandwich") else (None, "no finite truth")
    if control.name == "constant T":
        return found.value == 0, "exactly 0"
    if control.truth == 0:
        return found.value <= NOTHING_NATS, f"at most {NOTHING_NATS}"
    if found.saturated:
        return None, "saturated, and says so"
    if name in JUDGES:
        return JUDGES[name](found, control.truth, control.gaussian), "may find a fraction" if name == "mine" else ""
    if found.lower is None and found.upper is None:
        return None, "states no ends to be held against"  # every truth lies between no ends
    return _inside(found, control.truth), ""


def _inside(found: Estimate, truth: float) -> bool:
    low = -math.inf if found.lower is None else found.lower
    high = math.inf if found.upper is None else found.upper
    return low - ROUNDING_NATS <= truth <= high + ROUNDING_NATS


def _ridge_rows(samples: int, generator: torch.Generator) -> list[ControlRow]:
    images = torch.rand(samples, 8, generator=generator, dtype=torch.float64) @ torch.rand(
        8, 64, generator=generator, dtype=torch.float64
    )
    images = (images - images.min()) / (images.max() - images.min())
    components = Components.of(images)
    unrelated = torch.randn(samples, 64, generator=generator, dtype=torch.float64)
    releases: dict[str, tuple[Tensor, float]] = {
        "constant T": (torch.ones(samples, 4), 0.0),
        "independent T": (unrelated, 0.0),
        "shuffled pairs": (images[torch.randperm(samples, generator=generator)], 0.0),
        "identity cut": (images, 1.0),
    }
    rows = []
    for name, (release, truth) in releases.items():
        centred = release.double() - release.double().mean(dim=0)
        index = ridge_index([Kernels(centred @ centred.T)], components).index
        passed = index.value >= EVERYTHING_INDEX if truth else index.value <= NOTHING_INDEX
        note = f"at least {EVERYTHING_INDEX}" if truth else f"at most {NOTHING_INDEX}"
        rows.append(
            ControlRow(
                control=name,
                estimator="ridge",
                truth=truth,
                value=index.value,
                lower=index.low,
                upper=index.high,
                passed=passed,
                note=note,
            )
        )
    return rows
