"""The noise floor that a release is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Crossing, DefenseRecord


@dataclass(frozen=True, slots=True)
class Floor:
    """The noise floor that a release is measured against.

    Attributes:
        stds: per crossing, the standard deviation of the Gaussian noise that the floor is, or stands for, in the
            tensor's own units; 0.0 for public tensors.
        real: True where every private crossing has noise that is really added and whose pairwise divergences are at
            most those of Gaussian noise of `stds`. False: formulas at this floor are surrogates.
        text: the floor in words, for reports.
    """

    stds: tuple[float, ...]
    real: bool
    text: str

    @classmethod
    def of(
        cls, record: DefenseRecord, stds: Sequence[float], noisy: Sequence[Crossing], bare: Sequence[Crossing]
    ) -> Floor:
        """From the standard deviations per crossing, and the private crossings with and without noise."""
        text = _text(record, noisy=bool(noisy)) if noisy or bare else "nothing private crosses"
        if noisy and bare:
            text += f"; {', '.join(crossing.name for crossing in bare)} without noise (surrogate)"
        return cls(tuple(stds), bool(noisy) and not bare, text)


def _text(record: DefenseRecord, *, noisy: bool) -> str:
    if noisy and record.noise is not None:
        share = f"{100 * record.noise.std:.3g} %"
        if record.noise.distribution == "gaussian":
            return f"Gaussian noise of {share} of each tensor's range (real)"
        return f"Laplace noise of {share} of each tensor's range (real; as Gaussian of 1 / sqrt(2) of it)"
    if record.quantizer is None:
        return "spacing of the model's own numbers (no real noise: surrogate)"
    if record.rounds_randomly:
        return f"{record.bits}-bit stochastic rounding as step / sqrt(12) (surrogate; its exact mass is known)"
    return f"{record.bits}-bit wire step / sqrt(12) (no real noise: surrogate)"
