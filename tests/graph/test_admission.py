"""What may come in to be traced, and what is told, with its line and the remedy, before torch fails on it."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from collabplan.graph import candidate_cuts, load_program, same_values, save_program, split, trace
from collabplan.graph.admission import evaluation_mode, unwrapped
from collabplan.records import TraceError
from torch import Tensor, nn
from torch.utils import _pytree as pytree

HERE = r"test_admission\.py:\d+"
X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def require_halves(model: nn.Module, *inputs: Any, **named: Any) -> None:
    """Every cut's halves compose to the model."""
    traced = trace(model, inputs, named)
    with evaluation_mode(model):
        wanted = model(*inputs, **named)
    for cut in candidate_cuts(traced):
        halves = split(traced, cut)
        assert same_values(halves.cloud(*halves.edge(*inputs, **named)), wanted), cut.name


class Mode(enum.StrEnum):
    FAST = "fast"


@dataclass
class Unregistered:
    logits: Tensor


@dataclass
class Registered:
    logits: Tensor
    hidden: Tensor


torch.export.register_dataclass(Registered)


class Returns(nn.Module):
    """A network whose forward ends in `finish`."""

    def __init__(self, finish: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body = net()
        self.finish = finish

    def forward(self, x: Tensor) -> Any:
        return self.finish(self.body(x))


@pytest.mark.parametrize(
    ("finish", "remedy"),
    [
        (Unregistered, r"the dataclass Unregistered; return a tuple or a dict.*register_dataclass\(Unregistered\)"),
        (lambda y: SimpleNamespace(logits=y), "an object of class SimpleNamespace; return its tensors"),
        (lambda y: {y}, "an object of class set"),
        (lambda y: y.detach().numpy(), r"a numpy array; return the tensor \(without \.numpy\(\)\)"),
        (lambda y: iter_of(y), "a generator; return a list"),
        (lambda y: float(y.sum()), r"no tensor \(float\).*without \.item\(\), float\(\)"),
        (lambda _: None, r"no tensor \(NoneType\)"),
        (lambda _: (), r"no tensor \(nothing\)"),
        (lambda y: y.to_sparse(), "has the layout sparse_coo; make it dense"),
    ],
)
def test_an_output_that_no_graph_returns_is_told_with_the_line_of_forward(finish: Any, remedy: str) -> None:
    with pytest.raises(TraceError, match=rf"forward \(at .*{HERE}: def forward.*{remedy}"):
        trace(Returns(finish), X)


def iter_of(y: Tensor) -> Iterator[Tensor]:
    yield y


def test_a_registered_dataclass_goes_all_the_way_as_the_message_promises(tmp_path: Path) -> None:
    model = Returns(lambda y: Registered(y, y + 1)).eval()
    traced = trace(model, X)
    halves = split(traced, candidate_cuts(traced)[1])
    assert isinstance(halves.cloud(*halves.edge(X)), Registered)
    save_program(halves.cloud, tmp_path)
    reloaded = load_program(tmp_path)(*halves.edge(X))
    wanted = model(X)
    assert same_values(pytree.tree_leaves(reloaded), [wanted.logits, wanted.hidden])


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (X.numpy(), "is a numpy value; give a tensor"),
        (SimpleNamespace(x=X), "is of class SimpleNamespace; a graph takes tensors"),
        (torch.device("cpu"), "is of class device"),
        (Mode.FAST, "is of class Mode"),
        (X.to_sparse(), "has the layout sparse_coo; make it dense"),
        (torch.nested.nested_tensor([X[0], X[0, :2]], layout=torch.jagged), "is a nested tensor; pad it"),
        (torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), "is quantized; give it in floating point"),
    ],
)
def test_an_example_input_that_no_graph_takes_is_named(value: Any, remedy: str) -> None:
    class Any2(nn.Module):
        def forward(self, x: Tensor, extra: Any) -> Tensor:  # noqa: ARG002
            return x * 2

    with pytest.raises(TraceError, match=f"example input 'extra' {remedy}"):
        trace(Any2(), (X, value))


def test_an_example_without_a_sample_is_refused() -> None:
    with pytest.raises(TraceError, match=r"'input' of shape \[0, 4\] holds no sample; give one at least"):
        trace(net(), X[:0])


def quantized() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8)


def scripted_part() -> nn.Module:
    model = net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model[0] = torch.jit.script(model[0])
    return model


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(net(), X)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (quantized, "its module '0' is a quantized Linear; give the float model: the search finds how many bits"),
        (scripted, "it is TorchScript .* give the Python module"),
        (scripted_part, "its module '0' is TorchScript"),
        (lambda: nn.ModuleList([net()]), "of class ModuleList, has no forward"),
    ],
)
def test_modules_without_python_or_floating_weights_get_the_remedy(make: Any, remedy: str) -> None:
    with pytest.raises(TraceError, match=remedy):
        trace(make(), X)


def test_sparse_weights_are_named() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("adjacency", torch.eye(3).to_sparse())

        def forward(self, x: Tensor) -> Tensor:
            return torch.sparse.mm(self.adjacency, x)

    with pytest.raises(TraceError, match="tensor 'adjacency' has the layout sparse_coo; make it dense"):
        trace(Graph(), X)


