"""Which nodes of a graph others are computed from."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torch import fx


def ancestors(ends: Iterable[fx.Node], stop: Collection[fx.Node] = ()) -> frozenset[fx.Node]:
    """`ends` and everything that they depend on, not looking behind `stop`."""
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
