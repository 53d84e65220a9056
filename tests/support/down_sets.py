"""Every down-set of a unit graph, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from collabplan.graph.units import Mask, Units


def all_down_sets(graph: Units) -> Iterator[Mask]:
    """Every closed set of units that holds the inputs, as masks (the output only in the full one)."""
    free = list(range(graph.input_count, graph.count))
    for chosen in itertools.product([False, True], repeat=len(free)):
        mask = np.zeros(graph.count, dtype=bool)
        mask[: graph.input_count] = True
        mask[free] = chosen
        if all(mask[graph.ancestors[:, unit]].all() for unit in np.flatnonzero(mask)):
            yield mask
