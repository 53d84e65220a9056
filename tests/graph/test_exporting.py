"""One export: silent, with a free batch where it is wanted."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest
import torch
from collabplan.graph.exporting import TRACED_BATCH, exported, quiet
from collabplan.graph.inputs import describe_inputs, flatten_inputs
from collabplan.graph.sizes import free_dims
from torch import Tensor, nn
from torch.export import ExportedProgram


def export(model: nn.Module, x: Tensor, *, dynamic: bool, strict: bool = False) -> ExportedProgram:
    leaves, structure = flatten_inputs((x,), {})
    specs = describe_inputs(["x"], leaves, [0], ())
    with torch.no_grad():
        return exported(model.eval(), specs, leaves, structure, strict=strict, dynamic=dynamic)


def input_of(program: ExportedProgram) -> Tensor:
    """The model's input, which follows its weights."""
    found: Tensor = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"][-1]
    return found


@pytest.mark.parametrize("strict", [False, True])
def test_a_dynamic_export_has_a_free_batch_after_an_example_of_one(strict: bool) -> None:
    assert free_dims(input_of(export(nn.Linear(3, 2), torch.randn(1, 3), dynamic=True, strict=strict))) == [0]


def test_a_static_export_has_the_batch_of_the_example() -> None:
    x = input_of(export(nn.Linear(3, 2), torch.randn(5, 3), dynamic=False))
    assert (free_dims(x), x.shape[0]) == ([], 5)
    assert TRACED_BATCH > 1, "at batch 1 export fixes the batch"


def test_the_example_is_left_as_it_was() -> None:
    x = torch.randn(1, 3)
    before = x.clone()
    export(nn.Linear(3, 2), x, dynamic=True)
    assert torch.equal(x, before)
    assert x.shape == (1, 3)


def test_torch_is_silenced_and_then_restored(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("torch.export")
    level = logger.level
    with quiet():
        print("noise")
        print("noise", file=sys.stderr)
        warnings.warn("noise", stacklevel=1)
        logger.error("noise")
    assert capsys.readouterr() == ("", "")
    assert logger.level == level
