"""Which dimension of each tensor counts samples, followed through the graph without running the model.

The walk starts at the inputs' batch dimensions, and has a rule for every operator that it knows. A rule says in which
dimension of the result the samples lie, and in what order if the batch is folded into another dimension. The verdict
is one of three:

*Proven.* Every operator has a rule, and each keeps the rows of samples apart: pointwise, along other dimensions,
a product with weights, a view. No run could show otherwise.

*Mixed.* Some operator reads across samples, or a sample's result depends on its place or on the number of samples:

* it reduces, scans, sorts, normalises, flips, rolls, selects, slices or contracts the dimension of the batch, or
  its result has no such dimension left;
* rows of two orders meet, or two dimensions of a result count samples;
* values meet a constant whose entries differ along the batch (`arange(batch)`), or a constant or number that depends
  on the number of samples. Constants are computed at several sizes to find out. Sizes are exempt.

An operator that reads others only for rare values (`any`, a maximum) cannot be refuted by a run, so it counts as mixed.

*Unknown.* Some operator has no rule, or is used in a way that its rule does not cover. The model must run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from .row_calls import LOST, Call, Fixed, Mixed, Rows, State, Unknown, is_tensor
from .row_rules import guess, result_of
from .traced_graph import TracedGraph


@dataclass(frozen=True)
class Walked:
    """The verdict.

    Attributes:
        mixed: the first node that mixes samples; None: none was found.
        proven: by rule, no node does.
        rows: by node name, where samples lie.
    """

    mixed: fx.Node | None
    proven: bool
    rows: Mapping[str, State]


def walk(traced: TracedGraph) -> Walked:
    """Follow samples through a graph with a free batch."""
    states: dict[fx.Node, State] = {}
    specs = iter(traced.tensor_inputs)
    fixed = Fixed(traced)
    proven = True
    mixed = None
    for node in traced.flat.graph.nodes:
        if node.op == "placeholder":
            spec = next(specs)
            states[node] = None if spec.batch_dim is None else Rows(spec.batch_dim)
        elif node.op == "call_function" and traced.kinds[node.name] in ("value", "public"):
            try:
                call = Call(node, states, fixed)
                try:
                    states[node] = result_of(call)
                except Unknown:
                    proven = False
                    states[node] = guess(call)
            except Mixed:
                mixed = node
                break
            except Unknown:
                proven = False
                states[node] = LOST
        elif node.op == "output" and not _outputs_are_known(node, states):
            proven = False
    return Walked(mixed, proven and mixed is None, {node.name: state for node, state in states.items()})


def _outputs_are_known(output: fx.Node, states: Mapping[fx.Node, State]) -> bool:
    """True where every output that depends on values has a known state. Other outputs belong to no sample."""
    return all(not is_tensor(node) or node not in states or states[node] != LOST for node in output.all_input_nodes)
