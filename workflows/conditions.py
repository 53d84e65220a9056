"""What a search assumes about the world: the link, the device's power and how much slower the device is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..records import (
    Budgets,
    CollabplanError,
    EdgePower,
    Link,
    LinkReport,
    Objective,
    Profile,
    load,
    parse_bandwidth,
    parse_duration_ms,
)
from ..report.wording import power_text
from .checks import checked


@dataclass(frozen=True, slots=True)
class Conditions:
    """Link, slowdown and power of one search.

    Attributes:
        link: the network between device and cloud.
        edge_slowdown: factor on what the device computes; 1 where the device was profiled itself.
        power: what the device draws; None where it is neither declared nor measured.
    """

    link: Link
    edge_slowdown: float = 1.0
    power: EdgePower | None = None


_POWER_OPTIONS = {"watts": "--edge-watts", "joules_per_megabyte": "--joules-per-mb"}


def declared_power(watts: float | None, joules_per_megabyte: float | None) -> EdgePower | None:
    """What the options say that the device draws; None without watts.

    Raises:
        CollabplanError: a quantity out of range.
    """
    if watts is None:
        return None
    return checked(EdgePower, _POWER_OPTIONS, watts=watts, joules_per_megabyte=joules_per_megabyte or 0.0)


@dataclass(frozen=True, slots=True)
class Power:
    """The device's power, None if unknown, and where it comes from or why it is unknown."""

    known: EdgePower | None
    said: str


def edge_power(declared: EdgePower | None, joules_per_megabyte: float | None, edge: Profile, slowdown: float) -> Power:
    """The power as declared, else as the edge's profile measured it; the radio's joules are declared in any case.

    Args:
        edge: its profile.
        slowdown: other than 1, the profile was made on another machine than the edge, and so was its power measured.

    Raises:
        CollabplanError: a radio without watts, or a quantity out of range.
    """
    measured = edge.power
    if measured is None:
        missing = f"its profile has no measured power ({edge.power_missing or 'it is older'})"
    else:
        missing = f"the power measured with its profile is not that of an edge declared {slowdown:g} times slower"
    power = declared
    if power is None and measured is not None and slowdown == 1:
        power = checked(
            EdgePower,
            _POWER_OPTIONS,
            watts=measured.watts,
            joules_per_megabyte=joules_per_megabyte or 0.0,
            source=measured.source,
        )
    if power is None and joules_per_megabyte is not None:
        raise CollabplanError(f"--joules-per-mb needs --edge-watts too: {missing}")
    return Power(power, missing if power is None else f"edge {power_text(power)}")


def declared_link(
    bandwidth: str | None, rtt: str | None, bandwidth_spread: float = 0.0, rtt_spread: float = 0.0
) -> Link:
    """The link of the options; what they leave out is assumed, and the link is then called so.

    Raises:
        CollabplanError: a quantity without its unit, or out of range.
    """
    assumed = Link.assumed()
    return checked(
        Link,
        {"bandwidth_spread": "--bandwidth-spread", "rtt_spread": "--rtt-spread"},
        bandwidth_bps=parse_bandwidth(bandwidth) if bandwidth is not None else assumed.bandwidth_bps,
        rtt_ms=parse_duration_ms(rtt) if rtt is not None else assumed.rtt_ms,
        bandwidth_spread=bandwidth_spread,
        rtt_spread=rtt_spread,
        source="declared" if bandwidth is not None and rtt is not None else "assumed",
    )


def chosen_link(
    file: Path | None, bandwidth: str | None, rtt: str | None, bandwidth_spread: float, rtt_spread: float
) -> Link:
    """The link that was measured (`--link`), else the declared one.

    Raises:
        CollabplanError: both, or as `declared_link` and `load`.
    """
    if file is None:
        return declared_link(bandwidth, rtt, bandwidth_spread, rtt_spread)
    declared = {
        "--bandwidth": bandwidth, "--rtt": rtt, "--bandwidth-spread": bandwidth_spread, "--rtt-spread": rtt_spread
    }  # fmt: skip
    given = [option for option, value in declared.items() if value]
    if given:
        raise CollabplanError(f"--link brings bandwidth, round trip and spread as measured; leave {given[0]} out")
    return load(LinkReport, file).link


def require_power(budgets: Budgets, objectives: tuple[Objective, ...], power: Power) -> None:
    """Check that the device's power is known if energy is a budget or an objective.

    Raises:
        CollabplanError: it is unknown; the message says why.
    """
    asked = "--max-energy-mj" if budgets.max_edge_energy_mj is not None else "the objective energy"
    if (budgets.max_edge_energy_mj is not None or "energy" in objectives) and power.known is None:
        raise CollabplanError(f"{asked} needs --edge-watts: {power.said}")


def require_slowdown(slowdown: float, edge: Path | None, cloud: Path | None) -> None:
    """Check that the slowdown is a factor, and that the device itself was not profiled.

    Raises:
        CollabplanError: it is not greater than 0, or both machines have a profile of their own.
    """
    if not 0 < slowdown < float("inf"):
        raise CollabplanError(f"--edge-slowdown {slowdown:g} is not possible: it must be greater than 0")
    if slowdown != 1 and edge is not None and cloud is not None:
        raise CollabplanError("--edge-slowdown is for one profile; with --edge-profile the edge itself was measured")
