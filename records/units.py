"""Quantities as people write them: `20kB`, `200 MB`, `8 Mbit/s`, `15ms`, `1.5 s`.

A number alone is refused, unless the option's own name says its unit (`--budget-ms 50`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import CollabplanError

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_BITS = {
    f"{prefix}{unit}": factor for prefix, factor in _PREFIXES.items() for unit in ("bps", "bit/s", "bits/s", "b/s")
}
_BYTES = {
    f"{mark}{unit}": 8 * factor
    for prefix, factor in _PREFIXES.items()
    for mark in {prefix, prefix.upper()}
    for unit in ("B/s", "Bps")
}
_DURATION_MS = {
    "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "sec": 1e3, "min": 6e4, "h": 3.6e6, "d": 8.64e7,
}  # fmt: skip
_TIME_LIMIT_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZE_BYTES = {
    "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-zµμ/]*)\s*")
_RATES, _TIMES, _SIZES = "kbps, Mbps, Gbps, Mbit/s, MB/s", "us, ms, s, min, h, d", "B, kB, MB, GB, KiB, MiB, GiB"
_MOST = 1e15
"""A petabyte, or thirty thousand years: what lies above overflows somewhere later."""


def parse_bandwidth(text: str) -> float:
    """A bandwidth in bits per second. Units: bps, kbps, Mbps, Gbps, Mbit/s, Mb/s (bits in any case), MB/s, MBps.

    A capital B before `/s` or `ps` is bytes. Powers of ten.

    Args:
        text: a positive number and its unit.

    Raises:
        CollabplanError: the unit is absent or unknown, or the number is not positive or above any sense.

    Examples:
        >>> parse_bandwidth("20mbps")
        20000000.0
        >>> parse_bandwidth("8 Mbit/s"), parse_bandwidth("1 MB/s")
        (8000000.0, 8000000.0)
    """
    return _parse(text, {**_BITS, **_BYTES}, "bandwidth", "20mbps", _RATES)


def parse_duration_ms(text: str) -> float:
    """A duration in milliseconds. Units: us, ms, s, min, h, d (case does not matter).

    Args:
        text: a number, which may be zero, and its unit.

    Raises:
        CollabplanError: the unit is absent or unknown, or the number is negative.

    Examples:
        >>> parse_duration_ms("2s")
        2000.0
    """
    return _parse(text, _DURATION_MS, "duration", "15ms", _TIMES, zero=True)


def parse_time_limit_s(text: str) -> float | None:
    """How long a command may take, in seconds; None for `none`, no limit. Units: s, m (or min), h.

    Args:
        text: a positive number and its unit, or `none`; case does not matter.

    Raises:
        CollabplanError: as `parse_bandwidth`.

    Examples:
        >>> parse_time_limit_s("15m"), parse_time_limit_s("none")
        (900.0, None)
    """
    if text.strip().lower() == "none":
        return None
    return _parse(text, _TIME_LIMIT_S, "time limit", "15m, or none", "s, m, min, h")


def parse_size(text: str) -> int:
    """A size in bytes. Units: B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB (powers of 1024).

    Args:
        text: a positive number and its unit; case matters.

    Raises:
        CollabplanError: as `parse_bandwidth`.

    Examples:
        >>> parse_size("200MB"), parse_size("1KiB")
        (200000000, 1024)
    """
    return int(_parse(text, _SIZE_BYTES, "size", "200MB", _SIZES, fold_case=False))


def parse_number(text: str, unit: str) -> float:
    """A duration or a size for an option whose unit is fixed: a number in that unit, or a quantity with its own.

    Args:
        text: as it was typed.
        unit: `ms` or `s`, or a size such as `GB`.

    Raises:
        CollabplanError: it is no number, or of another kind.

    Examples:
        >>> parse_number("1.5 s", "ms"), parse_number("50", "ms"), parse_number("500 MB", "GB")
        (1500.0, 50.0, 0.5)
    """
    try:
        return float(text)
    except ValueError:
        pass
    if unit in _DURATION_MS:
        return parse_duration_ms(text) / _DURATION_MS[unit]
    return parse_size(text) / _SIZE_BYTES[unit]


def _parse(
    text: str,
    units: Mapping[str, float],
    what: str,
    example: str,
    known: str,
    *,
    fold_case: bool = True,
    zero: bool = False,
) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise CollabplanError(f"{what} {text!r} is not a number with a unit; write for example {example}")
    number, unit = match.groups()
    if unit not in units and fold_case:
        unit = unit.lower()
    if unit not in units:
        problem = f"has the unknown unit {unit!r}" if unit else "has no unit"
        raise CollabplanError(f"{what} {text!r} {problem}; write for example {example} (units: {known})")
    value = float(number) * units[unit]
    if value == 0 and not zero:
        raise CollabplanError(f"{what} {text!r} must be greater than zero; write for example {example}")
    if value > _MOST:
        raise CollabplanError(f"{what} {text[:40]!r} is too large; write for example {example}")
    return value
