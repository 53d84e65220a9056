"""Within the context, a division without remainder gives an integer size."""

import torch
from collabplan.graph.exact import exact_division
from torch import Tensor
from torch.export import Dim, export


class Windows(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        windows = x.reshape(-1, 2, 3)
        return windows.reshape(int(windows.shape[0] / 2), 4, 3)


def test_a_strict_export_keeps_the_batch_free() -> None:
    with exact_division():
        program = export(Windows(), (torch.randn(2, 4, 3),), dynamic_shapes=({0: Dim("batch")},), strict=True)
    x = torch.randn(5, 4, 3)
    assert torch.equal(program.module()(x), x)


def test_division_is_restored_afterwards() -> None:
    before = torch.SymInt.__truediv__
    with exact_division():
        assert torch.SymInt.__truediv__ is not before
    assert torch.SymInt.__truediv__ is before
