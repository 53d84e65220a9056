"""What every estimator of mutual information must do. Call `check_estimator` on your own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..records import CollabplanError
from ..records.revisions import check_declared
from .interface import Channel, Estimate, Estimator

SAMPLES = 300
NATS = 1.0

TOLERANCE_NATS = 0.6
"""At 1 nat in two dimensions: wide enough for the middle of a loose pair, or for a learned lower bound."""


def check_estimator(estimator: Estimator) -> None:
    """Run every check on one estimator.

    Args:
        estimator: an instance of your class.

    Raises:
        AssertionError: the first check that fails; the message says what was expected and what came.

    Examples:
        >>> from collabplan.estimators import check_estimator, estimator_named
        >>> check_estimator(estimator_named("kde"))
    """
    for check in CHECKS:
        check(estimator)


def gaussian_channel(*, real_noise: bool = True, samples: int = SAMPLES) -> Channel:
    """A channel of 1 nat in two dimensions."""
    generator = torch.Generator().manual_seed(11)
    rows = torch.randn(samples, 2, generator=generator, dtype=torch.float64) * math.sqrt(math.expm1(NATS))
    return Channel.from_rows(rows, rows, 1.0, real_noise=real_noise)


def _estimate(estimator: Estimator, channel: Channel) -> Estimate:
    return estimator.estimate(channel, torch.Generator().manual_seed(5))


def check_declaration(estimator: Estimator) -> None:
    """It has a name, and its class an integer revision."""
    check_declared(estimator, "an estimator")


def check_constant(estimator: Estimator) -> None:
    """All three figures are exactly 0 for a constant T."""
    inputs = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(1))
    found = _estimate(estimator, Channel.from_rows(inputs, torch.ones(SAMPLES, 3), 1.0))
    figures = [figure for figure in (found.lower, found.value, found.upper) if figure is not None]
    assert all(figure == 0.0 for figure in figures), f"{estimator.name}: a constant T gives exactly 0, got {figures}"


def check_known_truth(estimator: Estimator) -> None:
    """At 1 nat in two dimensions the value is close, and the ends are finite and in order."""
    found = _estimate(estimator, gaussian_channel())
    assert abs(found.value - NATS) <= TOLERANCE_NATS, (
        f"{estimator.name}: {found.value:.3f} where the truth is {NATS} nat"
    )
    if found.lower is not None:
        assert found.lower <= found.value, f"{estimator.name}: lower end {found.lower} above the value {found.value}"
        assert found.lower <= NATS, f"{estimator.name}: lower end {found.lower} above the truth {NATS}"
    if found.upper is not None:
        assert found.upper >= found.value, f"{estimator.name}: upper end {found.upper} below the value {found.value}"
        assert found.upper >= NATS, f"{estimator.name}: upper end {found.upper} below the truth {NATS}"
    assert not found.saturated, f"{estimator.name}: {SAMPLES} samples resolve 1 nat, and it says saturated"


def check_description(estimator: Estimator) -> None:
    """It states samples, units and assumptions, and calls nothing a bound without real noise."""
    found = _estimate(estimator, gaussian_channel(real_noise=False))
    assert found.samples == SAMPLES, f"{estimator.name}: says {found.samples} samples of {SAMPLES}"
    assert found.units == "nats", f"{estimator.name}: units {found.units!r}, expected nats"
    assert found.assumes, f"{estimator.name}: says nothing about what it assumes"
    assert found.meaning == "surrogate", f"{estimator.name}: without real noise there is no {found.meaning}"


def check_repeatable(estimator: Estimator) -> None:
    """The same seed gives the same estimate, and the channel is unchanged."""
    channel = gaussian_channel()
    before = channel.distances.clone(), channel.inputs.clone()
    first, second = _estimate(estimator, channel), _estimate(estimator, channel)
    assert first == second, f"{estimator.name}: the same seed gave {first.value} and {second.value}"
    unchanged = torch.equal(before[0], channel.distances) and torch.equal(before[1], channel.inputs)
    assert unchanged, f"{estimator.name}: it changed the channel that it was given"


def check_refusal(estimator: Estimator) -> None:
    """One sample is refused with the package's own error."""
    try:
        found = _estimate(estimator, gaussian_channel(samples=1))
    except CollabplanError:
        return
    raise AssertionError(f"{estimator.name}: one sample must be refused with CollabplanError, got {found.value}")


CHECKS: tuple[Callable[[Estimator], None], ...] = (
    check_declaration, check_constant, check_known_truth, check_description, check_repeatable, check_refusal
)  # fmt: skip
"""The suite, for a test with a case for each check."""
