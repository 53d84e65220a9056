"""What a program file spells is read back as it was, and nothing else is read."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import pytest
import torch
from collabplan.graph.program_format import (
    decode_structure,
    decode_value,
    encode_structure,
    encode_value,
    references,
    require_decodable,
    require_structure,
    varies,
)
from collabplan.records import RecordError, TraceError
from torch import fx
from torch.utils import _pytree as pytree

CPU = torch.device("cpu")
VALUES: list[Any] = [
    None, True, 3, "text", 0.5, math.inf, -math.inf, [1, [2, None]], torch.float16, torch.strided,
    torch.channels_last, 1 + 2j, slice(1, None, 2),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_constant_comes_back(value: Any) -> None:
    written = encode_value(value, {})
    require_decodable(written)
    assert not varies(written)
    assert decode_value(written, {}, CPU) == value


def test_not_a_number_comes_back() -> None:
    assert math.isnan(decode_value(encode_value(math.nan, {}), {}, CPU))


def test_a_result_and_the_device_are_known_only_during_a_run() -> None:
    node = fx.Graph().placeholder("x")
    written = encode_value([node, torch.device("cuda"), slice(node, 2)], {node: "n3"})
    assert varies(written)
    assert references(written) == ["n3", "n3"]
    assert decode_value(written, {"n3": 7}, CPU) == [7, CPU, slice(7, 2, None)]


def test_a_value_that_the_format_lacks_is_refused() -> None:
    with pytest.raises(TraceError, match="argument of type set"):
        encode_value({1}, {})


@pytest.mark.parametrize("output", [1, [1, (2, 3)], {"a": 1, 2: [3]}, OrderedDict(b=1, a=(2,)), {("a", 1): None}])
def test_a_nesting_comes_back(output: Any) -> None:
    leaves, structure = pytree.tree_flatten(output)
    written = encode_structure(structure, iter(leaves))
    require_structure(written)
    assert decode_structure(written, {}, CPU) == output


@pytest.mark.parametrize("value", [{"dtype": "qint8"}, {"layout": "sparse_coo"}, {"eval": "1"}, [{"set": []}]])
def test_an_unknown_tag_or_constant_is_refused(value: Any) -> None:
    with pytest.raises(RecordError, match="is no"):
        require_decodable(value)
