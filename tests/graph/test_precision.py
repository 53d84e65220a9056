"""Statistics of half-precision numbers do not overflow."""

import pytest
import torch
from collabplan.graph.precision import widened


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        (torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32, torch.float32),
        (torch.float64, torch.float64), (torch.int64, torch.float32), (torch.complex64, torch.complex64),
    ],
)  # fmt: skip
def test_numbers_become_float32_or_stay_wider(dtype: torch.dtype, wide: torch.dtype) -> None:
    assert widened(torch.ones(3, dtype=dtype)).dtype == wide


def test_a_sum_of_squares_stays_finite() -> None:
    values = torch.full((4,), 300.0, dtype=torch.float16)
    assert values.square().sum().isinf()
    assert widened(values).square().sum() == 4 * 300.0**2
