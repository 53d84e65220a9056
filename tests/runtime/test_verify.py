"""What is measured of a plan, on models of odd shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bundle_plans import FixedBatch, Made, SkipNet, crossing, images, last, make, middle, rows
from collabplan.runtime.over_the_wire import Subject
from collabplan.runtime.parts import open_edge
from collabplan.runtime.shaping import Shape
from collabplan.runtime.verify import Server, verify
from collabplan.targets.data import Data, InputScaling
from defense_records import defense_record
from serving import serving

NEAR = Shape.parse("1gbps,200us")


def subject(made: Made, count: int = 7) -> Subject:
    """Data without labels: the model's own classes stand in."""

    def score(outputs: Any, labels: object) -> torch.Tensor:  # noqa: ARG001
        tensor = outputs["logits"] if isinstance(outputs, dict) else outputs
        return torch.isfinite(tensor).all(dim=1).double()

    data = Data(made.inputs(count))
    scaling = InputScaling.from_data(*data.inputs)
    return Subject(made.plan, made.traced, made.cut, data, projection=made.projection, evaluate=score, scaling=scaling)


def test_two_tensors_cross_and_come_back_exactly() -> None:
    found = verify(subject(make(SkipNet(), images, crossing("relu", "conv2d_1"))), requests=3, shape=NEAR)
    assert found.exact_samples == 7
    assert found.accuracy.value == 1.0
    assert found.direct is not None
    assert found.total.p50_ms >= found.edge.p50_ms
    assert any("latency is" in violation for violation in found.violations), "the plan's figures are made up"


def test_a_fixed_batch_is_filled_up() -> None:
    found = verify(subject(make(FixedBatch(), rows, middle, batch=3)), requests=2, shape=NEAR)
    assert (found.exact_samples, found.sample_count) == (7, 7)


def test_everything_on_the_device_needs_no_server() -> None:
    found = verify(subject(make(SkipNet(), images, last)), requests=2)
    assert (found.way.p50_ms, found.cloud.p50_ms, found.direct, found.exact_samples) == (0, 0, None, None)


def test_keyed_masks_get_a_key_that_is_thrown_away() -> None:
    spec = defense_record(dropout="element", rate=0.5, masks="keyed")
    assert verify(subject(make(SkipNet(), images, middle, spec=spec)), requests=2, shape=NEAR).exact_samples == 7


def test_a_running_server_is_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    from collabplan.runtime import write_bundle

    made = make(SkipNet(), images, middle)
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(made.plan, made.traced, made.cut, folder)
    assert open_edge(folder).sends
    with serving(folder) as server:
        found = verify(subject(made), requests=2, server=Server(server.address))
    assert (found.direct, found.exact_samples, found.shaped) == (None, None, False)
    assert found.link == made.plan.link
