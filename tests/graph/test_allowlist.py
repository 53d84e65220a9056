"""Which operators a program file may name."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph.allowlist import kind_of, refusal
from collabplan.graph.operators import function_of
from collabplan.records import RecordError


def registered():
    for full in torch._C._dispatch_get_all_op_names():
        name, _, overload = full.removeprefix("aten::").partition(".")
        if full.startswith("aten::") and hasattr(torch.ops.aten, name):
            yield getattr(getattr(torch.ops.aten, name), overload or "default")


def test_what_is_admitted_writes_nothing_and_takes_and_returns_plain_values():
    admitted = [overload for overload in registered() if refusal(overload) is None]
    assert len(admitted) > 500
    for overload in admitted:
        schema = overload._schema
        assert not schema.is_mutable, overload
        kinds = " ".join(str(argument.real_type) for argument in schema.arguments)
        for kind in ("Generator", "Storage", "Stream", "Dimname", "QScheme", "Any"):
            assert kind not in kinds, overload
        assert all(str(result.type) in ("Tensor", "List[Tensor]", "int") for result in schema.returns), overload


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("from_file", "of a file"), ("as_strided", "of another tensor"), ("empty", "unwritten"), ("set", "of another"),
        ("resize", "unwritten"), ("rand", "random"), ("bernoulli", "random"), ("nonzero", "tensor values"),
        ("masked_select", "tensor values"), ("_linalg_svd", "private"), ("add_", "writes"),
        ("quantize_per_tensor", "float model"), ("sparse_coo_tensor", "not dense"),
        ("cudnn_convolution", "inner kernel"), ("convolution_backward", "backward"),
        ("ctc_loss", "outside its arguments"), ("segment_reduce", "checks off"), ("item", "tensor values"),
        ("special_legendre_polynomial_p", "loop"), ("combinations", "exponentially"),
    ],
)  # fmt: skip
def test_what_a_stranger_should_not_have_is_refused_with_the_reason(name, match):
    packet = getattr(torch.ops.aten, name)
    for overload in (getattr(packet, each) for each in packet.overloads()):
        found = refusal(overload)
        assert found is not None, overload
        if not overload._schema.is_mutable:
            assert match in f"{found.reason}; {found.remedy}" or "takes a" in found.reason, found
        with pytest.raises(RecordError, match="not on the list"):
            function_of(f"aten.{name}.{overload._overloadname}")


def test_a_refusal_has_a_reason_and_a_remedy():
    found = refusal(torch.ops.aten.nonzero.default)
    assert found is not None
    assert "depends on tensor values" in found.reason
    assert "torch.where" in found.remedy
    assert refusal(torch.ops.aten.conv2d.default) is None


def test_the_kind_of_an_argument_is_that_of_its_items():
    arguments = {each.name: kind_of(each) for each in torch.ops.aten.cat.default._schema.arguments}
    assert arguments == {"tensors": "Tensor", "dim": "int"}
