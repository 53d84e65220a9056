"""Attacks by name, and the revisions of all that an audit computes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import collabplan.attacks
import pytest
from collabplan.attacks import ATTACKS, attack_named
from collabplan.attacks.catalogue import current_revisions
from collabplan.records import CollabplanError
from collabplan.records.revisions import Part


def attack_classes() -> Iterator[type]:
    """Every class of the package that can be fitted under a threat model."""
    for module in pkgutil.iter_modules(collabplan.attacks.__path__):
        found = importlib.import_module(f"collabplan.attacks.{module.name}")
        for kind in vars(found).values():
            here = isinstance(kind, type) and kind.__module__ == found.__name__
            if here and hasattr(kind, "fit") and "Protocol" not in {base.__name__ for base in kind.__mro__}:
                yield kind


def test_every_class_of_an_attack_has_a_revision_of_its_own() -> None:
    classes = list(attack_classes())
    assert len(classes) >= len(ATTACKS) - 1, "two names share the shadow's class"
    assert [kind.__name__ for kind in classes if not isinstance(vars(kind).get("revision"), int)] == []


def test_current_revisions_cover_every_attack_and_what_else_an_audit_computes() -> None:
    found = current_revisions()
    assert {f"attack:{name}" for name in ATTACKS} < set(found)
    assert {"audit:releases", "audit:judge", "audit:linkage", "audit:attributes"} < set(found)


def test_an_attack_from_elsewhere_is_added() -> None:
    assert current_revisions([Part("mine", 4)])["attack:mine"] == 4


def test_an_attack_is_named_as_it_is_looked_up() -> None:
    assert [attack_named(name).name for name in ATTACKS] == list(ATTACKS)


def test_an_unknown_attack_lists_what_there_is() -> None:
    with pytest.raises(CollabplanError, match="known are prior, ridge, kernel, retrieval"):
        attack_named("magic")
