"""Crossings whose gradients do not tell how they move are named, with the operator that stands in the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from collabplan.graph import candidate_cuts, dead_gradients, trace
from torch import Tensor, nn


class Behind(nn.Module):
    """A linear layer, some function, a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.function, self.last = nn.Linear(8, 8), function, nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


class Passed(torch.autograd.Function):
    """The sign, whose own backward says that it is the identity."""

    @staticmethod
    def forward(_: object, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return gradient


class Reversed(torch.autograd.Function):
    """The identity, whose own backward says the contrary."""

    @staticmethod
    def forward(_: object, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return -gradient


CODES = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))


def codebook(x: Tensor) -> Tensor:
    nearest = CODES[torch.cdist(x, CODES).argmin(-1)]
    return x + (nearest - x).detach()


def found(model: nn.Module, *example: Tensor) -> dict[str, tuple[str, ...]]:
    traced = trace(model, example)
    return dead_gradients(traced, candidate_cuts(traced))


@pytest.mark.parametrize(
    ("function", "where"),
    [
        (lambda x: x + ((x * 4).round() / 4 - x).detach(), "round"),
        (lambda x: x + (x.sign() - x).detach(), "sign"),
        (lambda x: 0.001 * x + codebook(x), "argmin"),
        (codebook, "argmin"),
        (Passed.apply, "sign"),
        (lambda x: torch.where(x > 0, 1.0, -1.0), "gt"),
        (lambda x: torch.sigmoid(1000 * x), "sigmoid"),
        (lambda x: nn.functional.hardsigmoid(10_000 * x), "hardsigmoid"),
        (lambda x: nn.functional.one_hot(x.argmax(-1), 8).float(), "argmax"),
        (lambda x: x + 2 * (x * 3).floor(), "floor"),
        (lambda x: (x * 20).to(torch.int8).float() / 20, "aten.to"),
    ],
)
def test_a_step_is_named_whatever_the_models_own_backward_says(function: Callable[[Tensor], Tensor], where: str):
    dead = found(Behind(function), torch.randn(1, 8))
    assert "last" in dead
    assert "first" not in dead
    assert any(where in blocker for blocker in dead["last"])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x * (x > 0) + x.clamp(-1, 1),
        lambda x: x.detach().tanh(),
        lambda x: x / x.abs().amax(-1, keepdim=True).detach(),
        lambda x: x.sort(-1).values,
        lambda x: x * torch.ones(x.shape[0], 1) / x.size(1) + torch.arange(x.shape[0])[:, None],
        Reversed.apply,
        lambda x: torch.cdist(x, CODES[:8]),
    ],
)
def test_what_moves_as_its_derivative_says_is_alive(function: Callable[[Tensor], Tensor]):
    assert found(Behind(function), torch.randn(1, 8)) == {}


def test_gradients_that_a_model_switches_off_for_itself_are_alive():
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                features = torch.relu(self.body(x))
            return self.head(features)

    assert found(Frozen(), torch.randn(1, 8)) == {}


class Label(nn.Module):
    """The embedding of the greatest of four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.embedding(x.argmax(-1)))


def test_an_argmax_on_the_way_is_named():
    dead = found(Label(), torch.randn(1, 4))
    assert set(dead) >= {"embedding", "relu"}
    assert all("argmax" in blockers[0] for blockers in dead.values())


def test_sizes_of_a_live_tensor_are_no_dead_end():
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.pixels = nn.Embedding(9, 8), nn.Linear(8, 8)

        def forward(self, ids: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            places = torch.arange(x.shape[0], dtype=torch.float32)[:, None] / x.shape[0]
            return self.words(ids) * torch.ones(x.shape[0], 8) + places, self.pixels(x) + x.new_zeros(x.shape[0], 8)

    assert found(Placed(), torch.randint(0, 9, (2,)), torch.randn(2, 8)) == {}


def test_an_integer_input_owes_no_gradient():
    assert found(nn.Sequential(nn.Embedding(4, 3), nn.ReLU()), torch.randint(0, 4, (1, 2))) == {}


def test_a_constant_example_gives_no_false_alarm():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.InstanceNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    for example in (torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)):
        assert found(model, example) == {}


def test_half_precision_gives_no_false_alarm():
    for dtype in (torch.float16, torch.bfloat16):
        model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 8), nn.Softmax(-1)).to(dtype)
        assert found(model, torch.randn(1, 8).to(dtype)) == {}


def test_an_operator_without_a_forward_derivative_is_differenced():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(4, 6, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0]

    assert found(Recurrent(), torch.randn(2, 5, 4)) == {}


def test_black_and_white_data_show_a_saturation_that_values_between_them_would_hide():
    traced = trace(Saturated(), torch.rand(1, 16))
    cuts = candidate_cuts(traced)
    data = (torch.rand(2, 8, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    assert dead_gradients(traced, cuts, [[batch] for batch in data])
    assert dead_gradients(traced, cuts, [[batch] for batch in 0.4 + 0.2 * data]) == {}


class Saturated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(25 * (x - 0.5))


def test_attention_has_a_live_gradient_though_its_fused_kernel_has_none():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert found(layer.eval(), torch.randn(1, 4, 8)) == {}


def test_an_input_that_hardly_moves_does_not_throw_the_others_far_out():
    class Attended(nn.Module):
        """A query that reads 1e-6 of the input, as a class token behind a small layer scale does."""

        def __init__(self) -> None:
            super().__init__()
            self.query, self.last = nn.Parameter(torch.randn(1, 2, 1, 4)), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            query = self.query + 1e-6 * x.mean(2, keepdim=True)
            return self.last(nn.functional.scaled_dot_product_attention(query, x, x))

    torch.manual_seed(0)
    traced = trace(Attended().eval(), torch.randn(1, 2, 6, 4))
    assert not dead_gradients(traced, candidate_cuts(traced))


def test_a_deep_network_of_kinks_is_alive():
    """Its layers bend each path so often that derivatives at two places explain little of it."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(24):
        layer = nn.Linear(64, 64)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(layer.bias, std=0.3)
        layers += [layer, nn.ReLU()]
    assert found(nn.Sequential(*layers), torch.randn(1, 64)) == {}


def test_a_movement_that_rounding_alone_could_make_is_no_dead_end():
    """What is left of the input is a few units of rounding, to which each layer adds its own."""

    class Drowned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(nn.utils.parametrizations.orthogonal(nn.Linear(256, 256)) for _ in range(12)))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(1 + 3e-6 * x)

    torch.manual_seed(0)
    assert found(Drowned().eval(), torch.randn(1, 256)) == {}


@pytest.mark.parametrize("seed", range(28, 35))
def test_a_step_that_few_numbers_seldom_cross_is_still_found(seed: int):
    assert set(found(Label(), torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)))) >= {"embedding"}
