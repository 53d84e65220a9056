"""Accuracy over the wire is that of the halves in memory, and a difference is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundle_plans import Made, TwoHeads, make, middle, rows
from collabplan.runtime import EdgePart, open_cloud, open_edge, write_bundle
from collabplan.runtime.over_the_wire import Subject, accuracy_over_the_wire, exact_samples, requests_of
from collabplan.runtime.server.server import CloudServer, ServeOptions
from collabplan.targets.data import Data
from defense_records import defense_record
from serving import ANYWHERE
from torch import Tensor

OPTIONS = {"policy": None, "retries": 0}


def first_class_wins(outputs: tuple[Tensor, list[Tensor]], labels: object) -> Tensor:  # noqa: ARG001
    return (outputs[1][0].argmax(1) == 0).double()


@pytest.fixture(scope="module")
def made() -> Made:
    return make(TwoHeads(), rows, middle, spec=defense_record())


@pytest.fixture(scope="module")
def folder(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("over") / "bundle"
    write_bundle(made.plan, made.traced, made.cut, bundle)
    return bundle


@pytest.fixture(scope="module")
def part(folder: Path) -> EdgePart:
    return open_edge(folder)


def subject(made: Made, count: int = 40) -> Subject:
    return Subject(made.plan, made.traced, made.cut, Data(made.inputs(count)), evaluate=first_class_wins)


def test_requests_go_over_the_data_again_and_again(made: Made, part: EdgePart) -> None:
    data = Data(made.inputs(3))
    found = [inputs[0] for inputs in requests_of(data, part, batch=2, count=4)]
    assert torch.equal(torch.cat(found), data.inputs[0][[0, 1, 2, 0, 1, 2, 0, 1]])


def test_the_accuracy_is_that_of_the_defended_halves(made: Made, part: EdgePart, folder: Path) -> None:
    cloud = open_cloud(folder)
    with torch.no_grad():
        released = part.defense.release(part.program(*made.inputs(40)), torch.Generator())
        expected = float(first_class_wins(cloud.program(*cloud.defense.receive(released)), None).mean())
    with CloudServer(cloud, ANYWHERE) as server:
        accuracy, _ = accuracy_over_the_wire(subject(made), part, server.address, OPTIONS)
    assert accuracy.value == pytest.approx(expected)
    assert accuracy.low < accuracy.value < accuracy.high or expected in (0.0, 1.0)


def test_equal_outputs_are_counted_and_other_weights_are_noticed(made: Made, part: EdgePart, folder: Path) -> None:
    cloud = open_cloud(folder)
    with CloudServer(cloud, ANYWHERE, ServeOptions(allow_undefended=True)) as server:
        assert exact_samples(subject(made), part, server.address, OPTIONS) == 40
        run = cloud.program.forward
        cloud.program.forward = lambda *tensors: run(*[tensor * 2 for tensor in tensors])  # type: ignore[method-assign]
        found = exact_samples(subject(made), part, server.address, OPTIONS)
    assert found == "undefended outputs over the wire differ from the halves in memory near sample 0"
