"""The search space: cut x dropout kind x rate, as points that each have exactly one spelling.

Rate 0 is no dropout whatever the kind, and a cut may admit no kind at all (only integers cross, or
nothing that dropout could make more private): such spellings coincide in one point, so that no
candidate is evaluated twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ..records import Candidate, CollabplanError, DefenseSpec, DropoutKind

DEFAULT_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_KINDS: tuple[DropoutKind, ...] = ("none", "element", "channel")


@dataclass(frozen=True, slots=True)
class Point:
    """One (cut, dropout) before it is evaluated. `rate` is 0 exactly where `dropout` is none."""

    cut_id: str
    dropout: DropoutKind = "none"
    rate: float = 0.0

    @property
    def key(self) -> str:
        """Names the point in seeds and messages: equal points, equal keys."""
        return f"{self.cut_id}|{self.dropout}|{self.rate:.6f}"

    @property
    def undefended(self) -> bool:
        """True where nothing is dropped (the quantizer still applies)."""
        return self.dropout == "none"

    def spec(self, bits: int | None) -> DefenseSpec:
        """The defense of this point with a quantizer of `bits`; its ranges are not calibrated yet."""
        return DefenseSpec(dropout=self.dropout, rate=self.rate, bits=bits)


def point_of(candidate: Candidate) -> Point:
    """The point that a candidate was evaluated at."""
    return Point(candidate.cut_id, candidate.dropout, round(candidate.rate, 6))


@dataclass(frozen=True)
class Space:
    """The points that a search may visit.

    Attributes:
        cut_ids: searchable cuts by depth.
        kinds: by cut id, the dropout kinds that it admits beside none.
        rates: ascending dropout probabilities above 0.

    Raises:
        CollabplanError: rates that are not ascending in (0, 1).
    """

    cut_ids: tuple[str, ...]
    kinds: Mapping[str, tuple[DropoutKind, ...]]
    rates: tuple[float, ...] = DEFAULT_RATES

    def __post_init__(self) -> None:
        if list(self.rates) != sorted(set(self.rates)) or not all(0 < rate < 1 for rate in self.rates):
            raise CollabplanError(f"dropout rates must ascend strictly between 0 and 1, got {self.rates}")

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every point, grouped by cut (edge activations are then computed once a cut), by depth."""
        return tuple(point for cut_id in self.cut_ids for point in self.points_of(cut_id))

    def points_of(self, cut_id: str) -> list[Point]:
        """The points of one cut: undefended first, then each kind by rate."""
        defended = [Point(cut_id, kind, round(rate, 6)) for kind in self.kinds.get(cut_id, ()) for rate in self.rates]
        return [Point(cut_id), *defended]

    def spelled(self, cut_id: str, kind: DropoutKind, rate_index: int) -> Point:
        """The point that a sampler's spelling means; `rate_index` 0 is rate 0, i is `rates[i - 1]`."""
        admitted = self.kinds.get(cut_id, ())
        if rate_index == 0 or not admitted:
            return Point(cut_id)
        return Point(cut_id, kind if kind in admitted else admitted[0], round(self.rates[rate_index - 1], 6))

    def parameters(self, point: Point) -> dict[str, int | float | str]:
        """The point as Optuna's parameters: cut (index by depth), dropout, rate."""
        return {"cut": self.cut_ids.index(point.cut_id), "dropout": point.dropout, "rate": point.rate}

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions of `parameters`."""
        return {
            "cut": IntDistribution(0, max(len(self.cut_ids) - 1, 0)),
            "dropout": CategoricalDistribution(_KINDS),
            "rate": _rate_distribution(self.rates),
        }


def _rate_distribution(rates: Sequence[float]) -> FloatDistribution:
    """Stepped where the rates are multiples of the first, else any rate up to the last."""
    if not rates:
        return FloatDistribution(0.0, 0.0)
    even = all(abs(rate - (i + 1) * rates[0]) < 1e-9 for i, rate in enumerate(rates))
    return FloatDistribution(0.0, rates[-1], step=rates[0] if even else None)
