"""Estimators by name, and the revisions of all that a leakage result is computed by."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import collabplan.estimators
import pytest
from collabplan.estimators import ESTIMATORS, estimator_named
from collabplan.estimators.catalogue import current_revisions
from collabplan.records import CollabplanError
from collabplan.records.revisions import Part


def estimator_classes() -> Iterator[type]:
    """Every class of the package that estimates the information of a channel."""
    for module in pkgutil.iter_modules(collabplan.estimators.__path__):
        found = importlib.import_module(f"collabplan.estimators.{module.name}")
        for kind in vars(found).values():
            here = isinstance(kind, type) and kind.__module__ == found.__name__
            if here and hasattr(kind, "estimate") and "Protocol" not in {base.__name__ for base in kind.__mro__}:
                yield kind


def test_every_class_of_an_estimator_has_a_revision_of_its_own() -> None:
    classes = list(estimator_classes())
    assert len(classes) >= len(ESTIMATORS)
    assert [kind.__name__ for kind in classes if not isinstance(vars(kind).get("revision"), int)] == []


def test_current_revisions_cover_every_estimator_and_what_else_leakage_is_computed_by() -> None:
    found = current_revisions()
    assert {f"estimator:{name}" for name in ESTIMATORS} < set(found)
    parts = ("ridge-index", "token-recovery", "sandwich-bounds", "fisher", "controls")
    assert {f"leakage:{part}" for part in parts} < set(found)


def test_an_estimator_from_elsewhere_is_added() -> None:
    assert current_revisions([Part("mine", 4)])["estimator:mine"] == 4


def test_an_estimator_is_named_as_it_is_looked_up() -> None:
    assert [estimator_named(name).name for name in ESTIMATORS] == list(ESTIMATORS)


def test_an_unknown_estimator_lists_what_there_is() -> None:
    with pytest.raises(CollabplanError, match="known are kde, sandwich, logdet, ksg, mine"):
        estimator_named("kd")
