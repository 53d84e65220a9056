"""Revisions: which code computed a result.

Every attack, estimator, tuning and defense stage carries a `revision`: an integer beside its class, raised by whoever
changes what it computes. A kept result names the revisions of all that it depends on, and is used only while they are
current. The package's version does not serve: it stays the same between two commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

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


def revisions_of(kind: str, parts: Iterable[Revised]) -> dict[str, int]:
    """The revisions of `parts`, sorted by name.

    Example:
        >>> class Kernel:
        ...     name, revision = "kernel", 2
        >>> revisions_of("attack", [Kernel()])
        {'attack:kernel': 2}
    """
    return dict(sorted((f"{kind}:{part.name}", part.revision) for part in parts))


def outdated(kept: Revisions, current: Revisions) -> tuple[str, ...]:
    """The parts of `kept` that `current` lacks or has at another revision.

    Example:
        >>> outdated({"attack:kernel": 1, "attack:prior": 1}, {"attack:kernel": 2, "attack:prior": 1})
        ('attack:kernel',)
    """
    return tuple(name for name, revision in sorted(kept.items()) if current.get(name) != revision)
