"""The directions of `--keep`, fitted cut by cut for commands that try defenses without searching them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..defenses import Defense, ProjectionMatrices
from ..defenses.seeds import generator_for
from ..estimators import EdgeActivations, projection_at
from ..graph import Cut
from ..records import DefenseSpec, kept_in_words
from ..targets import Data


@dataclass(eq=False)
class Narrowing:
    """Fits as `optimize` does, to `data`; a cut's directions are the same at all of its rates and fitted once.

    Attributes:
        notes: what is told where a cut has no directions to leave out.
    """

    activations: EdgeActivations
    data: Data
    kept: float
    seed: int
    notes: list[str] = field(default_factory=list)
    _last: tuple[str, ProjectionMatrices | None] | None = None

    def bound(self, spec: DefenseSpec, cut: Cut) -> Defense:
        """The defense with its directions, not yet calibrated; with all of them where none can be left out.

        Raises:
            CollabplanError: no gradient tells directions apart, or the data have fewer than are kept.
        """
        defense = Defense.for_cut(spec, cut)
        if defense.spec.kept == 1:
            return defense
        directions = self._fitted(cut)
        if directions is None:
            return Defense.for_cut(spec.model_copy(update={"kept": 1.0}), cut)
        return defense.keeping(directions)

    def _fitted(self, cut: Cut) -> ProjectionMatrices | None:
        if self._last is None or self._last[0] != cut.id:
            generator = generator_for(self.seed, cut.id, "directions")
            self._last = cut.id, projection_at(self.activations, cut, self.data, self.kept, generator)
            if self._last[1] is None:
                kept = kept_in_words(self.kept)
                self.notes.append(f"{cut.name}: no directions to choose {kept} from; all are kept")
        return self._last[1]
