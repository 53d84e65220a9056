"""Revisions: which code computed a result.

Every attack, estimator, tuning and defense stage carries a `revision`: an integer beside its class, raised by whoever
changes what it computes. A kept result names the revisions of all that it depends on, and is used only while they are
current. The package's version does not serve: it stays the same between two commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from .errors import CollabplanError
from .hashing import hash_tensors

if TYPE_CHECKING:
    from torch import Tensor

Revisions = Mapping[str, int]
"""Revisions by `kind:name`, `attack:kernel` or `estimator:mine` for example."""


class Revised(Protocol):
    """Anything that a kept result depends on."""

    @property
    def name(self) -> str:
        """As reports spell it."""

    @property
    def revision(self) -> int:
        """Raised whenever the same input gives another result."""


@dataclass(frozen=True, slots=True)
class Part:
    """The revision of what is no class of its own: a judge, an index, a bound."""

    name: str
    revision: int = 1


def revisions_of(kind: str, parts: Iterable[Revised]) -> dict[str, int]:
    """The revisions of `parts`, sorted by name.

    Raises:
        CollabplanError: a part without a revision, whose results could not be told from those of other code.

    Examples:
        >>> class Kernel:
        ...     name, revision = "kernel", 2
        >>> revisions_of("attack", [Kernel()])
        {'attack:kernel': 2}
    """
    found = {}
    for part in parts:
        revision = getattr(part, "revision", None)
        if type(revision) is not int:
            raise CollabplanError(
                f"the {kind} {part.name!r} needs an integer `revision`, got {revision!r}; write `revision = 1` in its "
                "class, and raise it whenever the class computes something else"
            )
        found[f"{kind}:{part.name}"] = revision
    return dict(sorted(found.items()))


def check_declared(part: object, what: str) -> None:
    """For conformance suites: a part has a name, and its class an integer revision.

    Args:
        part: an instance of what is checked.
        what: what it is, with its article.

    Raises:
        AssertionError: says what is declared instead.

    Examples:
        >>> check_declared(Part("judge", 2), "a part")
    """
    name, revision = getattr(part, "name", None), getattr(part, "revision", None)
    assert isinstance(name, str), f"{what}'s name is text, got {name!r}"
    assert name, f"{what} needs a name that is not empty"
    assert type(revision) is int, f"{name}: `revision` is an integer, got {revision!r}"


def outdated(kept: Revisions, current: Revisions) -> tuple[str, ...]:
    """The parts of `kept` that `current` lacks or has at another revision.

    Examples:
        >>> outdated({"attack:kernel": 1, "attack:prior": 1}, {"attack:kernel": 2, "attack:prior": 1})
        ('attack:kernel',)
    """
    return tuple(name for name, revision in sorted(kept.items()) if current.get(name) != revision)


def settings_of(part: object) -> dict[str, Any]:
    """What an instance was made with, as JSON: together with its name and revision it tells one result from another.

    Of a dataclass these are the fields that its `repr` shows, of other objects their attributes. A tensor stands as the
    hash of its content. An object without a JSON form stands as its `repr`; where that names an address in memory,
    no later process will use the result again, which is slow but never wrong.

    Examples:
        >>> settings_of(Part("judge", 2))
        {'name': 'judge', 'revision': 2}
    """
    if is_dataclass(part):
        names = [field.name for field in fields(part) if field.repr]
    else:
        slots = (name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ()))
        names = [name for name in (*getattr(part, "__dict__", {}), *slots) if hasattr(part, name)]
    return {name: _as_json(getattr(part, name)) for name in sorted(names)}


def _as_json(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and abs(value) < float("inf"):
        return value
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return settings_of(value)
    return hash_tensors({"": value}) if _is_tensor(value) else repr(value)


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    """Without an import of torch, which few readers of records need."""
    return type(value).__module__.startswith("torch") and hasattr(value, "untyped_storage")
