"""Quantities as people write them. Parsing is strict: a number without a unit is refused."""

from __future__ import annotations

import re

from .errors import CollabplanError

_BANDWIDTH_BITS_PER_S = {"bps": 1.0, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9}
_DURATION_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_SIZE_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_MOST = 1e15
"""A petabyte, or thirty thousand years: what lies above overflows somewhere later."""

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def parse_bandwidth(text: str) -> float:
    """A bandwidth in bits per second. Units: bps, kbps, mbps, gbps (bits, powers of ten; case does not matter).

    Args:
        text: a positive number and its unit.

    Raises:
        CollabplanError: the unit is absent or unknown, or the number is not positive or above any sense.

    Examples:
        >>> parse_bandwidth("20mbps")
        20000000.0
    """
    return _parse(text, _BANDWIDTH_BITS_PER_S, "bandwidth", "20mbps", fold_case=True)


def parse_duration_ms(text: str) -> float:
    """A duration in milliseconds. Units: us, ms, s (case does not matter).

    Args:
        text: a number, which may be zero, and its unit.

    Raises:
        CollabplanError: the unit is absent or unknown, or the number is negative.

    Examples:
        >>> parse_duration_ms("2s")
        2000.0
    """
    return _parse(text, _DURATION_MS, "duration", "15ms", fold_case=True, zero=True)


def parse_size(text: str) -> int:
    """A size in bytes. Units: B, KB, MB, GB (powers of 1000) and KiB, MiB, GiB (powers of 1024).

    Args:
        text: a positive number and its unit; case matters.

    Raises:
        CollabplanError: as `parse_bandwidth`.

    Examples:
        >>> parse_size("200MB"), parse_size("1KiB")
        (200000000, 1024)
    """
    return int(_parse(text, {k: float(v) for k, v in _SIZE_BYTES.items()}, "size", "200MB"))


def _parse(
    text: str,
    units: dict[str, float],
    what: str,
    example: str,
    *,
    fold_case: bool = False,
    zero: bool = False,
) -> float:
    match = _QUANTITY.fullmatch(text)
    known = ", ".join(units)
    if match is None:
        raise CollabplanError(f"{what} {text!r} is not a number with a unit; write for example {example}")
    number, unit = match.groups()
    unit = unit.lower() if fold_case else unit
    if unit not in units:
        problem = f"has the unknown unit {unit!r}" if unit else "has no unit"
        raise CollabplanError(f"{what} {text!r} {problem}; write for example {example} (units: {known})")
    value = float(number) * units[unit]
    if value == 0 and not zero:
        raise CollabplanError(f"{what} {text!r} must be greater than zero; write for example {example}")
    if value > _MOST:
        raise CollabplanError(f"{what} {text[:40]!r} is too large; write for example {example}")
    return value
