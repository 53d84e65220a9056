"""The directions of `--keep`, fitted to a cut for commands that try a defense without searching one."""

from __future__ import annotations

from ..estimators import Data, Defense, EdgeActivations, directions_at
from ..estimators.seeds import generator_for
from ..graph import Cut
from ..records import DefenseSpec, kept_in_words


def narrowed(
    spec: DefenseSpec, cut: Cut, activations: EdgeActivations, data: Data, seed: int
) -> tuple[Defense, str | None]:
    """The defense with its directions, fitted as `optimize` fits them; not yet calibrated.

    All are kept where none can be left out, and the second thing says so.

    Raises:
        CollabplanError: no gradient tells directions apart, or the data have fewer than are kept.
    """
    defense = Defense.for_cut(spec, cut)
    if defense.spec.kept == 1:
        return defense, None
    directions = directions_at(activations, cut, data, spec.kept, generator_for(seed, cut.id, "directions"))
    if directions is not None:
        return defense.keeping(directions), None
    note = f"{cut.name}: no directions to choose {kept_in_words(spec.kept)} from; all are kept"
    return Defense.for_cut(spec.model_copy(update={"kept": 1.0}), cut), note
