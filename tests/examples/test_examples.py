"""The examples reach the accuracy that they claim, on data that they did not see."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from collabplan.records import CollabplanError, hash_rows
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]


def load_target(name: str) -> ModuleType:
    """`examples/NAME/model.py` as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / name / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    return load_target("digits")


@pytest.fixture(scope="module")
def lenet() -> ModuleType:
    return load_target("mnist_lenet")


@pytest.fixture
def mnist(lenet: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The LeNet example with its data, which does not come with the repository."""
    monkeypatch.setenv("COLLABPLAN_DATA", os.environ.get("COLLABPLAN_DATA") or str(ROOT.parent / "shared" / "data"))
    try:
        lenet.parts()
    except CollabplanError as absent:
        pytest.skip(str(absent))
    return lenet


@pytest.fixture(scope="module")
def cifar10() -> Iterator[Callable[[str], ModuleType]]:
    """The examples on CIFAR-10 with their data, which is read once and does not come with the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLLABPLAN_DATA", os.environ.get("COLLABPLAN_DATA") or str(ROOT.parent / "shared" / "data"))
        try:
            load_target("cifar10_cnn6").parts()
        except CollabplanError as absent:
            pytest.skip(str(absent))
        yield load_target


@torch.no_grad()
def accuracy(example: ModuleType, count: int | None = None) -> float:
    images, labels = (part[:count] for part in example.validation_data())
    model = example.model()
    return torch.cat([model(part).argmax(1) for part in images.split(100)]).eq(labels).double().mean().item()


@cache
def digests(images: Tensor) -> list[str]:
    """Of every image; once for examples that share their tensors."""
    return hash_rows(images)


def require_disjoint(example: ModuleType) -> None:
    parts = [example.validation_data(), example.attacker_data(), example.train_data()]
    found = [digest for images, _ in parts for digest in digests(images)]
    assert len(found) == len(set(found))
    low, high = example.input_range
    for images, labels in parts:
        assert len(images) == len(labels)
        assert low <= images.min() < images.max() <= high


def test_digits_are_recognised(digits: ModuleType) -> None:
    assert accuracy(digits) >= 0.97


def test_digits_parts_are_disjoint_and_in_range(digits: ModuleType) -> None:
    require_disjoint(digits)
    assert len(digits.validation_data()[0]) >= 500, "enough for a search split and a confirm split"


def test_mnist_is_recognised(mnist: ModuleType) -> None:
    assert accuracy(mnist) >= 0.985


def test_mnist_parts_are_disjoint_and_in_range(mnist: ModuleType) -> None:
    require_disjoint(mnist)


def test_lenet_has_the_layers_that_are_attacked_in_the_literature(lenet: ModuleType) -> None:
    assert [name for name, _ in lenet.model().named_children()][:5] == ["conv1", "ReLU1", "pool1", "conv2", "ReLU2"]


def test_lenet_without_data_is_a_model_still(lenet: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLLABPLAN_DATA", raising=False)
    assert lenet.model()(*lenet.example_inputs).shape == (1, 10)
    with pytest.raises(CollabplanError, match="COLLABPLAN_DATA"):
        lenet.validation_data()


@pytest.mark.parametrize("name", ["cifar10_cnn6", "cifar10_resnet20"])
def test_cifar10_parts_are_disjoint_and_in_range(name: str, cifar10: Callable[[str], ModuleType]) -> None:
    require_disjoint(cifar10(name))


@pytest.mark.parametrize(("name", "least"), [("cifar10_cnn6", 0.80), ("cifar10_resnet20", 0.88)])
def test_cifar10_is_recognised(name: str, least: float, cifar10: Callable[[str], ModuleType]) -> None:
    """The first 2,000 test images, which are in random order."""
    assert accuracy(cifar10(name), 2000) >= least


@pytest.mark.parametrize("name", ["digits", "mnist_lenet", "cifar10_cnn6", "cifar10_resnet20"])
def test_weights_are_small_and_models_in_eval_mode(name: str) -> None:
    example = load_target(name)
    assert example.WEIGHTS.stat().st_size < 7_000_000
    assert not any(module.training for module in example.model().modules())
