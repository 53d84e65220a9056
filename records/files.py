"""Reading and writing of record files: validated on load, atomic on save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

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
"""Every record with a published JSON Schema, `records/schemas/NAME.schema.json`."""

COMMANDS = {"plan": "optimize", "audit": "attack", "study": "optimize"}
"""The command that makes a record, where its name differs from the record's."""

MOST_BYTES = 2**26
"""The largest file that is read as a record."""

MOST_VALUES = 2_000_000
"""The most values of a record. Parsed, each takes up to 70 bytes."""

MOST_KEYS = 1000
"""The most keys of one object. Each that no record has takes two kilobytes to report."""


def save(record: Record, path: Path) -> None:
    """Write a record as indented JSON, atomically.

    Args:
        record: any record.
        path: the file.

    Raises:
        CollabplanError: the file cannot be written.

    Examples:
        >>> import tempfile
        >>> from collabplan.records import Link, save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Link.assumed(), Path(folder) / "link.json")
        ...     json.loads((Path(folder) / "link.json").read_text())["rtt_ms"]
        15.0
    """
    write_text(Path(path), record_text(record))


def record_text(record: Record) -> str:
    """The content of a record's file.

    Args:
        record: any record.

    Examples:
        >>> from collabplan.records import Interval, record_text
        >>> print(record_text(Interval(value=1.0, low=0.5, high=2.0)), end="")
        {
         "value": 1.0,
         "low": 0.5,
         "high": 2.0,
         "level": 0.95
        }
    """
    return record.model_dump_json(indent=1) + "\n"


def load(kind: type[R], path: Path) -> R:
    """Read a record of `kind` from `path`. Nothing in the file is executed.

    Args:
        kind: the class of the record, such as `Profile`.
        path: the file.

    Raises:
        RecordError: the file does not exist, is truncated or larger than any record, holds another kind of record or
            another schema version, or a field does not hold what the schema says.

    Examples:
        >>> from collabplan.records import Plan, load
        >>> load(Plan, Path("absent.json"))
        Traceback (most recent call last):
        collabplan.records.errors.RecordError: plan absent.json does not exist; ...
    """
    path = Path(path)
    what, again = _what(kind)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise RecordError(f"{what} {path} does not exist; {again}") from None
    except OSError as error:
        raise RecordError(f"{what} {path} cannot be read ({error.strerror}); {again}") from None
    return parse(kind, data, path)


def parse(kind: type[R], data: bytes, path: Path | str, *, most_values: int = MOST_VALUES) -> R:
    """The record in the bytes of a file. A forged file takes no more memory than a large one of ours.

    Args:
        kind: the class of the record.
        data: the content of the file.
        path: the file, for messages.
        most_values: a file that spells more is refused.

    Raises:
        RecordError: as `load` does.

    Examples:
        >>> from collabplan.records import Profile, parse
        >>> parse(Profile, b"[]", Path("profile.json"))
        Traceback (most recent call last):
        collabplan.records.errors.RecordError: profile.json is not a profile ...
    """
    what, again = _what(kind)
    expected = kind.model_fields["format"].default
    if len(data) > MOST_BYTES or sum(map(data.count, (b",", b"[", b"{"))) > most_values:
        raise RecordError(f"{path} is larger than any {what}; {again}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"{what} {path} cannot be read ({error}); {again}") from None
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # ValueError too: a number of thousands of digits
        raise RecordError(f"{what} {path} is not whole JSON ({error}); {again}") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != expected:
        raise RecordError(f"{path} is not a {what} (format {found!r}, expected {expected!r}); {again}")
    version, known = document.get("schema_version"), kind.model_fields["schema_version"].default
    if version != known:
        raise RecordError(other_version(what, path, version, known))
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        # Each error would otherwise hold the whole document again.
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{what} {path} is damaged at {place or 'the top'}: {first['msg']}; {again}") from None


def other_version(what: str, path: Path | str, version: object, known: object) -> str:
    """What is said of a record that another version of collabplan made. No older version is migrated.

    Examples:
        >>> other_version("plan", "plan.json", 1, 2)
        'plan plan.json was made by another version of collabplan (schema version 1, this one reads 2); make it again \
with `collabplan optimize`'
    """
    return (
        f"{what} {path} was made by another version of collabplan (schema version {version}, this one reads {known}); "
        f"{_again(what)}"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MOST_KEYS:
        raise ValueError(f"an object of more than {MOST_KEYS} keys")
    return dict(pairs)


def _what(kind: type[Record]) -> tuple[str, str]:
    """The name of such a record, and how to make it again."""
    what = str(kind.model_fields["format"].default).removeprefix("collabplan.")
    return what, _again(what)


def _again(what: str) -> str:
    return f"make it again with `collabplan {COMMANDS.get(what, what)}`"


def schema_text(name: str) -> str:
    """The JSON Schema of a record, as published under `records/schemas/`.

    Args:
        name: a key of `SCHEMAS`.

    Examples:
        >>> from collabplan.records import schema_text
        >>> json.loads(schema_text("link"))["title"]
        'LinkReport'
    """
    return json.dumps(SCHEMAS[name].model_json_schema(), indent=1, sort_keys=True) + "\n"
