"""Options by name: what a caller in Python gives as keyword arguments, checked and divided into option groups."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..records import CollabplanError

Options = TypeVar("Options")


def options_from(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """The options `kind` with these values; the options of its groups are given by their own names.

    Several values of one option may be a list in place of a text with commas.

    Raises:
        CollabplanError: a name that no option has, a value that it cannot take, or a required option is missing.

    Examples:
        >>> from collabplan.workflows import LeakageOptions, OptimizeOptions
        >>> options_from(OptimizeOptions, {"budget_ms": 50, "trials": 10}).search.trials
        10
        >>> options_from(LeakageOptions, {"cuts": ["layer1", "layer2"]}).cuts
        'layer1,layer2'
    """
    groups = groups_of(kind)
    known = {name for group in groups.values() for name in names_of(group)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
            raise CollabplanError(f"there is no option {name!r}; {hint}")
    made = {
        field: _validated(group, {name: values[name] for name in names_of(group) if name in values})
        for field, group in groups.items()
    }
    return made[""] if "" in made else kind(**made)


def groups_of(kind: type[Any]) -> dict[str, type[Any]]:
    """The option groups by the field of `kind` that holds each; `kind` itself under `""` if it has none."""
    hints = get_type_hints(kind)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and dataclasses.is_dataclass(hint)}
    return groups or {"": kind}


def names_of(group: type[Any]) -> tuple[str, ...]:
    """The names of a group's options."""
    return tuple(field.name for field in dataclasses.fields(group))


def _validated(group: type[Any], values: Mapping[str, Any]) -> Any:
    """The group; a value of another type is converted if that loses nothing, else refused."""
    hints = get_type_hints(group)
    several = {name for name, hint in hints.items() if get_origin(hint) is tuple and Ellipsis in get_args(hint)}
    texts = {name for name, hint in hints.items() if str in (hint, *get_args(hint))} - several
    given = {
        name: ",".join(map(str, value)) if name in texts and isinstance(value, list | tuple) else value
        for name, value in values.items()
        if name not in several
    }
    # A defense may be an object of the caller's, so what may be given several times is checked where it is used.
    listed = {name: _listed(value) for name, value in values.items() if name in several}
    try:
        return dataclasses.replace(TypeAdapter(group).validate_python(given), **listed)
    except ValidationError as error:
        first = error.errors()[0]
        name, message = first["loc"][0], str(first["msg"])
        if first["type"] == "missing":
            raise CollabplanError(f"the option {name!r} is needed") from None
        wanted = message[0].lower() + message[1:]
        raise CollabplanError(f"the option {name!r} cannot be {first['input']!r}: {wanted}") from None


def _listed(value: Any) -> tuple[Any, ...]:
    """One value or several, as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)
