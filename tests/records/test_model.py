"""Identities: what a plan is bound to, and how a difference is named."""

import math
from typing import Any

import pytest
from collabplan.records import DTYPE_BYTES, Crossing, MismatchError, ModelIdentity


def identity(**fields: Any) -> ModelIdentity:
    given = {
        "name": "Net", "structure_hash": "s" * 64, "weights_hash": "w" * 64, "torch_version": "2.13.0",
        "parameter_count": 4, "parameter_bytes": 16,
    }  # fmt: skip
    return ModelIdentity.model_validate({**given, **fields})


def test_the_same_model_is_accepted_whatever_its_class_is_called() -> None:
    identity().require_same(identity(name="Other"), record="plan p.json")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"structure_hash": "t" * 64}, "another structure"),
        ({"structure_hash": "t" * 64, "torch_version": "2.14.0"}, "made under torch 2.13.0, this is torch 2.14.0"),
        ({"weights_hash": "x" * 64}, "other weights of the same structure"),
    ],
)
def test_a_difference_is_named_with_the_record_and_the_next_step(other: dict[str, str], says: str) -> None:
    with pytest.raises(MismatchError, match=says) as raised:
        identity().require_same(identity(**other), record="plan p.json")
    assert str(raised.value).startswith("plan p.json")
    assert "\n" not in str(raised.value)


def test_weights_may_differ_where_only_the_structure_counts() -> None:
    identity().require_same(identity(weights_hash="x" * 64), record="profile", weights=False)


@pytest.mark.parametrize(
    ("dtype", "floating", "is_complex"), [("float16", True, False), ("int64", False, False), ("complex64", False, True)]
)
def test_a_crossing_knows_its_numbers(dtype: str, floating: bool, is_complex: bool) -> None:
    crossing = Crossing(name="layer1", node="relu", dtype=dtype, sample_shape=(2, 3))
    assert (crossing.is_floating, crossing.is_complex) == (floating, is_complex)
    assert crossing.sample_elements == math.prod((2, 3))
    assert crossing.element_bytes == DTYPE_BYTES[dtype]


def test_a_crossing_without_dimensions_is_one_number() -> None:
    assert Crossing(name="scale", node="mul", dtype="float32", sample_shape=()).sample_elements == 1
