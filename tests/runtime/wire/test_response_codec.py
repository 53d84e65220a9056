"""Bodies of answers: the model's own structure comes back, and nothing that is not the manifest's is taken."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from collabplan.records import OutputSpec, TensorSpec
from collabplan.runtime.wire.response_codec import (
    AnswerError,
    answer_bytes,
    can_split,
    pack_outputs,
    split_outputs,
    unpack_outputs,
)
from hypothesis import given
from hypothesis import strategies as st

LOGITS = TensorSpec(name="logits", dtype="float32", shape=(1, 3), batch_dims=(0,))
TRUTH = TensorSpec(name="truth", dtype="bool", shape=(1, 2), batch_dims=(0,))
SPEC = OutputSpec(
    structure={"dict": [["logits", {"output": 0}], ["more", {"tuple": [{"output": 1}, None, {"float": "-inf"}]}],
                        ["size", {"list": [{"output": 2}]}]]},
    tensors=(LOGITS, TRUTH, TensorSpec(name="size", dtype="int64", shape=(), number=True)),
)  # fmt: skip
VALUE: dict[str, Any] = {
    "logits": torch.randn(2, 3),
    "more": (torch.tensor([[True, False]] * 2), None, -math.inf),
    "size": [2],
}


def test_an_output_comes_back_in_its_structure() -> None:
    body = pack_outputs(VALUE, SPEC)
    assert len(body) == answer_bytes(SPEC, 2)
    back = unpack_outputs(body, SPEC, 2)
    assert torch.equal(back["logits"], VALUE["logits"])
    assert torch.equal(back["more"][0], VALUE["more"][0])
    assert back["more"][1:] == (None, -math.inf)
    assert back["size"] == [2]


def test_sizes_that_only_the_run_tells_and_empty_ones_come_back() -> None:
    free = TensorSpec(name="found", dtype="int64", shape=(0, 2), free_dims=(0,))
    spec = OutputSpec(structure={"output": 0}, tensors=(free,))
    for rows in (0, 5):
        assert torch.equal(unpack_outputs(pack_outputs(torch.ones(rows, 2).long(), spec), spec, 1), torch.ones(rows, 2))


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(AnswerError):
        unpack_outputs(data, SPEC, 2)


def test_another_batch_a_missing_byte_and_truth_values_of_two_are_refused() -> None:
    body = pack_outputs(VALUE, SPEC)
    for data, batch in ((body, 3), (body[:-1], 2), (body + b"x", 2)):
        with pytest.raises(AnswerError):
            unpack_outputs(data, SPEC, batch)
    place = body.index(bytes([1, 0, 1, 0]))
    with pytest.raises(AnswerError, match="truth"):
        unpack_outputs(body[:place] + b"\x02" + body[place + 1 :], SPEC, 2)


def test_the_cloud_half_must_return_what_the_manifest_says() -> None:
    for wrong in ({**VALUE, "logits": VALUE["logits"].double()}, {"logits": VALUE["logits"]}, {**VALUE, "size": []}):
        with pytest.raises(AnswerError):
            pack_outputs(wrong, SPEC)


def test_only_outputs_with_a_row_per_sample_can_be_divided() -> None:
    spec = OutputSpec(structure={"list": [{"output": 0}, {"output": 1}]}, tensors=(LOGITS, TRUTH))
    assert can_split(spec)
    assert not can_split(SPEC)
    parts = split_outputs([torch.arange(9.0).view(3, 3), torch.ones(3, 2).bool()], spec, [1, 2])
    assert [part[0].tolist() for part in parts] == [[[0, 1, 2]], [[3, 4, 5], [6, 7, 8]]]


KEYS = OutputSpec(
    structure={"dict": [[0, {"output": 0}], [None, None], [2.5, {"list": []}], [["user", 1], {"output": 1}]]},
    tensors=(LOGITS, TRUTH),
)


def test_keys_come_back_with_their_types_also_from_the_manifests_json() -> None:
    value = {0: VALUE["logits"], None: None, 2.5: [], ("user", 1): VALUE["more"][0]}
    spec = OutputSpec.model_validate_json(KEYS.model_dump_json())
    back = unpack_outputs(pack_outputs(value, spec), spec, 2)
    assert [(type(key), key) for key in back] == [(type(key), key) for key in value]
    assert torch.equal(back[0], value[0])
    assert torch.equal(back["user", 1], value["user", 1])
    with pytest.raises(AnswerError):
        pack_outputs({"0": value[0], **value, 0: None}, spec)


@pytest.mark.parametrize(
    "pairs", [[[{}, None]], [[[["a"], {"output": 0}], None]], [[1, None], [True, None]], [["a"]], ["ab"]]
)
def test_a_manifest_with_keys_of_no_known_kind_is_refused(pairs: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"(key|part) of no known kind"):
        OutputSpec(structure={"dict": pairs}, tensors=())
