"""What nodes depend on: the closure of one graph, and of all of its vertices."""

import networkx as nx
import numpy as np
from collabplan.graph.ancestors import ancestors, transitive_closure
from torch import fx


def diamond() -> dict[str, fx.Node]:
    graph = fx.Graph()
    x = graph.placeholder("x")
    left, right = graph.call_function(abs, (x,)), graph.call_function(abs, (x,))
    last = graph.call_function(max, (left, right))
    return {"x": x, "left": left, "right": right, "last": last}


def test_everything_above_is_found_once() -> None:
    nodes = diamond()
    assert ancestors([nodes["last"]]) == frozenset(nodes.values())
    assert ancestors([nodes["left"]]) == {nodes["x"], nodes["left"]}
    assert ancestors([]) == frozenset()


def test_what_lies_behind_a_stop_is_left_out() -> None:
    nodes = diamond()
    stopped = ancestors([nodes["last"]], stop=[nodes["left"], nodes["right"]])
    assert stopped == {nodes["last"], nodes["left"], nodes["right"]}


def test_the_closure_is_that_of_networkx() -> None:
    draw = np.random.default_rng(0)
    sources = [[source for source in range(vertex) if draw.random() < 0.2] for vertex in range(30)]
    graph = nx.DiGraph((source, vertex) for vertex, read in enumerate(sources) for source in read)
    graph.add_nodes_from(range(30))
    closure = transitive_closure(sources)
    for vertex in range(30):
        assert set(np.flatnonzero(closure[vertex])) == nx.ancestors(graph, vertex) | {vertex}
