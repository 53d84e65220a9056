"""collabplan decides with evidence where to split a PyTorch model between an edge device and an untrusted cloud.

    study = collabplan.open("model.py")        # or collabplan.Target(model, example_inputs, validation_data=...)
    study.profile(); study.leakage(cuts="all"); plan = study.optimize(budget_ms=50); study.attack(plan)
    plan.split("halves")

The public API is lazy: importing it loads no torch. Each floor is reachable as `collabplan.FLOOR`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .workflows.study import Study as Study
    from .workflows.study import Target as Target
    from .workflows.study import open as open

__version__ = "0.1.0"

FLOORS = (
    "records", "graph", "profilers", "targets", "defenses", "estimators", "attacks", "planner", "runtime", "report",
    "workflows", "cli",
)  # fmt: skip
STUDY = ("Study", "Target", "open")
"""The way in from Python. `open` is not in `__all__`: a star import must not hide Python's own."""

__all__ = ["Study", "Target", "__version__", *FLOORS]


def lazy_api(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (PEP 562) for a floor that loads a name on first use.

    Args:
        package: the floor's `__name__`.
        homes: for each public name, the module of the floor that defines it.

    Returns:
        `__getattr__`, which raises CollabplanError if the name needs an extra that is not installed, and `__dir__`.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}")
        try:
            return getattr(importlib.import_module(f".{homes[name]}", package), name)
        except ModuleNotFoundError as error:
            from .records.extras import missing_package

            if (missing := missing_package(error)) is None:
                raise
            raise missing from error

    def names() -> list[str]:
        return sorted(homes)

    return load, names


_study, _ = lazy_api(f"{__name__}.workflows", dict.fromkeys(STUDY, "study"))


def __getattr__(name: str) -> Any:
    if name in FLOORS:
        return importlib.import_module(f".{name}", __name__)
    if name in STUDY:
        return _study(name)
    raise AttributeError(f"module 'collabplan' has no attribute {name!r}; it has {', '.join((*STUDY, *FLOORS))}")


def __dir__() -> list[str]:
    return sorted((*__all__, "open"))
