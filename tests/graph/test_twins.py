"""Composites whose own code would fix the batch: it stays free, values are torch's own, and kernels are restored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from collabplan.graph import same_values, trace
from collabplan.graph.twins import twins
from torch import Tensor, nn

CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "kron": lambda y: torch.kron(y, torch.ones(1, 2)),
    "cdist": lambda y: torch.cdist(y, torch.eye(4)),
    "multi_dot": lambda y: torch.linalg.multi_dot([y, torch.eye(4), torch.ones(4, 2)]),
    "matrix_norm": lambda y: torch.linalg.matrix_norm(y.view(-1, 2, 2), 2).unsqueeze(1),
    "gradient": lambda y: torch.gradient(y, dim=1)[0],
    "covariance": lambda y: y @ torch.cov(torch.eye(4)),
}


class Between(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.call = nn.Linear(3, 4), call

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.call(self.linear(x)))


@pytest.mark.parametrize("name", CALLS)
def test_the_batch_stays_free_and_the_values_are_torchs(name: str) -> None:
    model = Between(CALLS[name]).eval()
    traced = trace(model, torch.randn(1, 3))
    assert traced.dynamic_batch
    x = torch.randn(5, 3)
    with torch.no_grad():
        assert same_values(traced.module(x), model(x))


def test_kernels_are_restored() -> None:
    operator = torch.ops.aten.kron.default
    before = dict(operator.py_kernels)
    with twins():
        assert operator.py_kernels != before
    assert operator.py_kernels == before
