"""The search space: cuts x defenses, with exactly one representation of each point.

A cut may not admit every requested defense: only integers may cross it, it may have nothing to project, or its channels
may be single elements. What a cut does not admit is left out there. Points that then coincide are merged, so no
candidate is evaluated twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ..defenses.dropout import DropoutStage
from ..records import (
    USUAL_BITS,
    Candidate,
    CollabplanError,
    DefenseRecord,
    DropoutRecord,
    Granularity,
    MaskKind,
    ProjectionRecord,
    QuantizerRecord,
    StageRecord,
)

DEFAULT_RATES = DropoutStage.search_values
_KINDS = ("none", "element", "channel")
USUAL = DefenseRecord.of(QuantizerRecord())


@dataclass(frozen=True, slots=True)
class Point:
    """One (cut, defense) before it is evaluated. The defense is neither fitted nor calibrated."""

    cut_id: str
    defense: DefenseRecord = USUAL

    @property
    def key(self) -> str:
        """Names the point in seeds, claims and messages; equal points have equal keys."""
        return f"{self.cut_id}|{_seed_marks(self.defense)}"

    @property
    def wire(self) -> Wire:
        """The defense without its dropout."""
        return Wire.of(self.defense)


def point_of(candidate: Candidate) -> Point:
    """The point that a candidate was evaluated at."""
    return Point(candidate.cut_id, candidate.defense.unfitted)


def _seed_marks(defense: DefenseRecord) -> str:
    """The defense's part of a point's key.

    It seeds every random draw of a candidate. Defenses that could be searched before they were lists of stages keep
    their old spelling, so the same seed still gives the same figures. Everything newer is appended.
    """
    dropout, noise, projection = defense.dropout, defense.noise, defense.projection
    said = f"{dropout.granularity if dropout else 'none'}|{defense.rate:.6f}"
    if (defense.bits, noise, projection) != (USUAL_BITS, None, None):
        kind, std = (noise.distribution, noise.std) if noise else ("none", 0.0)
        said += f"|{defense.bits}|{kind}|{std:.6f}"
    if projection is not None:
        kept = projection.rank if projection.share is None else projection.share
        said += f"|{kept:.6f}"
    marks = [defense.masks] * (defense.masks != "fresh") + ["stochastic"] * defense.rounds_randomly
    return "|".join([said, *marks, *(custom.text for custom in defense.customs)])


@dataclass(frozen=True, slots=True)
class Wire:
    """A defense without its dropout: one axis of the space, beside the kind and the rate of dropout."""

    stages: tuple[StageRecord, ...]
    masks: MaskKind = "fresh"

    @classmethod
    def of(cls, defense: DefenseRecord) -> Wire:
        """The wire of a defense; `masks` are those of the whole defense."""
        return cls(tuple(stage for stage in defense.stages if not isinstance(stage, DropoutRecord)), defense.masks)

    def with_dropout(self, dropout: DropoutRecord | None) -> DefenseRecord:
        """The defense with this dropout; its masks are fresh if nothing draws random numbers."""
        before = [stage for stage in self.stages if stage.stage in ("projection", "custom")]
        after = [stage for stage in self.stages if stage.stage not in ("projection", "custom")]
        made = DefenseRecord.of(*before, *([] if dropout is None else [dropout]), *after)
        return made.model_copy(update={"masks": self.masks}) if made.may_draw else made

    @property
    def projection(self) -> ProjectionRecord | None:
        """The projection, if there is one."""
        return next((stage for stage in self.stages if isinstance(stage, ProjectionRecord)), None)

    def without(self, *kinds: str) -> Wire:
        """The same without the stages of these kinds."""
        return Wire(tuple(stage for stage in self.stages if stage.stage not in kinds), self.masks)


@dataclass(frozen=True)
class Space:
    """The points that a search may visit.

    Attributes:
        cut_ids: searchable cuts by depth.
        kinds: the kinds of dropout that each cut admits, by cut id. Cuts that cannot be defended are missing.
        defenses: those to search. Undefended baselines, and cuts that cannot be defended, take noise and quantizer of
            the first.
        refused: pairs of a cut and a projection that would leave nothing out at this cut. The defense is then searched
            without its projection.

    Raises:
        CollabplanError: `defenses` is empty.
    """

    cut_ids: tuple[str, ...]
    kinds: Mapping[str, tuple[Granularity, ...]]
    defenses: tuple[DefenseRecord, ...]
    refused: frozenset[tuple[str, ProjectionRecord]] = frozenset()

    def __post_init__(self) -> None:
        if not self.defenses:
            raise CollabplanError('no defense to search; give "none" for the quantizer alone')

    @cached_property
    def asked(self) -> Mapping[Wire, tuple[DropoutRecord | None, ...]]:
        """The dropouts to search for each wire, in the order of first mention: none first, then each kind by rate.

        Masks distinguish wires only if both fresh and keyed ones are searched.
        """
        drawing = {defense.masks for defense in self.defenses if defense.may_draw}
        common = next(iter(drawing)) if len(drawing) == 1 else None
        found: dict[Wire, dict[DropoutRecord | None, None]] = {}
        for defense in self.defenses:
            wire = Wire.of(defense)
            wire = wire if common is None else Wire(wire.stages, common)
            found.setdefault(wire, {})[defense.dropout] = None
        return {wire: tuple(sorted(drops, key=self._place)) for wire, drops in found.items()}

    def _place(self, dropout: DropoutRecord | None) -> tuple[int, float]:
        return (-1, 0.0) if dropout is None else (self.drop_kinds.index(dropout.granularity), dropout.rate)

    @cached_property
    def drop_kinds(self) -> tuple[Granularity, ...]:
        """The kinds of dropout to search, in the order of first mention."""
        return tuple(dict.fromkeys(each.dropout.granularity for each in self.defenses if each.dropout is not None))

    @cached_property
    def wires(self) -> tuple[Wire, ...]:
        """The defenses without their dropout."""
        return tuple(self.asked)

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """All dropout rates to search, ascending; the default ones if no defense has dropout."""
        return tuple(sorted({each.rate for each in self.defenses if each.dropout is not None})) or DEFAULT_RATES

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every point by the depth of its cut. Points of a cut are adjacent, so its activations are computed once."""
        return tuple(point for cut_id in self.cut_ids for point in self.points_of(cut_id))

    def points_of(self, cut_id: str) -> list[Point]:
        """The points of one cut, wire by wire; only the undefended one if it admits no other."""
        found = [
            Point(cut_id, wire.with_dropout(dropout))
            for wire, drops in self._admitted(cut_id).items()
            for dropout in drops
        ]
        return list(dict.fromkeys(found)) or [self.undefended(cut_id)]

    def _admitted(self, cut_id: str) -> dict[Wire, list[DropoutRecord | None]]:
        """The part of `asked` that a cut admits."""
        found: dict[Wire, list[DropoutRecord | None]] = {}
        if cut_id not in self.kinds:
            return found
        for asked, drops in self.asked.items():
            wire = self._narrowed(cut_id, asked)
            kinds = self._kinds_of(cut_id, wire)
            left = found.setdefault(wire, [])
            left += [drop for drop in drops if drop not in left and (drop is None or drop.granularity in kinds)]
        return {wire: drops for wire, drops in found.items() if drops}

    def _narrowed(self, cut_id: str, wire: Wire) -> Wire:
        refused = wire.projection is not None and (cut_id, wire.projection) in self.refused
        return wire.without("projection") if refused else wire

    def _kinds_of(self, cut_id: str, wire: Wire) -> tuple[Granularity, ...]:
        """Codes of the whole tensor have no channels: dropping a channel would drop an element."""
        kinds = self.kinds.get(cut_id, ())
        whole = wire.projection is not None and wire.projection.rank is not None
        return tuple(kind for kind in kinds if kind == "element" or not whole or len(kinds) == 1)

    def undefended(self, cut_id: str) -> Point:
        """The cut as a baseline: only the noise and quantizer of the first defense."""
        return Point(cut_id, self.wires[0].without("projection", "custom").with_dropout(None))

    def spelled(self, cut_id: str, kind: str, rate_index: int, wire_index: int = 0) -> Point:
        """The point for a sampler's parameters; `rate_index` 0 means rate 0, and i means `rates[i - 1]`.

        If the cut does not admit that point, the nearest one is taken: the kind changes first, then the rate.
        """
        admitted = self._admitted(cut_id)
        if not admitted:
            return self.undefended(cut_id)
        wire = self._narrowed(cut_id, self.wires[wire_index])
        drops = admitted.get(wire) or next(iter(admitted.values()))
        wire = wire if wire in admitted else next(iter(admitted))
        rate = 0.0 if rate_index == 0 else self.rates[rate_index - 1]

        def apart(dropout: DropoutRecord | None) -> tuple[bool, float, bool]:
            if dropout is None or rate == 0:
                return (dropout is not None) != (rate > 0), 0.0 if dropout is None else dropout.rate, False
            return False, abs(dropout.rate - rate), dropout.granularity != kind

        return Point(cut_id, wire.with_dropout(min(drops, key=apart)))

    def parameters(self, point: Point) -> dict[str, int | float | str]:
        """The point as Optuna's parameters: cut (index by depth), dropout, rate, and the wire if there are several."""
        dropout = point.defense.dropout
        found: dict[str, int | float | str] = {
            "cut": self.cut_ids.index(point.cut_id),
            "dropout": "none" if dropout is None else dropout.granularity,
            "rate": point.defense.rate,
        }
        return found | ({"wire": self.wire_index(point)} if len(self.wires) > 1 else {})

    def wire_index(self, point: Point) -> int:
        """The index of the first wire that gives this point at its cut; 0 if nothing is defended."""
        for at, wire in enumerate(self.wires):
            if self._narrowed(point.cut_id, wire).with_dropout(point.defense.dropout) == point.defense:
                return at
        return 0

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
    """Stepped if the rates are multiples of the first, else any rate up to the last."""
    even = all(abs(rate - (i + 1) * rates[0]) < 1e-9 for i, rate in enumerate(rates))
    return FloatDistribution(0.0, rates[-1], step=rates[0] if even else None)
