"""Models that write in place: the graph writes nowhere, gives what the model gives, and is exported once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from collabplan.graph import candidate_cuts, same_values, split, trace
from torch import Tensor, nn
from torch.export import ExportedProgram


class Written(nn.Module):
    """A convolution, then some function that writes."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.after = nn.Conv2d(3, 4, 3, padding=1), after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.convolution(x))


def activated(y: Tensor) -> Tensor:
    return nn.functional.relu(y, inplace=True) * 2


def residual(y: Tensor) -> Tensor:
    shortcut = y
    y = torch.tanh(y)
    y += shortcut
    return y


def part_of_a_tensor(y: Tensor) -> Tensor:
    y[:, 1:] += y[:, :1]
    y[:, 0] = 0
    return torch.sigmoid(y)


def read_through_an_older_view(y: Tensor) -> Tensor:
    view = y[:, :2]
    y.mul_(3).clamp_(max=1)
    return torch.cat([view, y], 1)


def written_through_two_views(y: Tensor) -> Tensor:
    y[:, 1:][:, 0].fill_(7.0)
    return y - y.flatten(1).mean(1)[:, None, None, None]


def after_a_dropout_that_is_off(y: Tensor) -> Tensor:
    same = nn.functional.dropout(y, 0.5, training=False)
    same += 1
    return y * 2


def after_a_copy(y: Tensor) -> Tensor:
    copied = y.clone()
    copied.relu_()
    return copied - y


def pieces(y: Tensor) -> Tensor:
    first, second, third, _ = y.unbind(1)
    third.mul_(3)
    first.add_(second)
    left, right = y.split([2, 3], 3)
    right[:, :, 1:].neg_()
    return y * 2 + left.sum(3, keepdim=True)


def reshaped_and_permuted(y: Tensor) -> Tensor:
    heads = y.view(-1, 4, 25).unsqueeze(2)
    heads[:, 1].relu_()
    y.permute(2, 0, 1, 3)[0].zero_()
    y.transpose(1, 2)[:, 3:].exp_()
    return y + heads.sum((1, 2, 3))[:, None, None, None]


def a_power(y: Tensor) -> Tensor:
    y[:, 1:] **= 2
    y.pow_(2)
    return y * 2


def the_transposed(y: Tensor) -> Tensor:
    y.transpose(1, 2)[:, 0] += 1
    return torch.relu(y)


ONCE = [
    activated, residual, part_of_a_tensor, read_through_an_older_view, written_through_two_views,
    after_a_dropout_that_is_off, after_a_copy, pieces, reshaped_and_permuted, a_power, the_transposed,
]  # fmt: skip


def truth_values(y: Tensor) -> Tensor:
    return y.gt_(0.1) * 2.5


def without_gradients(y: Tensor) -> Tensor:
    with torch.no_grad():
        y = torch.relu_(y)
    return y + 1


AGAIN = [truth_values, without_gradients]


@pytest.mark.parametrize("after", [*ONCE, *AGAIN], ids=lambda function: function.__name__)
def test_what_is_written_in_place_reaches_every_reader(after: Callable[[Tensor], Tensor]):
    model = Written(after).eval()
    traced = trace(model, torch.randn(1, 3, 5, 5))
    assert not traced.notes
    cuts = candidate_cuts(traced)
    assert any(cut.kind == "proper" for cut in cuts)
    for batch in (1, 3):
        x = torch.randn(batch, 3, 5, 5)
        with torch.no_grad():
            expected = model(x)
            for cut in cuts:
                halves = split(traced, cut)
                assert same_values(halves.cloud(*halves.edge(x)), expected)


@pytest.mark.parametrize("after", ONCE, ids=lambda function: function.__name__)
def test_a_model_is_traced_once(after: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch):
    def refuse(*_arguments: object, **_options: object) -> ExportedProgram:
        raise AssertionError("traced a second time")

    monkeypatch.setattr(ExportedProgram, "run_decompositions", refuse)
    assert trace(Written(after), torch.randn(1, 3, 5, 5)).method == "non-strict"


def test_where_rewriting_goes_wrong_the_model_is_traced_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("collabplan.graph.functional.shows_itself", lambda _view: True)  # a wrong idea of views
    model = Written(part_of_a_tensor).eval()
    traced = trace(model, torch.randn(1, 3, 5, 5))
    x = torch.randn(3, 3, 5, 5)
    with torch.no_grad():
        assert same_values(traced.module(x), model(x))


@pytest.mark.parametrize(
    "written",
    [
        lambda ids: ids.float().greater_(4),
        lambda ids: ids.clone().not_equal_(3),
        lambda ids: (ids.to(torch.uint8) * 100).cumsum_(1),
        lambda ids: ids.to(torch.int16).mul_(30000),
    ],
)
def test_a_write_keeps_the_dtype_of_what_is_written_though_the_example_hides_it(written: Callable[[Tensor], Tensor]):
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 6)

        def forward(self, ids: Tensor) -> Tensor:
            weight = written(ids)
            return self.embed(ids) * (weight + weight).unsqueeze(-1)

    model = Weighted().eval()
    traced = trace(model, torch.zeros(2, 5, dtype=torch.int64))
    ids = torch.randint(0, 10, (3, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids)
        for cut in candidate_cuts(traced):
            halves = split(traced, cut)
            assert same_values(halves.cloud(*halves.edge(ids)), expected)


DIFFERENTIABLE = [f for f in ONCE if f not in (residual, pieces, reshaped_and_permuted)]
"""Of the others torch itself refuses the gradient: what it needs was written over."""


@pytest.mark.parametrize("after", DIFFERENTIABLE, ids=lambda function: function.__name__)
def test_gradients_are_the_models_own(after: Callable[[Tensor], Tensor]):
    model = Written(after).eval()
    traced = trace(model, torch.randn(1, 3, 5, 5))
    x = torch.randn(2, 3, 5, 5).requires_grad_()
    (expected,) = torch.autograd.grad(model(x).square().sum(), x)
    (found,) = torch.autograd.grad(traced.module(x).square().sum(), x)
    torch.testing.assert_close(found, expected)


def test_a_batch_that_tracing_again_would_fix_is_told_to_be_fixed():
    def windows(y: Tensor) -> Tensor:
        y[..., :4].unfold(3, 2, 2)[..., 0] = 0
        return y * 2

    model = Written(windows).eval()
    x = torch.randn(2, 3, 5, 5)
    traced = trace(model, x)
    assert traced.method == "static"
    assert any("only batch size 2" in note for note in traced.notes)
    with torch.no_grad():
        assert same_values(traced.module(x), model(x))
