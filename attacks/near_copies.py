"""Near-duplicates of one input, as frames of a scene are: which kind tells most, and who reads them best.

A still camera's frames differ by noise alone, so keyed masks average out as fresh ones do. A moving camera's frames
show a strided network other places of the scene. Which tells more depends on the cut and on the defense; it is measured
with the cheapest attacker, `ridge`, on auxiliary images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ..estimators.inversion import MANY
from ..records.revisions import Part
from .adversary_view import AdversaryView
from .interface import Attacker, Reconstruction, Training, law_of
from .metrics import Judge, squared_errors
from .release_law import ReleaseLaw
from .releases import COPY_KINDS, CopyKind, ObservedReleases
from .ridge import linear_index
from .threat import AttackFailed

COPIES = Part("copies")
"""Raise its revision whenever another kind of near-duplicates may be found to tell most."""

PROBED = 400
"""Auxiliary images that kinds of copies are compared with."""

CHOOSING = 200
"""Held-out images on which an attacker chooses between one release and all of them."""

FEW_CHOOSING = 16
"""The same where every image is an optimisation."""

EXACT = "exact repeats"

BEYOND = 0.005
"""An index that exceeds another one by less is no reason for a further attack."""


def copies_told(view: AdversaryView, generator: torch.Generator) -> dict[str, float]:
    """What `ridge` recovers of held-out auxiliary images from ten releases, by the kind of what is released.

    Under keyed masks a still and a moving camera are compared at the least noise, then more noise of the better one.
    Exact repeats are those of the device. Under fresh masks they tell what a still camera tells, so only a moving one
    is compared with them.

    Args:
        view: of a black-box attacker with one release of each input.
        generator: of every draw; on the CPU. All kinds begin with the same draws.

    Returns:
        1 - MSE / MSE of the mean image, by kind of near-duplicates, and under fresh masks of exact repeats.
    """
    few, seed = view.limited(PROBED), int(torch.randint(2**62, (1,), generator=generator))

    def index(copies: CopyKind | None) -> float:
        return linear_index(replace(few, queries=MANY, copies=copies), torch.Generator().manual_seed(seed))

    least = min(kind.noise for kind in COPY_KINDS)
    quiet = [kind for kind in COPY_KINDS if kind.noise == least]
    if view.target.defense.record.masks != "keyed":
        return {EXACT: index(None)} | {str(kind): index(kind) for kind in quiet if kind.shift}
    told = {str(kind): index(kind) for kind in quiet}
    shift = most_telling(told).shift
    return told | {str(kind): index(kind) for kind in COPY_KINDS if kind.shift == shift and kind.noise > least}


def most_telling(told: Mapping[str, float]) -> CopyKind:
    """The kind of near-duplicates that told most; of equals the stillest with the least noise."""
    return max((kind for kind in COPY_KINDS if str(kind) in told), key=lambda kind: told[str(kind)])


def told_note(told: Mapping[str, float]) -> str:
    """What was compared, for an audit's notes."""
    names = (name for name in (EXACT, *map(str, COPY_KINDS)) if name in told)  # a file that was read sorts them
    figures = "; ".join(f"{name}: {told[name]:.3f}" for name in names)
    return f"the index that ridge reads on auxiliary images, from ten releases by kind: {figures}"


@dataclass(frozen=True, eq=False)
class ChosenReading:
    """An attacker with near-duplicates: it reads all releases, or the first alone where that recovers more.

    Attributes:
        reader: fitted on what it reads.
        first_alone: whether it reads the first release alone.
    """

    reader: Attacker
    first_alone: bool

    @property
    def training(self) -> Training:
        """How fitting went."""
        return self.reader.training

    @property
    def law(self) -> ReleaseLaw | None:
        """The reader's, of what it reads."""
        law = law_of(self.reader)
        return None if law is None else replace(law, first_alone=self.first_alone)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        """The inputs behind what was released, the first release being apart."""
        if self.first_alone:
            assert released.first is not None  # these are near-duplicates
            released = released.first
        return self.reader.reconstruct(released, generator)


def choose_reading(
    view: AdversaryView, many: Attacker, alone: Attacker, generator: torch.Generator, *, per_image: bool
) -> ChosenReading:
    """Whichever of two attackers recovers more of held-out auxiliary images.

    Who has ten releases has one of them, so it recovers no less.

    Args:
        view: that `many` was fitted on.
        many: reads all releases.
        alone: reads one.
        generator: of every draw; on the CPU.
        per_image: whether every image is an optimisation.
    """
    held = view.held_out.take(torch.arange(min(FEW_CHOOSING if per_image else CHOOSING, len(view.held_out))))
    released = view.target.release(held, generator, queries=view.queries, copies=view.copies)
    truth, mean = view.pixels(held), view.pixels(view.training).mean(dim=0)

    def error(reading: ChosenReading) -> float:
        try:
            images = reading.reconstruct(view.perceived(released), generator).images
        except AttackFailed:
            return math.inf
        found = float(squared_errors(Judge(mean, truth, images, mean).pulled(images), truth).mean())
        return found if math.isfinite(found) else math.inf

    readings = ChosenReading(many, first_alone=False), ChosenReading(alone, first_alone=True)
    errors = [error(each) for each in readings]
    return readings[errors.index(min(errors))]