def test_weights_made_in_inference_mode_trace_and_take_gradients() -> None:
    with torch.inference_mode():
        model = net()
    traced = trace(model, X)
    x = X.clone().requires_grad_()
    traced.module(x).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        assert same_values(traced.module(X), model(X))


def test_an_exported_program_is_traced_as_the_module_it_holds() -> None:
    batch = torch.export.Dim("batch")
    model = torch.export.export(net(), (X,), dynamic_shapes=({0: batch},)).module()
    traced = trace(model, X)
    assert traced.dynamic_batch
    assert same_values(traced.module(X[:1]), model(X[:1]))


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda m: torch.compile(nn.DataParallel(m))])
def test_wrappers_of_the_same_function_are_taken_off(wrap: Any) -> None:
    model = net()
    assert unwrapped(wrap(model)) is model
    assert not trace(wrap(model), X).notes  # bit for bit: what a compiler fuses would be equal up to rounding alone


def test_a_part_that_is_compiled_is_compared_uncompiled() -> None:
    model = net()
    model[0] = torch.compile(model[0])  # type: ignore[assignment]
    assert not trace(model, X).notes


# train and eval -----------------------------------------------------------------------------------------


class Freezes(nn.Sequential):
    """Keeps its normalisation in eval mode, as fine-tuning does."""

    def train(self, mode: bool = True) -> Freezes:
        super().train(mode)
        self[1].eval()
        return self


class Merges(nn.Linear):
    """Switches by its own `train`, as LoRA layers do: the adapter is part of the weight in eval mode."""

    merged = False

    def train(self, mode: bool = True) -> Merges:
        super().train(mode)
        if self.merged == mode:
            self.weight.data += -1.0 if mode else 1.0
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight if self.merged else self.weight + 1.0, self.bias)


class Loops(nn.Linear):
    """`train` is its training loop."""

    def train(self, loader: Any, epochs: int) -> None:  # type: ignore[override]  # noqa: ARG002
        raise AssertionError("nobody asked for training")


class Stubborn(nn.Sequential):
    """Never leaves training mode by itself."""

    def train(self, mode: bool = True) -> Stubborn:  # noqa: ARG002
        return super().train(True)


class Refuses(nn.Linear):
    def train(self, mode: bool = True) -> Refuses:
        raise NotImplementedError


@pytest.mark.parametrize(
    "model",
    [
        Freezes(nn.Linear(4, 4), nn.BatchNorm1d(4)),
        Loops(4, 4),
        Stubborn(nn.Linear(4, 4), nn.Dropout(0.5)),
        Refuses(4, 4),
    ],
    ids=lambda model: type(model).__name__,
)
def test_modules_that_override_train_are_traced_in_eval_mode_and_left_as_they_were(model: nn.Module) -> None:
    before = [module.training for module in model.modules()]
    traced = trace(model, X)
    assert [module.training for module in model.modules()] == before
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        assert same_values(traced.module(X), model(X))


class Fuses(nn.Linear):
    """Prepares itself in `eval`, and evaluates by a function of its own."""

    fused = False

    def eval(self) -> Fuses:
        self.fused = True
        return super().eval()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.fused else x


class Evaluates(nn.Linear):
    def eval(self, loader: Any) -> float:  # type: ignore[override]  # noqa: ARG002
        raise AssertionError("nobody asked for an evaluation")


def test_an_eval_of_the_models_own_is_called_where_it_is_torchs() -> None:
    assert trace(Fuses(4, 2), X).module(X).shape == (3, 2)
    assert trace(Evaluates(4, 2), X).module(X).shape == (3, 2)


def test_what_a_models_own_train_did_is_undone() -> None:
    model = Merges(4, 4)
    model.weight.data.zero_()
    trace(model, X)
    assert not model.merged
    assert not model.weight.any()


# what the model itself says --------------------------------------------------------------------------------


def test_a_model_called_with_the_wrong_arguments_is_told_what_its_forward_takes() -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor, mask: Tensor | None, scale: float = 1.0) -> Tensor:
            return image * mask * scale

    with pytest.raises(TraceError, match=r"forward takes \(image, mask, scale=1.0\)"):
        trace(Two(), X)


def test_an_argument_that_forward_takes_by_keyword_alone_is_told() -> None:
    class Named(nn.Module):
        def forward(self, *, features: Tensor, scale: float = 1.0) -> Tensor:
            return features * scale

    class Both(nn.Module):
        def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
            return x * mask

    with pytest.raises(TraceError, match=r'features by keyword only: example_inputs = \{"features": \.\.\.\}$'):
        trace(Named(), X)
    with pytest.raises(TraceError, match=r'mask by keyword only: example_inputs = \(\(\.\.\.,\), \{"mask": .*\}\)$'):
        trace(Both(), (X, X))


def test_a_line_of_the_standard_library_is_not_taken_for_the_users() -> None:
    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            import json

            return x * json.loads("{")

    with pytest.raises(TraceError, match=rf"{HERE}: return x \* json"):
        trace(Pool(), X)


def test_gradients_inside_forward_are_refused_with_the_line() -> None:
    class Energy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                z = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(super().forward(z).pow(2).sum(), z)
            return x - slope

    with pytest.raises(TraceError, match=rf"computes gradients in its forward.*{HERE}"):
        trace(Energy(4, 4), X)


def test_data_of_a_parameter_read_in_forward_is_followed() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) + self.linear.weight.data.sum()

    require_halves(Reads(), X)
