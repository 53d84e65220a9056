"""The defense of a point, bound to its cut: projections are fitted and ranges calibrated on the search split."""

from __future__ import annotations

from collections.abc import Mapping

from ..defenses.pipeline import Defense
from ..defenses.projection import ProjectionMatrices
from ..estimators.activations import EdgeActivations
from ..estimators.projection_fit import ProjectionFits
from ..graph import Cut
from ..records import CollabplanError, DefenseRecord, ProjectionRecord, TensorRange
from ..targets.data import Data
from .problem import SearchOptions
from .space import Point


class Defenses:
    """Binds the points of one search; keeps what it fitted and calibrated."""

    def __init__(
        self, activations: EdgeActivations, search: Data, cuts: Mapping[str, Cut], options: SearchOptions
    ) -> None:
        self._activations, self._search, self._cuts = activations, search, cuts
        self._fits = ProjectionFits.of(activations, search, options.searched, options.seed)
        self._ranges: dict[tuple[str, str, int | None], tuple[TensorRange, ...]] = {}

    def bound(self, point: Point, matrices: ProjectionMatrices | None) -> Defense:
        """The point's defense with these matrices, and with its static ranges."""
        cut = self._cuts[point.cut_id]
        defense = Defense.for_cut(point.defense, cut)
        if matrices is not None:
            defense = defense.with_matrices(matrices)
        key = (cut.id, defense.codes_key, defense.record.bits if _by_bits(defense.record) else None)
        if key not in self._ranges:
            batches = self._activations.batches(cut, self._search)
            found = [defense.calibrate(tensors).record.ranges for _, tensors in batches]
            self._ranges[key] = tuple(_merged(ranges) for ranges in zip(*found, strict=True))
        return defense.with_ranges(self._ranges[key])

    def fitted(self, point: Point) -> ProjectionMatrices | None:
        """The matrices of a point's projection before anything is trained; None without a projection.

        Raises:
            CollabplanError: the cut has nothing to leave out, or fewer directions than are kept.
        """
        cut, projection = self._cuts[point.cut_id], point.defense.projection
        if projection is None:
            return None
        matrices = self._fits.matrices(cut, projection)
        if matrices is None:
            raise CollabplanError(f"{cut.name} cannot be narrowed by {projection.text}; leave the projection out")
        return matrices

    def narrows(self, cut: Cut, projection: ProjectionRecord) -> bool:
        """Whether a projection leaves anything out at a cut.

        Raises:
            CollabplanError: more directions are asked for than can be found.
        """
        matrices = self._fits.matrices(cut, projection)
        return matrices is not None and bool(matrices.encode)


def _by_bits(record: DefenseRecord) -> bool:
    """True where the range depends on the bits: for codes of a rank of the whole."""
    return record.projection is not None and record.projection.rank is not None


def _merged(ranges: tuple[TensorRange, ...]) -> TensorRange:
    """One range over all batches of one tensor."""
    low, high = min(found.low for found in ranges), max(found.high for found in ranges)
    return TensorRange(node=ranges[0].node, low=low, high=high)
