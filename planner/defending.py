"""The defense of a point, bound to its cut: directions are fitted and ranges calibrated on the search half."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from ..defenses.pipeline import Defense
from ..defenses.projection import ProjectionMatrices, can_narrow, is_whole
from ..defenses.seeds import generator_for
from ..estimators.activations import EdgeActivations
from ..estimators.projection_fit import FittedProjection, fit_projection
from ..graph import Cut
from ..records import CollabplanError, Crossing, CutError, DefenseSpec, TensorRange, kept_in_words
from ..targets.data import Data
from .problem import SearchOptions
from .space import Point


class Defenses:
    """Binds the points of one search; keeps what it found."""

    def __init__(
        self, activations: EdgeActivations, search: Data, cuts: Mapping[str, Cut], options: SearchOptions
    ) -> None:
        self._activations, self._search, self._cuts, self._options = activations, search, cuts, options
        self._ranges: dict[tuple[str, str | None, int | None], tuple[TensorRange, ...]] = {}
        self._fitted: dict[tuple[str, bool], FittedProjection | None] = {}

    def bound(self, point: Point, directions: ProjectionMatrices | None) -> Defense:
        """The point's defense with these directions, and with its static ranges."""
        cut = self._cuts[point.cut_id]
        defense = Defense.for_cut(point.spec(self._options.masks), cut)
        if directions is not None:
            defense = defense.keeping(directions)
        # Of directions of the whole alone does the range depend on the bits.
        key = (cut.id, defense.spec.directions, point.wire.bits if is_whole(point.wire.kept) else None)
        if key not in self._ranges:
            batches = self._activations.batches(cut, self._search)
            found = [defense.calibrate(tensors).spec.ranges for _, tensors in batches]
            self._ranges[key] = tuple(_merged(ranges) for ranges in zip(*found, strict=True))
        return replace(defense, spec=defense.spec.model_copy(update={"ranges": self._ranges[key]}))

    def fitted(self, point: Point) -> ProjectionMatrices | None:
        """The directions that a point keeps before anything is trained; None where it keeps all.

        Raises:
            CollabplanError: there are none to choose from, or fewer than it keeps.
        """
        cut, kept = self._cuts[point.cut_id], point.wire.kept
        if kept == 1:
            return None
        fitted = self._fit(cut, kept)
        if fitted is None:
            raise CollabplanError(
                f"{cut.name} has no directions to choose {kept_in_words(kept)} from; keep all of them"
            )
        return fitted.narrowed(kept)

    def narrows(self, cut: Cut, kept: float) -> bool:
        """Whether a cut has directions to leave out.

        Raises:
            CollabplanError: more are asked for than can be found.
        """
        fitted = self._fit(cut, kept)
        return fitted is not None and bool(fitted.narrowed(kept).encode)

    def _fit(self, cut: Cut, kept: float) -> FittedProjection | None:
        """The directions of a cut, of the kind that `kept` says; None where none can be left out.

        Nor can any where no gradient of the cloud half tells them apart.
        """
        if not any(can_narrow(crossing, kept) for crossing in cut.crossing):
            return None
        key = (cut.id, whole := is_whole(kept))
        if key not in self._fitted:
            self._fitted[key] = None
            generator = generator_for(self._options.seed, cut.id, "directions")
            most = max((int(wire.kept) for wire in self._options.wires if is_whole(wire.kept)), default=0)
            with suppress(CutError):
                self._fitted[key] = fit_projection(
                    self._activations, cut, self._search, generator, whole=most if whole else 0
                )
        return self._fitted[key]


def defends(cut: Cut) -> bool:
    """False where only integers cross, nothing is defended (edge-only), or a raw private input crosses.

    The leakage of such an input is 1 whatever else is done.
    """
    return bool(dropped(cut)) and not cut.sends_raw_input


def dropped(cut: Cut) -> list[Crossing]:
    """What dropout would act on."""
    probe = Defense.for_cut(DefenseSpec(dropout="element", rate=0.5), cut)
    return [crossing for crossing in cut.crossing if probe.drops(crossing)]


def _merged(ranges: tuple[TensorRange, ...]) -> TensorRange:
    """One range over all batches of one tensor."""
    low, high = min(found.low for found in ranges), max(found.high for found in ranges)
    return TensorRange(node=ranges[0].node, low=low, high=high)
