"""Options that become a record: what the record refuses is told in the option's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from ..records import CollabplanError, Record

R = TypeVar("R", bound=Record)


def checked(kind: type[R], options: Mapping[str, str], **values: Any) -> R:
    """The record `kind(**values)`.

    Args:
        options: by field, the option that set it.

    Raises:
        CollabplanError: a value out of its range, named by its option.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        wanted = str(first["msg"]).removeprefix("Input should be ")
        raise CollabplanError(
            f"{options.get(field, field)} {first['input']} is not possible: it must be {wanted}"
        ) from None
