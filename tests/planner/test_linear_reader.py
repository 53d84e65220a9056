"""What a linear attacker reads, on codes where it is known."""

from __future__ import annotations

import pytest
import torch
from collabplan.planner.linear_reader import MEMORY, RIDGE, LinearReader

RIDGED = 1 / (1 + RIDGE)
"""Of what a code of variance 1 tells, the reader counts so much."""


def draws(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_the_share_is_that_of_the_variance_which_the_codes_tell():
    x = draws(20_000, 8) * torch.tensor([2.0, 1, 1, 1, 1, 1, 1, 1]) + 5
    reader = LinearReader([(part,) for part in x.split(64)])
    told = {"the widest": x[:, :1] - 5, "another": x[:, 1:2] - 5, "nothing": draws(20_000, 1, seed=1)}
    found = {name: reader.share([(code / code.std(), (x,))]) for name, code in told.items()}
    assert found["the widest"] == pytest.approx(RIDGED * 4 / 11, abs=0.02)
    assert found["another"] == pytest.approx(RIDGED * 1 / 11, abs=0.02)
    assert found["nothing"] == pytest.approx(0, abs=0.01)
    both = torch.cat([told["the widest"] / 2, told["another"]], dim=1)
    assert reader.share([(both, (x,))]) == pytest.approx(RIDGED * 5 / 11, abs=0.02)


def test_batches_give_what_all_samples_at_once_give():
    x, z = draws(1000, 8), draws(1000, 3, seed=1)
    z = (z + x[:, :3]) / 2**0.5
    reader = LinearReader([(x,)])
    whole = reader.share([(z, (x,))])
    parts = reader.share((a, (b,)) for a, b in zip(z.split(300), x.split(300), strict=True))
    assert parts == pytest.approx(whole, rel=1e-4)


def test_neither_the_unit_nor_a_constant_input_changes_it():
    x, y = draws(2000, 4), draws(2000, 6, seed=1)
    z = x[:, :2]
    alone = LinearReader([(x,)]).share([(z, (x,))])
    assert LinearReader([(255 * x + 9,)]).share([(z, (255 * x + 9,))]) == pytest.approx(alone, rel=1e-3)
    assert LinearReader([(x, 1000 * y)]).share([(z, (x, 1000 * y))]) == pytest.approx(alone / 2, rel=0.02)
    flat = torch.ones(2000, 5)
    assert LinearReader([(flat,)]).share([(z, (flat,))]) == 0


def test_running_moments_come_to_the_share_and_gradients_weigh_as_those_of_all_samples():
    x = draws(64 * 200, 8)
    turn = torch.tensor(0.6, requires_grad=True)
    reader = LinearReader([(x,)])
    gradients: list[torch.Tensor] = []
    for batch in x.split(64):
        # Of two inputs and of noise, a code of variance 1 tells the first by its cosine.
        z = torch.cos(turn) * batch[:, :1] + torch.sin(turn) * draws(64, 1, seed=len(gradients) + 1)
        read = reader.read(z, (batch,))
        gradients.append(torch.autograd.grad(read, turn)[0])
    told = RIDGED * torch.cos(turn.detach()) ** 2 / 8
    assert float(read.detach()) == pytest.approx(float(told), abs=0.03)
    settled = torch.stack(gradients[int(5 / (1 - MEMORY)) :]).mean()
    truth = -2 * RIDGED * torch.cos(turn.detach()) * torch.sin(turn.detach()) / 8
    assert float(settled) == pytest.approx(float(truth), rel=0.15)
