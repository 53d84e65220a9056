"""One step of a defense: what the device does to a tensor before it leaves, and how the cloud reads it.

A new stage is one class in one file. Derive from `CustomStage` and define `apply`; everything else has a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Protocol, get_type_hints

from torch import Tensor

from ..records import CollabplanError, Crossing, CustomRecord, Parameter, StageRecord
from .randomness import Randomness


class Stage(Protocol):
    """A stage bound to its record; it acts on rows `[n, *sample_shape]` of one private floating tensor."""

    @property
    def record(self) -> StageRecord:
        """How plans and reports name it."""

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:
        """What the device makes of `rows`; all random numbers come from `source`."""

    def receive(self, rows: Tensor, crossing: Crossing) -> Tensor:
        """What the cloud makes of the released rows."""


class CustomStage:
    """Base class of stages that are not part of collabplan. A frozen dataclass's fields are its parameters.

    Attributes:
        name: as reports and `--defense` spell it.
        revision: raised whenever the same input gives another result.
        random: it draws from `source`. Attackers then draw it anew for each release, and no information bound counts
            its randomness.
        differentiable: gradients flow through `apply` (or `expected`). White-box attacks need that, and fail without:
            what they cannot compute is never reported as private.
        unbiased: `receive` of many releases averages to the original rows; the conformance suite tests it.
        nanoseconds_per_number: what `apply` costs the device, per number that goes in. The conformance suite
            measures it.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Clip(CustomStage):
        ...     name = "clip"
        ...     limit: float = 1.0
        ...     def apply(self, rows, crossing, source):
        ...         return rows.clamp(-self.limit, self.limit)
        >>> Clip(0.5).record.text
        'clip:limit=0.5'
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    random: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    unbiased: ClassVar[bool] = False
    nanoseconds_per_number: ClassVar[float] = 20.0

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:
        """What the device releases of `rows` `[n, *sample_shape]`, sample by sample.

        A sample's result must not depend on the other samples: the device runs one at a time, and tests many.
        """
        raise NotImplementedError

    def receive(self, rows: Tensor, crossing: Crossing) -> Tensor:  # noqa: ARG002
        """What the cloud reads: rows `[n, *sample_shape]` of `crossing`; by default what was released."""
        return rows

    def codes(self, crossing: Crossing) -> Crossing:
        """The tensor that is released in the place of `crossing`; by default one of the same shape and dtype."""
        return crossing

    def expected(self, rows: Tensor, crossing: Crossing) -> Tensor | None:
        """The mean of `apply(rows)` over its draws, with gradients; None where that is not known.

        White-box attackers compare it with what was released, and fail where it is None.
        """
        return None if self.random else self.apply(rows, crossing, NO_RANDOMNESS)

    @classmethod
    def search_values(cls) -> Sequence[CustomStage]:
        """The instances that a search tries where `--defense` names no parameters."""
        return (cls(),)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The fields of a dataclass; none otherwise."""
        return {each.name: getattr(self, each.name) for each in fields(self)} if is_dataclass(self) else {}

    @property
    def record(self) -> CustomRecord:
        """How plans and reports name it."""
        return CustomRecord(name=self.name, revision=self.revision, parameters=self.parameters)

    @classmethod
    def with_parameters(cls, parameters: Mapping[str, Parameter | str]) -> CustomStage:
        """An instance with these parameters, text or numbers, as the types of its fields have them.

        Raises:
            CollabplanError: an unknown parameter, or a value of another type.
        """
        hints = get_type_hints(cls)
        known: set[str] = {each.name for each in fields(cls)} if is_dataclass(cls) else set()
        strange = sorted(set(parameters) - known)
        if strange:
            there = ", ".join(sorted(known)) or "none"
            raise CollabplanError(f"stage {cls.name} has no parameter {strange[0]!r}; there are: {there}")
        return cls(**{name: _coerced(cls.name, name, value, hints[name]) for name, value in parameters.items()})


class NoRandomness:
    """Refuses to draw: for stages that say they draw nothing."""

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:
        """Raises CollabplanError."""
        raise CollabplanError(f"a stage that says `random = False` asked for random numbers ({name!r}, {list(shape)})")

    normal = uniform


NO_RANDOMNESS = NoRandomness()


class LabelledRandomness:
    """Random numbers of one custom stage: their labels begin with `prefix`, so no other stage draws the same ones."""

    def __init__(self, source: Randomness, prefix: str) -> None:
        self._source, self._prefix = source, prefix

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:
        """Uniform on [0, 1), float32 of `shape`."""
        return self._source.uniform(self._prefix + name, shape)

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal, float32 of `shape`."""
        return self._source.normal(self._prefix + name, shape)


def _coerced(stage: str, name: str, value: Parameter | str, kind: Any) -> Parameter:
    """`value` as the type `kind` of its field."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if kind in (int, float, str):
            made: Parameter = kind(value)
            return made
    except (ValueError, KeyError):
        raise CollabplanError(f"stage {stage} needs {name} to be {kind.__name__}, got {value!r}") from None
    raise CollabplanError(f"parameter {name} of stage {stage} must be declared as bool, int, float or str")
