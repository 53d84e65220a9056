"""Replaces operators that a program file may not name by those that they are composed of.

An admitted operator stays whole: the graph keeps the model's own kernels, with their rounding and gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram

from .allowlist import refusal


def decompose(whole: ExportedProgram) -> ExportedProgram:
    """The program with every operator that is not admitted decomposed, as far as torch knows how.

    An operator that does not come down to admitted ones stays whole, so that it is refused by the name that the user
    knows.

    Args:
        whole: a functional program.
    """
    refused = _refused(whole)
    program, tried = whole, set[OpOverload]()
    while table := {target: made for target in _refused(program) - tried if (made := _decomposition(target))}:
        tried |= table.keys()
        try:
            program = program.run_decompositions(table)
        except Exception:
            return whole
    return program if _refused(program) <= refused else whole


def _refused(program: ExportedProgram) -> set[OpOverload]:
    return {target for target in _targets(program) if refusal(target) is not None}


def _targets(program: ExportedProgram) -> set[OpOverload]:
    return {
        node.target
        for module in program.graph_module.modules()
        if isinstance(module, torch.fx.GraphModule)
        for node in module.graph.nodes
        if isinstance(node.target, OpOverload)
    }


def _decomposition(target: OpOverload) -> Callable[..., Any] | None:
    """The decomposition of `target`: its own composite kernel, else the entry of torch's table."""
    if target in _OURS:
        return _OURS[target]
    if torch.Tag.nondeterministic_seeded in target.tags:
        return None
    composites = _composites()
    if target in composites:
        return composites[target]
    return torch._decomp.get_decompositions([target]).get(target)


@functools.cache
def _composites() -> Mapping[Any, Callable[..., Any]]:
    return torch.export.default_decompositions()


def _rrelu(x: torch.Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *_: Any) -> Any:
    """In eval mode, the middle slope. In training mode it stays, and is refused for its random numbers."""
    return NotImplemented if training else torch.ops.aten.leaky_relu(x, (lower + upper) / 2)


_OURS: dict[OpOverload, Callable[..., Any]] = {torch.ops.aten.rrelu.default: _rrelu}
"""Decompositions that torch lacks."""
