"""What a forged program file asks of the kernels that check nothing: refused, where the process would have died."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph.operators import function_of
from collabplan.records import RecordError

LOWEST = torch.tensor([-(2**63)])
ROWS, SIZES = torch.randn(3, 4), torch.tensor([2, 1])
STATE, WEIGHTS = torch.zeros(1, 2, 4), [torch.randn(4, 4), torch.randn(4, 4), torch.randn(4), torch.randn(4)]
IMAGE, ONE, FOUR = torch.randn(2, 4, 3), torch.randn(1), torch.rand(4)
SPECTRUM = torch.randn(4, 4, dtype=torch.complex64)


def packed(sizes):
    return (ROWS, torch.tensor(sizes, dtype=torch.int64), STATE, WEIGHTS, True, 1, 0.0, False, False)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("div.Tensor_mode", (LOWEST, torch.tensor([-1]), "trunc")),
        ("div.Scalar_mode", (LOWEST, -1, "trunc")),
        (
            "divide.Tensor_mode",
            (torch.tensor([-(2**31)], dtype=torch.int32), torch.tensor([-1], dtype=torch.int32), "trunc"),
        ),
        ("lcm.default", (torch.tensor([-(2**31)], dtype=torch.int32), torch.tensor([2**31 - 1], dtype=torch.int32))),
        ("gcd.default", (LOWEST, torch.tensor([6]))),
        ("lu_unpack.default", (torch.rand(2, 4, 3), torch.zeros(4, 0, dtype=torch.int32), False, True)),
        ("lu_unpack.default", (torch.rand(2, 0, 4), torch.ones(2, 3, dtype=torch.int32), False, True)),
        ("embedding_bag.default", (ROWS, torch.zeros(4, 0, dtype=torch.int64), torch.zeros(4, 0, dtype=torch.int64))),
        ("embedding_bag.default", (ROWS, torch.tensor([0, 1]), torch.tensor([0, -(10**7)]))),
        ("embedding_bag.padding_idx", (ROWS, SIZES, torch.tensor([0, 9]), False, 0, False, None, False, None)),
        ("rnn_tanh.data", packed([])),
        ("gru.data", packed([3, 5])),
        ("rnn_relu.input", (ROWS[None], STATE, [], True, 1, 0.0, False, False, True)),
        ("lstm.input", (ROWS[None], [STATE, STATE], WEIGHTS, True, 1, 0.0, False, False, True)),
        ("lstm.input", (ROWS[None], [STATE, STATE], WEIGHTS, True, 0, 0.0, False, False, True)),
        ("repeat_interleave.Tensor", (torch.tensor([200000000, -199999995]),)),
        ("repeat_interleave.self_Tensor", (FOUR, torch.tensor([2, -1, 0, 0]), 0)),
        ("_native_batch_norm_legit_no_training.default", (IMAGE, FOUR, ONE, FOUR, FOUR, 0.1, 1e-5)),
        ("_native_batch_norm_legit.no_stats", (IMAGE, None, ONE, True, 0.1, 1e-5)),
        ("_native_batch_norm_legit.no_stats", (IMAGE, None, None, False, 0.1, 1e-5)),
        ("_weight_norm.default", (ROWS, ONE, 0)),
        ("_weight_norm_interface.default", (ROWS, torch.zeros(0, 4), 1)),
        ("_weight_norm_interface.default", (torch.ones(3), ONE.expand(3), 0)),
        ("_fft_r2c.default", (ROWS, [2**62], 0, False)),
        ("_fft_c2c.default", (SPECTRUM, [-9], 0, True)),
        ("_fft_r2c.default", (torch.zeros(2, 0, 4, 4), [-1, 0, -2], 2, True)),
        ("_fft_c2c.default", (torch.zeros(1, 2, 2, 4, 6, 6, dtype=torch.complex64), [-2], 0, True)),
        ("_pdist_forward.default", (torch.zeros(4, 3, 0), 0.5)),
        ("_pdist_forward.default", (torch.zeros(4, 0), -torch.inf)),
        ("scaled_dot_product_attention.default", (IMAGE[None], torch.zeros(1, 0, 4, 3), torch.zeros(1, 0, 4, 3))),
        ("scaled_dot_product_attention.default", (IMAGE[None], IMAGE[None], IMAGE[None, :, :1])),
        ("scaled_dot_product_attention.default", (IMAGE[None], IMAGE[None, :, :1], IMAGE[None])),
        ("scaled_dot_product_attention.default", (IMAGE[None], IMAGE[None, ..., :1], IMAGE[None])),
        ("linalg_eigvals.default", (torch.full((4, 4), torch.inf),)),
        ("max_pool1d.default", (IMAGE, [2**40])),
        ("col2im.default", (torch.rand(2, 8, 16), [8, 8], [2, 2], [1, 1], [0, 2**40], [2, 2])),
        ("matrix_power.default", (torch.eye(4), -(2**63))),
        ("nanmedian.dim", (torch.ones(1, 3).expand(3, 3), 0)),
        ("median.dim", (torch.ones(1, 3).expand(3, 3), 0)),
    ],
)
def test_arguments_that_no_model_gives_are_refused(name, args):
    kwargs = {}
    if "div" in name:
        *args, kwargs["rounding_mode"] = args
    if "attention" in name:
        kwargs["enable_gqa"] = True
    with pytest.raises(RecordError, match="no model gives it"):
        function_of(f"aten.{name}")(*args, **kwargs)


def test_arguments_of_models_pass():
    divided = function_of("aten.div.Tensor_mode")(LOWEST, torch.tensor([3]), rounding_mode="trunc")
    assert torch.equal(divided, torch.div(LOWEST, 3, rounding_mode="trunc"))
    bags = function_of("aten.embedding_bag.default")(ROWS, torch.tensor([0, 1, 2]), torch.tensor([0, 0, 3]))
    assert torch.equal(bags[0], torch.stack([torch.zeros(4), ROWS.sum(0), torch.zeros(4)]))
    folded = function_of("aten.col2im.default")(torch.ones(1, 4, 4), [4, 4], [2, 2], [1, 1], [0, 0], [2, 2])
    assert torch.equal(folded, torch.ones(1, 1, 4, 4))
    output, _ = function_of("aten.rnn_tanh.data")(*packed([2, 1]))
    assert output.shape == (3, 4)
    assert function_of("aten.repeat_interleave.self_Tensor")(FOUR, torch.tensor(2)).shape == (8,)
    assert function_of("aten.linalg_matrix_power.default")(torch.eye(4), -3).equal(torch.eye(4))


@pytest.mark.parametrize(
    ("name", "args"), [("pow", (10, 10**9)), ("pow", (10, 40)), ("mul", (2**63, 2**63)), ("add", (2**64, 2**64))]
)
def test_integers_are_bounded(name, args):
    with pytest.raises(RecordError, match="64"):
        function_of(f"python.{name}")(*args)
    assert function_of(f"python.{name}")(2, 3) in (8, 6, 5)


@pytest.mark.parametrize(
    ("name", "args"),
    [("mul", ("a", 10**11)), ("mul", (10**11, [0])), ("mod", ("%99999999999d", 5)), ("add", ([0], [0])),
     ("neg", ("a",)), ("mul", (10**4000, 1.0)), ("getitem", ("text", 0)), ("getitem", ())],
)  # fmt: skip
def test_text_lists_and_long_numbers_are_no_operands(name, args):
    with pytest.raises(RecordError, match=r"in place of a number|more than 64 bits|something that has none"):
        function_of(f"python.{name}")(*args)
    assert function_of("python.getitem")([3, 4], 1) == 4
    assert function_of("python.mul")(torch.ones(2), 3).tolist() == [3, 3]
