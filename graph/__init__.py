"""Floor 2: a model becomes one flat graph, the graph has cuts, a cut makes two halves. The face is lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .admission import unwrapped
    from .cuts import candidate_cuts, cheapest_cut, cheapest_stepped_cut, cut_of, find_cut
    from .gradients import dead_gradients
    from .halves import shared_tensors, split, with_weights
    from .inputs import close_values, resize_batch, same_values
    from .layout import from_samples, to_samples
    from .min_cut import Step
    from .program import Program, load_program, parse_program, save_program, stored_outputs
    from .signature import input_specs, output_spec, require_fixed_outputs
    from .structures import Cut, Halves, InputSpec, TracedGraph, differ_by_sample
    from .tracing import trace

_HOMES = {
    "Cut": "structures",
    "Halves": "structures",
    "InputSpec": "structures",
    "Program": "program",
    "Step": "min_cut",
    "TracedGraph": "structures",
    "candidate_cuts": "cuts",
    "cheapest_cut": "cuts",
    "cheapest_stepped_cut": "cuts",
    "close_values": "inputs",
    "cut_of": "cuts",
    "dead_gradients": "gradients",
    "differ_by_sample": "structures",
    "find_cut": "cuts",
    "from_samples": "layout",
    "load_program": "program",
    "require_fixed_outputs": "signature",
    "resize_batch": "inputs",
    "input_specs": "signature",
    "output_spec": "signature",
    "parse_program": "program",
    "same_values": "inputs",
    "shared_tensors": "halves",
    "save_program": "program",
    "stored_outputs": "program",
    "split": "halves",
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
