"""A record of another version is refused with one and the same line, whatever it is."""

import json
from pathlib import Path

import pytest
from collabplan.records import (
    AuditReport,
    LeakageReport,
    Plan,
    Profile,
    Record,
    RecordError,
    StudySetup,
    load,
    parse,
)
from collabplan.records.bundle import BundleManifest

OLD_DEFENSE = {
    "kept": 12, "directions": "a" * 64, "dropout": "element", "rate": 0.3, "masks": "fresh", "noise": "none",
    "noise_std": 0.0, "bits": 8, "rounding": "nearest", "ranges": [{"node": "relu", "low": 0.0, "high": 1.0}],
}  # fmt: skip
OLD_CANDIDATE = {"cut_id": "c", "cut_name": "relu", "dropout": "none", "rate": 0.0, "bits": 8, "noise": "none"}
KINDS: list[tuple[type[Record], dict[str, object], str]] = [
    (Plan, {"defense": OLD_DEFENSE, "chosen": OLD_CANDIDATE, "directions": None}, "collabplan optimize"),
    (Profile, {"role": "both", "batch": 1}, "collabplan profile"),
    (AuditReport, {"audits": [{"cut_id": "c", "defense": OLD_DEFENSE}]}, "collabplan attack"),
    (LeakageReport, {"rows": [{"cut_id": "c", "defense": OLD_DEFENSE}]}, "collabplan leakage"),
    (BundleManifest, {"part": {"wire": {"defense": OLD_DEFENSE}}}, "collabplan bundle"),
    (StudySetup, {"dropouts": ["element"], "rates": [0.1], "bits": [8], "kept": [1.0]}, "collabplan optimize"),
]


@pytest.mark.parametrize(("kind", "fields", "command"), KINDS, ids=lambda each: getattr(each, "__name__", ""))
@pytest.mark.parametrize("step", [-1, 1])
def test_another_version_is_one_line_that_says_what_to_do(
    kind: type[Record], fields: dict[str, object], command: str, step: int, tmp_path: Path
) -> None:
    what, current = (str(kind.model_fields[name].default) for name in ("format", "schema_version"))
    version = int(current) + step
    document = json.dumps({"format": what, "schema_version": version, **fields})
    file = tmp_path / "kept.json"
    file.write_text(document)
    said = set()
    for read in (lambda: load(kind, file), lambda: parse(kind, document.encode(), file)):
        with pytest.raises(RecordError) as caught:
            read()
        said.add(str(caught.value))
    assert said == {
        f"{what.removeprefix('collabplan.')} {file} was made by another version of collabplan "
        f"(schema version {version}, this one reads {current}); make it again with `{command}`"
    }
    assert file.read_text() == document, "nothing is changed or deleted"
