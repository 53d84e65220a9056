"""What sending costs besides the time per byte, in steps of size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """Sending at most `most_bytes` in total takes `ms` on top of the time per byte.

    Examples:
        >>> from collabplan.graph import Step
        >>> Step(most_bytes=14600, ms=15.0).ms
        15.0
    """

    most_bytes: float
    ms: float
