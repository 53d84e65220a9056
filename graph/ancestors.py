"""What the nodes of a graph are computed from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import fx


def ancestors(ends: Iterable[fx.Node], stop: Collection[fx.Node] = ()) -> frozenset[fx.Node]:
    """`ends` and everything that they depend on; what lies behind a node of `stop` is left out."""
    stopped = frozenset(stop)
    found: set[fx.Node] = set()
    queue = list(ends)
    while queue:
        node = queue.pop()
        if node in found:
            continue
        found.add(node)
        if node not in stopped:
            queue.extend(node.all_input_nodes)
    return frozenset(found)


def transitive_closure(sources: Sequence[Iterable[int]]) -> NDArray[np.bool_]:
    """`[vertex, vertex]`: row v marks v and everything that v depends on.

    Args:
        sources: by vertex, what it reads; vertices are in topological order.

    Examples:
        >>> transitive_closure([[], [0], [1]])[2].tolist()
        [True, True, True]
    """
    closure = np.eye(len(sources), dtype=bool)
    for vertex, read in enumerate(sources):
        for source in read:
            closure[vertex] |= closure[source]
    return closure
