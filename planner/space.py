"""The search space: cut x dropout kind x rate x wire, as points that each have exactly one spelling.

Rate 0 is no dropout whatever the kind, and a cut may admit no kind at all (only integers cross, or
nothing that dropout could make more private): such spellings coincide in one point, so that no
candidate is evaluated twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ..defenses.projection import is_whole
from ..records import Candidate, CollabplanError, DefenseSpec, DropoutKind, MaskKind, NoiseKind

DEFAULT_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_KINDS: tuple[DropoutKind, ...] = ("none", "element", "channel")


@dataclass(frozen=True, slots=True)
class Wire:
    """What is done to numbers beside dropout.

    Only a share `kept` of the directions is released at all, or from 2 on so many of the whole tensor; noise of
    `noise_std`, a share of the range, is added after dropout, and then a quantizer of `bits` rounds.
    """

    bits: int | None = 8
    noise: NoiseKind = "none"
    noise_std: float = 0.0
    kept: float = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One (cut, defense) before it is evaluated. `rate` is 0 exactly where `dropout` is none."""

    cut_id: str
    dropout: DropoutKind = "none"
    rate: float = 0.0
    wire: Wire = Wire()

    @property
    def key(self) -> str:
        """Names the point in seeds and messages: equal points, equal keys."""
        wire = "" if self.wire == Wire() else f"|{self.wire.bits}|{self.wire.noise}|{self.wire.noise_std:.6f}"
        kept = "" if self.wire.kept == 1 else f"|{self.wire.kept:.6f}"
        return f"{self.cut_id}|{self.dropout}|{self.rate:.6f}{wire}{kept}"

    def spec(self, masks: MaskKind = "fresh") -> DefenseSpec:
        """The defense of this point; its ranges are not calibrated yet."""
        return DefenseSpec(
            kept=self.wire.kept,
            dropout=self.dropout,
            rate=self.rate,
            masks=masks,
            noise=self.wire.noise,
            noise_std=self.wire.noise_std,
            bits=self.wire.bits,
        )


def point_of(candidate: Candidate) -> Point:
    """The point that a candidate was evaluated at."""
    wire = Wire(candidate.bits, candidate.noise, round(candidate.noise_std, 6), round(candidate.kept, 6))
    return Point(candidate.cut_id, candidate.dropout, round(candidate.rate, 6), wire)


@dataclass(frozen=True)
class Space:
    """The points that a search may visit.

    Attributes:
        cut_ids: searchable cuts by depth.
        kinds: by cut id, the dropout kinds that it admits beside none; without cuts where nothing can be defended.
        rates: ascending dropout probabilities above 0.
        wires: what may be done to numbers beside dropout; the first, with all directions, is that of undefended
            baselines, and of cuts where nothing can be defended.
        refused: cuts and what cannot be kept there: all directions are released in its place.

    Raises:
        CollabplanError: rates that are not ascending in (0, 1).
    """

    cut_ids: tuple[str, ...]
    kinds: Mapping[str, tuple[DropoutKind, ...]]
    rates: tuple[float, ...] = DEFAULT_RATES
    wires: tuple[Wire, ...] = (Wire(),)
    refused: frozenset[tuple[str, float]] = frozenset()

    def __post_init__(self) -> None:
        if not self.wires or len(set(self.wires)) < len(self.wires):
            raise CollabplanError(f"bits, noises and kept directions must differ from each other, got {self.wires}")
        if list(self.rates) != sorted(set(self.rates)) or not all(0 < rate < 1 for rate in self.rates):
            raise CollabplanError(f"dropout rates must ascend strictly between 0 and 1, got {self.rates}")

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every point, grouped by cut (edge activations are then computed once a cut), by depth."""
        return tuple(point for cut_id in self.cut_ids for point in self.points_of(cut_id))

    def points_of(self, cut_id: str) -> list[Point]:
        """The points of one cut, wire by wire: without dropout first, then each kind by rate."""
        found = []
        for wire in self._wires_of(cut_id):
            found.append(Point(cut_id, wire=wire))
            kinds = self._kinds_of(cut_id, wire)
            found += [Point(cut_id, kind, round(rate, 6), wire) for kind in kinds for rate in self.rates]
        return found

    def _kinds_of(self, cut_id: str, wire: Wire) -> tuple[DropoutKind, ...]:
        """Directions of the whole tensor have no channels: to drop one is to drop an element."""
        kinds = self.kinds.get(cut_id, ())
        return tuple(kind for kind in kinds if kind == "element" or not is_whole(wire.kept) or len(kinds) == 1)

    def _wires_of(self, cut_id: str) -> list[Wire]:
        if cut_id not in self.kinds:
            return [self.undefended(cut_id).wire]
        return list(dict.fromkeys(self._admitted(cut_id, wire) for wire in self.wires))

    def _admitted(self, cut_id: str, wire: Wire) -> Wire:
        return replace(wire, kept=1.0) if (cut_id, wire.kept) in self.refused else wire

    def undefended(self, cut_id: str) -> Point:
        """The cut as a baseline: no dropout, the first wire, all directions."""
        return Point(cut_id, wire=replace(self.wires[0], kept=1.0))

    def spelled(self, cut_id: str, kind: DropoutKind, rate_index: int, wire_index: int = 0) -> Point:
        """The point that a sampler's spelling means; `rate_index` 0 is rate 0, i is `rates[i - 1]`."""
        if cut_id not in self.kinds:
            return self.undefended(cut_id)
        wire = self._admitted(cut_id, self.wires[wire_index])
        admitted = self._kinds_of(cut_id, wire)
        if rate_index == 0 or not admitted:
            return Point(cut_id, wire=wire)
        return Point(cut_id, kind if kind in admitted else admitted[0], round(self.rates[rate_index - 1], 6), wire)

    def parameters(self, point: Point) -> dict[str, int | float | str]:
        """The point as Optuna's parameters: cut (index by depth), dropout, rate; the wire where there are several."""
        found: dict[str, int | float | str] = {
            "cut": self.cut_ids.index(point.cut_id),
            "dropout": point.dropout,
            "rate": point.rate,
        }
        return found | ({"wire": self.wire_index(point)} if len(self.wires) > 1 else {})

    def wire_index(self, point: Point) -> int:
        """The first of `wires` that means this at the point's cut; 0 where nothing is defended."""
        meant = [self._admitted(point.cut_id, wire) for wire in self.wires]
        return meant.index(point.wire) if point.wire in meant else 0

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions of `parameters`."""
        return {
            "cut": IntDistribution(0, max(len(self.cut_ids) - 1, 0)),
            "dropout": CategoricalDistribution(_KINDS),
            "rate": _rate_distribution(self.rates),
            **({"wire": CategoricalDistribution(range(len(self.wires)))} if len(self.wires) > 1 else {}),
        }


def _rate_distribution(rates: Sequence[float]) -> FloatDistribution:
    """Stepped where the rates are multiples of the first, else any rate up to the last."""
    if not rates:
        return FloatDistribution(0.0, 0.0)
    even = all(abs(rate - (i + 1) * rates[0]) < 1e-9 for i, rate in enumerate(rates))
    return FloatDistribution(0.0, rates[-1], step=rates[0] if even else None)
