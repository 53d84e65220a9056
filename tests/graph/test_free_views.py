"""Free views show the tensor that they view."""

import torch
from collabplan.graph.free_views import FREE_VIEWS, shows_input
from torch import fx

aten = torch.ops.aten


def test_a_view_of_a_view_of_an_input_shows_the_input() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    view = graph.call_function(aten.permute.default, (graph.call_function(aten.reshape.default, (x, [-1])), [0]))
    pairs = graph.call_function(aten.view_as_real.default, (x,))
    assert all(shows_input(node) for node in (x, view, pairs))
    assert not shows_input(graph.call_function(aten.relu.default, (view,)))


def test_every_free_view_keeps_all_numbers() -> None:
    """No view that selects, repeats or computes is free."""
    names = {target._schema.name.removeprefix("aten::") for target in FREE_VIEWS}
    assert not names & {"slice", "select", "expand", "split", "diagonal", "relu", "unfold", "narrow"}
