"""What every figure of an audit reads of images that use no release: the mean image, and what a label alone gives.

A figure that these images reach too says nothing about a release. Of handwritten digits, most mean images have an SSIM
of 0.3 with the digit.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..defenses.seeds import generator_for
from ..records import FloorFigures
from ..records.revisions import Part
from .answers import of_classes, of_the_same_class
from .audit_data import AuditData
from .metrics import Judge

FLOORS = Part("floors", 1)
"""Raise its revision whenever other images are judged. Results depend on the judge's revision too."""

Kind = Literal["mean image", "class mean", "image of the class"]


def floor_figures(data: AuditData) -> tuple[FloorFigures, ...]:
    """The figures of the mean image, of the mean image of the original's class, and of a random image of its class.

    Classes are the undefended network's answers. The last two are left out where it gives no class scores.
    """
    view = data.view("black-box")
    held, training = view.pixels(view.held_out), view.pixels(view.training)
    known = data.answers(view.held_out)
    kinds: list[tuple[Kind, Tensor, Tensor]] = [
        ("mean image", data.prior.expand_as(data.images), data.prior.expand_as(held))
    ]
    if known is not None and data.prior_classes is not None:
        draws, owned = generator_for(data.seed, "floors"), data.prior_classes
        means = [of_classes(known.means, each, data.prior) for each in (known.targets, known.held)]
        others = [of_the_same_class(training, owned, each, draws) for each in (known.targets, known.held)]
        kinds += [("class mean", means[0], means[1]), ("image of the class", others[0], others[1])]
    found = []
    for kind, images, practice in kinds:
        judge = Judge(data.prior, held, practice, data.prior, known, data.request.region, data.sight)
        draws = generator_for(data.seed, "bootstrap")
        figures = judge.figures(data.images, images, data.gallery_images, generator=draws)
        found.append(FloorFigures(of=kind, figures=figures))
    return tuple(found)
