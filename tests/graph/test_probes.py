"""Other values for example inputs: of the same kind, drawn from the generator that is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from collabplan.graph.probes import is_constant, noisy, other_values, rearranged, shuffled, varied
from torch import Tensor

FLOATS, IDS = torch.linspace(-1, 1, 12).reshape(2, 6), torch.tensor([[3, 7, 0], [1, 7, 2]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_shuffled_tensor_has_the_same_numbers_in_another_order() -> None:
    found = shuffled(FLOATS, seeded())
    assert found.shape == FLOATS.shape
    assert torch.equal(found.flatten().sort().values, FLOATS.flatten().sort().values)
    assert not torch.equal(found, FLOATS)


@pytest.mark.parametrize("change", [shuffled, noisy, other_values])
def test_the_same_seed_gives_the_same_values(change: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    assert torch.equal(change(FLOATS, seeded()), change(FLOATS, seeded()))


def test_noise_changes_floats_and_leaves_integers() -> None:
    assert not torch.equal(noisy(FLOATS, seeded()), FLOATS)
    assert noisy(IDS, seeded()) is IDS


def test_other_integers_stay_between_zero_and_the_largest() -> None:
    found = other_values(IDS, seeded())
    assert bool((found != IDS).all())
    assert (int(found.min()), int(found.max())) >= (0, 0)
    assert int(found.max()) <= 7
    assert torch.equal(other_values(torch.tensor([True, False]), seeded()), torch.tensor([False, True]))


@pytest.mark.parametrize("make", [varied, rearranged])
def test_two_batches_share_their_last_sample_and_the_first_stands_alone(
    make: Callable[[Tensor, int, int, torch.Generator], list[Tensor]],
) -> None:
    first, second, alone = make(FLOATS, 0, 3, seeded())
    assert first.shape == second.shape == (3, 6)
    assert torch.equal(first[-1], second[-1])
    assert not torch.equal(first[0], second[0])
    assert torch.equal(alone, first[:1])


def test_a_constant_example_cannot_be_rearranged() -> None:
    assert is_constant(torch.zeros(2, 3))
    assert not is_constant(FLOATS)
    with pytest.raises(ValueError, match="all equal"):
        rearranged(torch.zeros(2, 3), 0, 2, seeded())
