"""Which profiles `optimize` plans with: files given, the last one made here, or one made now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import (
    CollabplanError,
    EdgePower,
    Link,
    LinkReport,
    MismatchError,
    Profile,
    load,
    parse_bandwidth,
    parse_duration_ms,
)
from ..targets.input_options import InputOptions
from .checks import checked
from .workspace import Workspace, require_unchanged

if TYPE_CHECKING:
    from ..targets.target import Target


@dataclass(frozen=True, slots=True)
class Profiles:
    """The edge's and the cloud's profile (one profile twice for a single machine), and where they lie."""

    edge: Profile
    cloud: Profile
    said: str

    @property
    def single(self) -> bool:
        """True where one profile stands for both machines."""
        return self.edge is self.cloud


def given_profiles(edge: Path | None, cloud: Path | None) -> Profiles | None:
    """The profiles of `--edge-profile` and `--cloud-profile`; None where neither is given.

    Raises:
        RecordError: a file is not a profile.
        CollabplanError: one file alone that is of one role only.
    """
    if edge is not None and cloud is not None:
        return Profiles(load(Profile, edge), load(Profile, cloud), f"profiles {edge} (edge) and {cloud} (cloud)")
    path = edge or cloud
    if path is None:
        return None
    profile = load(Profile, path)
    require_both_roles(profile, path)
    return Profiles(profile, profile, f"profile {path}")


def last_profile(workspace: Workspace) -> Profiles:
    """The profile made last here, refused where its target's file has changed since.

    Raises:
        RecordError: there is none, or it is damaged.
        TargetError: the target's file is gone or another.
    """
    profile, path = workspace.last_profile()
    require_both_roles(profile, path)
    require_unchanged(profile, path)
    return Profiles(profile, profile, f"last profile {path} of {profile.target.spec}")


def fitting_profile(workspace: Workspace, target: Target) -> Profiles | None:
    """The last profile made here, where it is of this very target and of both roles; else None."""
    try:
        profile, path = workspace.last_profile()
    except CollabplanError:
        return None
    before, now = profile.target, target.identity
    same_file = before.file_sha256 == now.file_sha256 and before.spec == now.spec
    same_inputs = InputOptions.kept_in(before.options) == InputOptions.kept_in(now.options)
    if profile.role != "both" or not same_file or not same_inputs:
        return None
    return Profiles(profile, profile, f"last profile {path} (the target has not changed since)")


def require_both_roles(profile: Profile, path: Path) -> None:
    """Refuse one profile for two machines where it measured one half only."""
    if profile.role == "both":
        return
    other = "cloud" if profile.role == "edge" else "edge"
    raise MismatchError(
        f"profile {path} is of role {profile.role} alone; give --{profile.role}-profile and --{other}-profile"
    )


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
    """What is known of the edge's power, None for nothing, and where it is from or why it is not known."""

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
    from .tables import power_text

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
