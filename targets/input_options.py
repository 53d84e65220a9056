"""The command line's options for a target's inputs and data, which replace what its file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Options for a target's inputs and data, as they were typed.

    They are kept in the target's identity, so that a profile or plan loads the same target again.

    Attributes:
        inputs: shapes, as `1x3x224x224` or `name=1x128:int64`.
        batch_dim: the dimension that counts samples, as `1` or `name=1`.
        data: a path to the validation data; empty: as the file says.
    """

    inputs: tuple[str, ...] = ()
    batch_dim: tuple[str, ...] = ()
    data: str = ""

    @classmethod
    def given(
        cls, inputs: Sequence[str] | None, batch_dim: Sequence[str] | None, data: str | Path | None = None
    ) -> InputOptions:
        """From the options of a command; None if one was not given."""
        return cls(tuple(inputs or ()), tuple(batch_dim or ()), str(data or ""))

    @classmethod
    def kept_in(cls, options: Mapping[str, str]) -> InputOptions:
        """From the options in a target's identity."""
        return cls(
            tuple(options.get("input", "").split()),
            tuple(options.get("batch_dim", "").split()),
            options.get("data", ""),
        )

    @property
    def options(self) -> dict[str, str]:
        """For the options in a target's identity."""
        kept = {"input": " ".join(self.inputs), "batch_dim": " ".join(self.batch_dim), "data": self.data}
        return {name: text for name, text in kept.items() if text}

    def or_else(self, other: InputOptions) -> InputOptions:
        """Each of these options if it is given, otherwise that of `other`."""
        return InputOptions(self.inputs or other.inputs, self.batch_dim or other.batch_dim, self.data or other.data)
