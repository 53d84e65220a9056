"""Writes programs, reads them back, and checks before anybody deploys them that they compute what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..graph import Halves, Program, TracedGraph, load_program, same_values, save_program, stored_outputs
from ..records import BudgetError


def write_halves(traced: TracedGraph, halves: Halves, folder: Path, *, tuned: bool = False) -> tuple[Program, Program]:
    """Write `folder/edge` and `folder/cloud`, and read them back.

    Args:
        traced: the model.
        halves: of one of its cuts.
        folder: where to write.
        tuned: the cloud half holds fine-tuned weights.

    Returns:
        The edge and cloud programs, as they were read back. Their composition on the example inputs equals the trace
        bit for bit, or with `tuned` the halves in memory.

    Raises:
        BudgetError: the halves do not compose to the model bit for bit.
        TraceError: a program file cannot hold one of the operators.
        CollabplanError: the folder cannot be written.
    """
    save_program(halves.edge, folder / "edge")
    save_program(halves.cloud, folder / "cloud")
    edge, cloud = load_program(folder / "edge"), load_program(folder / "cloud")
    with torch.no_grad():
        composed = cloud(*edge(*_inputs(traced)))
        leaves = _graph(halves.cloud)(*_graph(halves.edge)(*_inputs(traced))) if tuned else _whole(traced)
    _require_same(composed, leaves, traced, "the halves do not compose to the model")
    return edge, cloud


def write_whole(traced: TracedGraph, folder: Path) -> Program:
    """Write the whole model as one program, and read it back. It equals the trace bit for bit.

    Raises:
        BudgetError, TraceError, CollabplanError: as `write_halves`.
    """
    save_program(traced.module, folder)
    program = load_program(folder)
    with torch.no_grad():
        _require_same(program(*_inputs(traced)), _whole(traced), traced, "the program does not equal the model")
    return program


def _inputs(traced: TracedGraph) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in traced.example_inputs]


def _whole(traced: TracedGraph) -> Any:
    """The flat outputs of the trace, which `trace` has compared with the model."""
    return _graph(traced.module)(*_inputs(traced))


def _graph(module: nn.Module) -> nn.Module:
    graph = module.graph_module
    assert isinstance(graph, nn.Module)
    return graph


def _require_same(found: Any, leaves: Sequence[Any], traced: TracedGraph, fault: str) -> None:
    structure: pytree.TreeSpec = traced.module.output_structure  # type: ignore[assignment]
    if not same_values(found, stored_outputs(leaves, structure)):
        raise BudgetError(f"{fault} bit for bit; do not deploy this, and report it with `collabplan env`")
