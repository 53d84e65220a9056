"""Floor 2: a model becomes one flat graph, the graph has cuts, a cut makes two halves.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .admission import unwrapped
    from .cheapest_cuts import cheapest_cut, cheapest_stepped_cut
    from .comparing import close_values, same_values
    from .cut import Cut
    from .cut_search import candidate_cuts, cut_of, find_cut
    from .gradients import dead_gradients
    from .halves import Halves, shared_tensors, with_weights
    from .inputs import resize_batch
    from .layout import from_samples, to_samples
    from .program import Program, load_program, parse_program, save_program, stored_outputs
    from .signature import input_specs, output_spec, require_fixed_outputs
    from .splitting import split
    from .steps import Step
    from .traced_graph import InputSpec, TracedGraph, differ_by_sample
    from .tracing import trace

_HOMES = {
    "Cut": "cut",
    "Halves": "halves",
    "InputSpec": "traced_graph",
    "Program": "program",
    "Step": "steps",
    "TracedGraph": "traced_graph",
    "candidate_cuts": "cut_search",
    "cheapest_cut": "cheapest_cuts",
    "cheapest_stepped_cut": "cheapest_cuts",
    "close_values": "comparing",
    "cut_of": "cut_search",
    "dead_gradients": "gradients",
    "differ_by_sample": "traced_graph",
    "find_cut": "cut_search",
    "from_samples": "layout",
    "input_specs": "signature",
    "load_program": "program",
    "output_spec": "signature",
    "parse_program": "program",
    "require_fixed_outputs": "signature",
    "resize_batch": "inputs",
    "same_values": "comparing",
    "save_program": "program",
    "shared_tensors": "halves",
    "split": "splitting",
    "stored_outputs": "program",
    "to_samples": "layout",
    "trace": "tracing",
    "unwrapped": "admission",
    "with_weights": "halves",
}

__all__ = [
    "Cut",
    "Halves",
    "InputSpec",
    "Program",
    "Step",
    "TracedGraph",
    "candidate_cuts",
    "cheapest_cut",
    "cheapest_stepped_cut",
    "close_values",
    "cut_of",
    "dead_gradients",
    "differ_by_sample",
    "find_cut",
    "from_samples",
    "input_specs",
    "load_program",
    "output_spec",
    "parse_program",
    "require_fixed_outputs",
    "resize_batch",
    "same_values",
    "save_program",
    "shared_tensors",
    "split",
    "stored_outputs",
    "to_samples",
    "trace",
    "unwrapped",
    "with_weights",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
