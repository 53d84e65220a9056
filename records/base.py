"""The base of all records (frozen, strict about unknown fields, units in the field names), intervals and timings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler


def _end_at_first_fault(schema: Any) -> None:
    """Set `fail_fast` of every list in a schema of pydantic-core."""
    if isinstance(schema, dict):
        if schema.get("type") in ("list", "tuple", "set", "frozenset"):
            schema["fail_fast"] = True
        schema = list(schema.values())
    if isinstance(schema, (list, tuple)):
        for part in schema:
            _end_at_first_fault(part)


class Record(BaseModel):
    """A frozen pydantic model that refuses unknown fields, so a foreign file cannot pass for ours.

    It refuses NaN and infinity in every number: a failed measurement is never a figure. A list is refused at its first
    fault: pydantic takes a kilobyte for each, and a forged file of 80 KB holds 200,000.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        schema = handler(source)
        _end_at_first_fault(schema)
        return schema


class Interval(Record):
    """A figure with the ends of its interval, in the unit of the field's name.

    `level` is the nominal coverage. The interval covers the sampling of data and draws. It says
    nothing about another data distribution.
    """

    value: float
    low: float
    high: float
    level: float = Field(default=0.95, gt=0, lt=1)


class Timing(Record):
    """The latency of one thing in milliseconds: raw samples and their summary.

    `disturbed_ms` are runs of a profile that took so much longer than the quick ones that another program must have
    run: they are kept, and the summary does not count them. The median of a profile may lie beside that of its samples,
    because longer prefixes take no less time than shorter ones.
    """

    p50_ms: float = Field(ge=0)
    p95_ms: float = Field(ge=0)
    iqr_ms: float = Field(ge=0)
    samples_ms: tuple[float, ...]
    disturbed_ms: tuple[float, ...] = ()

    @classmethod
    def from_samples(cls, samples_ms: list[float]) -> Timing:
        """Summarise raw samples. Quantiles interpolate linearly.

        Args:
            samples_ms: milliseconds, in the order of measuring.

        Raises:
            ValueError: no samples.

        Examples:
            >>> Timing.from_samples([1.0, 2.0, 4.0]).p50_ms
            2.0
        """
        if not samples_ms:
            raise ValueError("a timing needs at least one sample")
        ordered = sorted(samples_ms)
        return cls(
            p50_ms=quantile(ordered, 0.5),
            p95_ms=quantile(ordered, 0.95),
            iqr_ms=quantile(ordered, 0.75) - quantile(ordered, 0.25),
            samples_ms=tuple(samples_ms),
        )

    @property
    def scatters(self) -> bool:
        """True where the interquartile range exceeds 10 % of the median, so the median is unreliable."""
        return self.iqr_ms > 0.1 * self.p50_ms


def quantile(ordered: list[float], q: float) -> float:
    """The q-quantile of ascending values, linear between neighbours.

    Examples:
        >>> quantile([0.0, 10.0], 0.25)
        2.5
    """
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
