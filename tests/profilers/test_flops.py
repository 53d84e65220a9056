"""FLOPs of operators: products count, composites are decomposed, and unknown is never zero."""

from typing import Any

import torch
from collabplan.profilers.flops import FlopCount
from torch import Tensor, nn


def flops_of(function: Any, *args: Tensor) -> int | None:
    with torch.inference_mode(), FlopCount() as count:
        function(*args)
    return count.flops


def test_a_product_counts_two_per_multiply_add() -> None:
    assert flops_of(torch.mm, torch.ones(3, 4), torch.ones(4, 5)) == 2 * 3 * 4 * 5


def test_composite_products_are_taken_apart() -> None:
    assert flops_of(nn.functional.linear, torch.ones(7, 4), torch.ones(5, 4), torch.ones(5)) == 2 * 7 * 4 * 5
    assert flops_of(torch.matmul, torch.ones(2, 6, 3, 4), torch.ones(2, 6, 4, 5)) == 12 * 2 * 3 * 4 * 5
    assert flops_of(nn.functional.conv2d, torch.ones(2, 3, 8, 8), torch.ones(4, 3, 1, 1)) == 2 * 64 * 3 * 4 * 2


def test_attention_counts_both_its_products() -> None:
    q = torch.ones(1, 2, 5, 4)
    assert flops_of(nn.functional.scaled_dot_product_attention, q, q, q) == 2 * (2 * 2 * 5 * 5 * 4)


def test_what_the_registry_lacks_is_unknown() -> None:
    x = torch.ones(2, 3)
    for function in (torch.relu, torch.Tensor.clone, torch.Tensor.contiguous, torch.Tensor.cumsum):
        assert flops_of(lambda x, f=function: f(x, 0) if f is torch.Tensor.cumsum else f(x), x) is None
    assert flops_of(lambda x: torch.cdist(x, x), x) is None
    assert flops_of(lambda x: nn.functional.softmax(x, 0), x) is None
