"""A record file is read whole and ours, or refused with one line."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from collabplan.records import (
    CutProfile,
    DeviceIdentity,
    ModelIdentity,
    NodeProfile,
    Plan,
    Profile,
    RecordError,
    TargetIdentity,
    Timing,
    collect_provenance,
    load,
    save,
    schema_text,
)
from collabplan.records.files import MOST_BYTES, MOST_VALUES, SCHEMAS


@pytest.fixture
def profile() -> Profile:
    timing = Timing.from_samples([1.0, 1.1, 1.3])
    return Profile(
        target=TargetIdentity(spec="model.py", options={"input": "1x4"}),
        model=ModelIdentity(
            name="Net", structure_hash="s" * 64, weights_hash="w" * 64, torch_version="2.13.0", parameter_count=4,
            parameter_bytes=16,
        ),
        role="both",
        device=DeviceIdentity(device="cpu", name="a processor", threads=1),
        dtype="float32",
        batch=1,
        whole=timing,
        node_sum_ms=1.2,
        nodes=(
            NodeProfile(
                name="linear", operator="aten.linear.default", module="fc", timing=timing, output_bytes=16, flops=None,
                parameter_count=4,
            ),
        ),
        cuts=(
            CutProfile(
                id="c0", name="input", kind="cloud-only", depth=0, crossing=(), searchable=True, edge=None,
                cloud=timing, payload_bytes=16, edge_parameter_count=0, edge_parameter_bytes=0, edge_peak_bytes=0,
                edge_flops=0,
            ),
        ),
        sample_input_bytes=16,
        sample_output_bytes=16,
        peak_memory_method="liveness",
        provenance=collect_provenance(seed=3, command=("collabplan", "profile")),
    )  # fmt: skip


@pytest.fixture
def written(profile: Profile, tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    save(profile, path)
    return path


def altered(path: Path, **fields: Any) -> Path:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **fields}))
    return path


def refusal(kind: type[Profile] | type[Plan], path: Path) -> str:
    with pytest.raises(RecordError) as caught:
        load(kind, path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert "collabplan profile" in message or "collabplan optimize" in message, "it says what to do next"
    return message


def test_what_is_saved_is_loaded(profile: Profile, written: Path) -> None:
    assert load(Profile, written) == profile


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    assert "does not exist" in refusal(Plan, tmp_path / "plan.json")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(written: Path, share: float) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: int(len(content) * share)])
    assert "not whole JSON" in refusal(Profile, written)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bytes", b"[" * 100_000, b"[]", b'"text"', b"{}", b"null"])
def test_foreign_content_is_refused(written: Path, content: bytes) -> None:
    written.write_bytes(content)
    refusal(Profile, written)


def test_a_folder_is_not_a_record(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(Profile, tmp_path)


def test_a_profile_is_not_a_plan(written: Path) -> None:
    message = refusal(Plan, written)
    assert "not a plan" in message
    assert "collabplan.profile" in message


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_another_schema_version_is_refused(written: Path, version: object) -> None:
    assert "schema version" in refusal(Profile, altered(written, schema_version=version))


@pytest.mark.parametrize(
    ("fields", "place"),
    [({"batch": 0}, "batch"), ({"batch": "1x"}, "batch"), ({"extra": 1}, "extra"), ({"cuts": 3}, "cuts")],
)
def test_a_damaged_field_is_named(written: Path, fields: dict[str, Any], place: str) -> None:
    assert f"damaged at {place}" in refusal(Profile, altered(written, **fields))


def test_not_a_number_is_refused(written: Path) -> None:
    assert "damaged at node_sum_ms" in refusal(Profile, altered(written, node_sum_ms=float("nan")))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_the_records_own(name: str) -> None:
    """Where this fails after a change of a record: `make schemas`."""
    published = files("collabplan.records.schemas").joinpath(f"{name}.schema.json").read_text()
    assert published == schema_text(name)
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


def test_a_saved_profile_satisfies_the_published_schema(written: Path) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text("profile")))
    document = json.loads(written.read_text())
    validator.validate(document)
    assert not validator.is_valid({**document, "extra": 1})


@pytest.mark.parametrize("value", [True, "15"])
def test_what_is_no_number_is_not_read_as_one(written: Path, value: object) -> None:
    document = json.loads(written.read_text())
    written.write_text(json.dumps({**document, "node_sum_ms": value}))
    with pytest.raises(RecordError, match="damaged at node_sum_ms"):
        load(Profile, written)


# forged files -----------------------------------------------------------------------------------------------

FORGED = """
import json, resource
from collabplan.records import RecordError, parse
from collabplan.records.files import SCHEMAS

for size in (1, 20_000):  # the first round warms up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, field in (("plan", "front"), ("profile", "cuts"), ("audit", "audits"), ("link", None)):
        kind = SCHEMAS[name]
        head = {key: kind.model_fields[key].default for key in ("format", "schema_version")}
        body = {field: [{}] * size} if field else dict.fromkeys(map(str, range(size // 2)), 0)
        try:
            parse(kind, json.dumps({**head, **body}).encode(), "forged.json")
        except RecordError as error:
            assert len(str(error)) < 400
        else:
            raise SystemExit("a forged record was read")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_what_is_wrong_with_a_forged_file_of_80_kilobytes_takes_little_memory() -> None:
    ran = subprocess.run([sys.executable, "-c", FORGED], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 20, "MiB; a kilobyte for each of 260,000 faults"


@pytest.mark.parametrize("content", [b"[" + b"0," * MOST_VALUES + b"0]", b" " * (MOST_BYTES + 1)])
def test_a_file_larger_than_any_record_is_refused_unparsed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "large.json").write_bytes(content)
    assert "larger than any profile" in refusal(Profile, tmp_path / "large.json")


def test_a_list_is_refused_at_its_first_fault(written: Path) -> None:
    assert "damaged at cuts.0.id" in refusal(Profile, altered(written, cuts=[{}] * 1000))
    assert "more than 1000 keys" in refusal(Profile, altered(written, target=dict.fromkeys(map(str, range(1001)), "x")))
