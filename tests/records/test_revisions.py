"""Revisions name the code behind a result, and settings tell instances of one class apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from collabplan.records import CollabplanError
from collabplan.records.revisions import Part, outdated, revisions_of, settings_of
from torch import Tensor


def test_revisions_are_named_by_kind_and_sorted() -> None:
    assert revisions_of("audit", [Part("linkage", 2), Part("judge")]) == {"audit:judge": 1, "audit:linkage": 2}


@pytest.mark.parametrize("revision", [None, "1", True, 1.0])
def test_a_part_without_an_integer_revision_is_refused(revision: object) -> None:
    with pytest.raises(CollabplanError, match="the attack 'mine' needs an integer `revision`"):
        revisions_of("attack", [Part("mine", revision)])  # type: ignore[arg-type]


@pytest.mark.parametrize("current", [{"attack:kernel": 2}, {"attack:ridge": 1}, {}])
def test_a_raised_or_unknown_revision_is_outdated(current: dict[str, int]) -> None:
    assert outdated({"attack:kernel": 1}, current) == ("attack:kernel",)


def test_what_is_current_is_not_outdated_whatever_else_there_is() -> None:
    assert outdated({"attack:kernel": 1}, {"attack:kernel": 1, "attack:ridge": 5}) == ()


@dataclass(frozen=True)
class Setting:
    revision: ClassVar[int] = 3
    depth: int = 1
    weights: Tensor = field(default_factory=lambda: torch.zeros(2000))
    rates: tuple[float, ...] = (0.1, float("inf"))
    log: list[str] = field(default_factory=list, repr=False)


def test_settings_are_the_fields_that_a_repr_shows() -> None:
    assert set(settings_of(Setting())) == {"depth", "weights", "rates"}
    assert settings_of(Setting(depth=2))["depth"] == 2
    assert settings_of(Setting())["rates"] == [0.1, "inf"]


def test_tensors_differ_by_content_where_their_repr_does_not() -> None:
    other = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    assert "..." in repr(other), "a long tensor's repr leaves out most numbers"
    assert settings_of(Setting()) == settings_of(Setting())
    close = other.clone()
    close[1000] += 1
    assert repr(close) == repr(other)
    assert settings_of(Setting(weights=close)) != settings_of(Setting(weights=other))


class Plain:
    def __init__(self, depth: int) -> None:
        self.depth = depth


class Slotted:
    __slots__ = ("depth",)

    def __init__(self, depth: int) -> None:
        self.depth = depth


@pytest.mark.parametrize("kind", [Plain, Slotted])
def test_settings_of_another_class_are_its_attributes(kind: type[Plain]) -> None:
    assert settings_of(kind(3)) == {"depth": 3}


def test_an_object_without_a_form_in_json_differs_from_every_other() -> None:
    assert settings_of(Setting(depth=object())) != settings_of(Setting(depth=object()))  # type: ignore[arg-type]
