"""What the command line says of a target's inputs, in place of what its file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What the command line says of a target's inputs, in the place of what its file says: as it was typed.

    It is kept in the options of a target's identity, so that a profile or plan loads the same target again.
    """

    inputs: tuple[str, ...] = ()
    batch_dim: tuple[str, ...] = ()

    @classmethod
    def given(cls, inputs: Sequence[str] | None, batch_dim: Sequence[str] | None) -> InputOptions:
        """From the options of a command."""
        return cls(tuple(inputs or ()), tuple(batch_dim or ()))

    @classmethod
    def kept_in(cls, options: Mapping[str, str]) -> InputOptions:
        """From the options of a target's identity."""
        return cls(tuple(options.get("input", "").split()), tuple(options.get("batch_dim", "").split()))

    @property
    def options(self) -> dict[str, str]:
        """For the options of a target's identity."""
        kept = {"input": " ".join(self.inputs), "batch_dim": " ".join(self.batch_dim)}
        return {name: text for name, text in kept.items() if text}

    def or_else(self, other: InputOptions) -> InputOptions:
        """These where they are given, else those of `other`."""
        return InputOptions(self.inputs or other.inputs, self.batch_dim or other.batch_dim)
