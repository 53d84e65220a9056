"""Bodies of requests: constant size, there and back, and refused before anything is run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.defenses.randomness import Fresh
from collabplan.records import Crossing, Layout, TensorRange
from collabplan.runtime.wire.request_codec import BodyError, DefendedCodec, PlainCodec, graph_shape
from defense_records import defense_record
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

LAYOUTS = (
    Layout(),
    Layout(batch_dim=1),
    Layout(groups=2),
    Layout(groups=2, batch_major=False),
    Layout(batch_dim=1, groups=2, batch_major=False),
)


def crossing(node: str, dtype: str = "float32", shape: tuple[int, ...] = (2, 3), **more: Any) -> Crossing:
    return Crossing(name=node, node=node, dtype=dtype, sample_shape=shape, **more)


def defense(*crossings: Crossing, bits: int | None = 8) -> Defense:
    ranges = tuple(TensorRange(node=c.node, low=-3.0, high=3.0) for c in crossings if c.is_floating and not c.public)
    spec = defense_record(bits=bits, ranges=ranges, dropout="element", rate=0.3)
    return Defense(spec, crossings)


def tensor_of(each: Crossing, batch: int) -> Tensor:
    shape = graph_shape(each, batch)
    dtype = getattr(torch, each.dtype)
    if dtype.is_floating_point:
        return torch.randn(shape).to(dtype)
    return torch.randint(0, 2, shape).to(dtype)


@given(
    st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=3),
    st.sampled_from([None, 1, 3, 8, 11, 16]),
    st.integers(1, 4),
    st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
)
@settings(max_examples=80, deadline=None)
def test_what_was_released_comes_back_bit_for_bit(
    layouts: list[Layout], bits: int | None, batch: int, dtype: str
) -> None:
    sent = [crossing(f"t{index}", dtype, layout=layout) for index, layout in enumerate(layouts)]
    sent.append(crossing("mask", "bool", (4,), public=True))
    sent.append(crossing("table", "int64", (3,), public=True, layout=None))
    bound = defense(*sent, bits=bits)
    released = bound.release([tensor_of(each, batch) for each in sent], Fresh())
    bodies = DefendedCodec(bound)
    body = bodies.pack(released, batch)
    assert len(body) == bodies.body_bytes(batch) == batch * bound_bytes(bound) + 3 * 8
    for was, now in zip(released, bodies.unpack(body, batch), strict=True):
        assert torch.equal(was, now)
        assert was.dtype == now.dtype


def bound_bytes(bound: Defense) -> int:
    """What the plan says a sample takes, without the tensor that has no samples."""
    return bound.payload_bytes() - 3 * 8


def test_several_bodies_joined_are_the_body_of_all_samples() -> None:
    bodies = DefendedCodec(defense(crossing("a"), crossing("b", layout=Layout(groups=2)), bits=5))
    first, second = torch.randn(1, 2, 3), torch.randn(2, 2, 3)
    groups = torch.randn(2, 3), torch.randn(4, 3)
    one = [bodies.defense.release(pair, Fresh()) for pair in ((first, groups[0]), (second, groups[1]))]
    joined = bodies.unpack(bodies.pack(one[0], 1) + bodies.pack(one[1], 2), 3)
    for index in range(2):
        assert torch.equal(joined[index], torch.cat([one[0][index], one[1][index]]))


def test_the_undefended_body_keeps_the_order_in_memory() -> None:
    each = crossing("a", shape=(2, 3, 4))
    tensors = torch.randn(5, 3, 4, 2).permute(0, 3, 1, 2), torch.randn(2, 3, 4).expand(5, 2, 3, 4)
    bodies = PlainCodec(defense(each, crossing("b", shape=(2, 3, 4))))
    body = bodies.pack(tensors, 5)
    assert len(body) == bodies.body_bytes(5)
    back = bodies.unpack(body, 5)
    assert all(torch.equal(was, now) for was, now in zip(tensors, back, strict=True))
    assert back[0].stride() == tensors[0].stride()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(dtype: str, bad: float) -> None:
    bodies = DefendedCodec(defense(crossing("a", dtype), bits=None))
    tensor = torch.zeros(1, 2, 3, dtype=getattr(torch, dtype))
    tensor[0, 1, 2] = bad
    with pytest.raises(BodyError, match="not finite"):
        bodies.unpack(bodies.pack([tensor], 1), 1)
    with pytest.raises(BodyError, match="not finite"):
        PlainCodec(bodies.defense).unpack(PlainCodec(bodies.defense).pack([tensor], 1), 1)


def test_another_size_a_truth_value_of_two_and_an_impossible_order_are_refused() -> None:
    bodies = DefendedCodec(defense(crossing("a"), crossing("mask", "bool", (4,), public=True)))
    body = bytearray(bodies.body_bytes(1))
    bodies.unpack(body, 1)
    with pytest.raises(BodyError, match="the plan says"):
        bodies.unpack(body + b"\x00", 1)
    body[-1] = 2
    with pytest.raises(BodyError, match="truth"):
        bodies.unpack(body, 1)
    plain = PlainCodec(defense(crossing("a")))
    with pytest.raises(BodyError, match="order of dimensions"):
        plain.unpack(bytes(plain.body_bytes(1)), 1)


def test_a_tensor_of_another_shape_or_dtype_is_not_sent() -> None:
    bodies = DefendedCodec(defense(crossing("a"), bits=None))
    with pytest.raises(BodyError, match="has the shape"):
        bodies.pack([torch.zeros(1, 3, 2)], 1)
    with pytest.raises(BodyError, match="float64"):
        bodies.pack([torch.zeros(1, 2, 3, dtype=torch.float64)], 1)
