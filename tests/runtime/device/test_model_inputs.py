"""The inputs of a request are brought into the model's order and layout, or refused with what was expected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from collabplan.records import CollabplanError, TensorSpec
from collabplan.runtime.device.model_inputs import checked_inputs, private_inputs, with_models_layout

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 3), batch_dims=(0,))
STEPS = TensorSpec(name="steps", dtype="int64", shape=(4, 1), batch_dims=(1,), public=True)
TABLE = TensorSpec(name="table", dtype="float32", shape=(2,))


def part(*specs: TensorSpec, batch: int | None = None, independent: bool = True) -> Any:
    return SimpleNamespace(inputs=specs, batch=batch, samples_independent=independent)


def tensors(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.rand(batch, 3), torch.ones(4, batch, dtype=torch.int64), torch.rand(2)


def test_inputs_by_name_come_in_the_models_order() -> None:
    image, steps, table = tensors(5)
    found, batch = checked_inputs({"table": table, "steps": steps, "image": image}, part(IMAGE, STEPS, TABLE))
    assert batch == 5
    assert [tensor.shape for tensor in found] == [image.shape, steps.shape, table.shape]


def test_a_single_tensor_is_the_only_input() -> None:
    found, batch = checked_inputs(torch.rand(2, 3), part(IMAGE))
    assert (len(found), batch) == (1, 2)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"picture": torch.rand(1, 3)}, "the model takes image, got picture"),
        ((torch.rand(1, 3), torch.rand(1, 3)), "takes 1 tensors"),
        (torch.rand(1, 4), r"must be float32 \[1, 3\], got float32 \[1, 4\]"),
        (torch.rand(1, 3).double(), r"got float64 \[1, 3\]"),
    ],
)
def test_other_inputs_are_refused_with_what_was_expected(inputs: Any, says: str) -> None:
    with pytest.raises(CollabplanError, match=says):
        checked_inputs(inputs, part(IMAGE))


def test_a_fixed_batch_size_is_the_only_one() -> None:
    with pytest.raises(CollabplanError, match=r"must be float32 \[3, 3\]"):
        checked_inputs(torch.rand(2, 3), part(IMAGE, batch=3))


def test_samples_that_read_each_other_come_one_by_one() -> None:
    with pytest.raises(CollabplanError, match="send them one by one"):
        checked_inputs(torch.rand(2, 3), part(IMAGE, independent=False))


def test_private_inputs_have_samples_first_and_shared_ones_are_repeated() -> None:
    found = private_inputs(tensors(5), (IMAGE, STEPS, TABLE), 5)
    assert [tuple(tensor.shape) for tensor in found] == [(5, 3), (5, 2)], "steps are public"


def test_samples_move_to_the_models_own_batch_dimension() -> None:
    samples = torch.arange(8).reshape(2, 4)
    assert torch.equal(with_models_layout(samples, STEPS), samples.T)
    assert with_models_layout(samples, STEPS).is_contiguous()
    assert torch.equal(with_models_layout(samples, TABLE), samples[0]), "an input without a batch is the first sample's"
