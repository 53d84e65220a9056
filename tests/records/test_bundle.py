"""What a manifest says is bound by its hashes, and what no part can be is refused when it is read."""

from __future__ import annotations

from typing import Any

import pytest
from collabplan.records import (
    BundleManifest,
    BundlePart,
    OutputSpec,
    RecordError,
    TensorSpec,
    WireFormat,
)
from defense_records import defense_record
from pydantic import ValidationError


def part(role: str = "edge", **fields: Any) -> BundlePart:
    names = ("plan.json", "graph.json", "weights.safetensors")
    given = {
        "role": role,
        "plan_sha256": "a" * 64,
        "cut_id": "c1",
        "cut_name": "layer1",
        "cut_kind": "proper",
        "wire": {"crossing": (), "defense": defense_record(), "payload_bytes": 0},
        "inputs": (),
        "outputs": {"structure": None, "tensors": ()},
        "files": tuple({"name": name, "sha256": "a" * 64, "size_bytes": 1} for name in names),
        "torch_version": "2.13.0",
        "collabplan_version": "0.1.0",
    }
    return BundlePart.model_validate({**given, **fields})


def test_a_sealed_manifest_is_taken_and_any_other_is_refused() -> None:
    edge, cloud = BundleManifest.sealed(part(), part("cloud"))
    assert cloud is not None
    assert edge.bundle_id == cloud.bundle_id
    assert (edge.part_sha256, edge.other_part_sha256) == (cloud.other_part_sha256, cloud.part_sha256)
    for manifest in (edge, cloud, BundleManifest.sealed(part(), None)[0]):
        manifest.require_sealed()
        for change in (
            {"part": part(manifest.part.role, batch=2)},
            {"bundle_id": "0" * 64},
            {"part_sha256": "0" * 64},
            {"other_part_sha256": "0" * 64},
        ):
            with pytest.raises(RecordError, match="changed after it was written"):
                manifest.model_copy(update=change).require_sealed()
    with pytest.raises(RecordError, match="changed"):
        cloud.model_copy(update={"other_part_sha256": None}).require_sealed()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"files": part().files[:2]}, "names no weights.safetensors"),
        ({"files": (*part().files, part().files[0])}, "named twice"),
        ({"plan_sha256": "b" * 64}, "not that of plan.json"),
        ({"role": "server"}, "edge"),
        ({"batch": 0}, "greater"),
        (
            {"files": (*part().files, {"name": "fallback/graph.json", "sha256": "a" * 64, "size_bytes": 1})},
            "two files of the edge part",
        ),
    ],
)
def test_an_impossible_part_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        part(**fields)


@pytest.mark.parametrize(
    ("structure", "count"),
    [
        ({"output": 1}, 1),
        ({"list": [{"output": 1}, {"output": 0}]}, 2),
        ({"list": [{"output": 0}]}, 2),
        ({"list": [{"output": 0}, {"output": 0}]}, 1),
        ({"dict": [[{"set": []}, None]]}, 0),
        ({"set": []}, 0),
        ({}, 0),
    ],
)
def test_an_output_structure_names_every_output_once_in_order(structure: Any, count: int) -> None:
    tensors = tuple(TensorSpec(name=f"o{index}", dtype="float32", shape=(1,)) for index in range(count))
    with pytest.raises(ValidationError, match=r"structure|no known kind"):
        OutputSpec(structure=structure, tensors=tensors)


def test_a_deeply_nested_output_is_refused() -> None:
    structure: Any = None
    for _ in range(100):
        structure = {"list": [structure]}
    with pytest.raises(ValidationError, match="too deeply"):
        OutputSpec(structure=structure, tensors=())


def test_a_shape_says_what_grows_with_the_batch() -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(2, 3, 0), batch_dims=(0,), free_dims=(2,))
    assert spec.shape_at(5) == (10, 3, None)
    with pytest.raises(ValidationError, match="fewer than it names"):
        TensorSpec(name="x", dtype="float32", shape=(2,), batch_dims=(1,))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dtype": "float31"}, "known are"),
        ({"sample_shape": (-1,)}, "which no tensor of a bundle has"),
        ({"sample_shape": (2**31, 2)}, "which no tensor of a bundle has"),
        ({"layout": {"batch_dim": 2}}, "no dimension 2"),
        ({"layout": None}, "cannot be divided"),
    ],
)
def test_a_tensor_that_cannot_cross_is_refused(fields: dict[str, Any], says: str) -> None:
    crossing = {"name": "layer1", "node": "relu", "dtype": "float32", "sample_shape": (4,), **fields}
    with pytest.raises(ValidationError, match=says):
        WireFormat.model_validate({"crossing": (crossing,), "defense": defense_record(), "payload_bytes": 1})
