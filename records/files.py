"""Reading and writing of record files: validated on load, atomic on save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from .atomic import write_text
from .audit import AgreementReport, AuditReport
from .base import Record
from .bundle import BundleManifest
from .errors import RecordError
from .leakage import LeakageReport
from .link import LinkReport
from .plan import Plan
from .profile import Profile

R = TypeVar("R", bound=Record)

SCHEMAS: dict[str, type[Record]] = {
    "profile": Profile, "plan": Plan, "leakage": LeakageReport, "audit": AuditReport, "agreement": AgreementReport,
    "bundle": BundleManifest, "link": LinkReport,
}  # fmt: skip
"""Every record that has a published JSON Schema, `records/schemas/NAME.schema.json`."""

COMMANDS = {"plan": "optimize", "audit": "attack", "study": "optimize"}
"""What makes a record, where the command has another name."""


def save(record: Record, path: Path) -> None:
    """Write a record as indented JSON, atomically.

    Raises:
        CollabplanError: the file cannot be written.
    """
    write_text(Path(path), record_text(record))


def record_text(record: Record) -> str:
    """A record as its file has it."""
    return record.model_dump_json(indent=1) + "\n"


def load(kind: type[R], path: Path) -> R:
    """Read a record of `kind` from `path`. Nothing in the file is executed.

    Raises:
        RecordError: no such file, truncated, another kind of file, another schema version, or a
            field that does not hold what the schema says.
    """
    path = Path(path)
    what, again = _what(kind)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"{what} {path} does not exist; {again}") from None
    except OSError as error:
        raise RecordError(f"{what} {path} cannot be read ({error}); {again}") from None
    return parse(kind, data, path)


def parse(kind: type[R], data: bytes, path: Path | str) -> R:
    """The record that bytes hold; `path` says in messages where they come from.

    Raises:
        RecordError: as `load` does.
    """
    what, again = _what(kind)
    expected = kind.model_fields["format"].default
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"{what} {path} cannot be read ({error}); {again}") from None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError too: a number of thousands of digits
        raise RecordError(f"{what} {path} is not whole JSON ({error}); {again}") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != expected:
        raise RecordError(f"{path} is not a {what} (format {found!r}, expected {expected!r}); {again}")
    version, known = document.get("schema_version"), kind.model_fields["schema_version"].default
    if version != known:
        raise RecordError(other_version(what, path, version, known))
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{what} {path} is damaged at {place or 'the top'}: {first['msg']}; {again}") from None


def other_version(what: str, path: Path | str, version: object, known: object) -> str:
    """What is said of a record that another version of collabplan made. No older version is migrated.

    Example:
        >>> other_version("plan", "plan.json", 1, 2)
        'plan plan.json was made by another version of collabplan (schema version 1, this one reads 2); make it again \
with `collabplan optimize`'
    """
    return (
        f"{what} {path} was made by another version of collabplan (schema version {version}, this one reads {known}); "
        f"{_again(what)}"
    )


def _what(kind: type[Record]) -> tuple[str, str]:
    """What such a record is called, and how to make it again."""
    what = str(kind.model_fields["format"].default).removeprefix("collabplan.")
    return what, _again(what)


def _again(what: str) -> str:
    return f"make it again with `collabplan {COMMANDS.get(what, what)}`"


def schema_text(name: str) -> str:
    """The JSON Schema of a record, as published under `records/schemas/`."""
    return json.dumps(SCHEMAS[name].model_json_schema(), indent=1, sort_keys=True) + "\n"
