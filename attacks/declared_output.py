"""What a service gives away by its answer alone: the model's output in the form that the target declares.

A class score of full precision tells far more than the label that a service shows. `returns` in the target file says
which of them leaves, and the floor of an audit is what attackers recover from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..defenses.catalogue import register
from ..defenses.interface import CustomStage
from ..defenses.randomness import Randomness
from ..graph import Cut
from ..records import Crossing, DefenseRecord, Returns, TargetError
from .catalogue import ALWAYS
from .interface import Attack

MOST_LABELS = 5
"""Labels that `top5` gives."""

DIGITS = 2
"""Digits of the probability in `label+probability`."""


@dataclass(frozen=True)
class DeclaredOutput(CustomStage):
    """Class scores as a service returns them: what is not returned is removed, and labels become one-hot numbers.

    Probabilities are taken as they are, other scores through a softmax. No gradient crosses a label, so only attackers
    that learn from queries are run on it.

    Examples:
        >>> import torch
        >>> from collabplan.defenses.interface import NO_RANDOMNESS
        >>> crossing = Crossing(name="scores", node="scores", dtype="float32", sample_shape=(3,))
        >>> DeclaredOutput("label").apply(torch.tensor([[0.5, 2.0, -1.0]]), crossing, NO_RANDOMNESS).tolist()
        [[0.0, 1.0, 0.0]]
    """

    name: ClassVar[str] = "declared-output"
    revision: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    returns: str = "label"

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:  # noqa: ARG002
        """Scores `[n, classes]` -> `[n, classes]` for a label, else `[n, 2 classes]`: the label, then probabilities."""
        label = one_hot(rows)
        if self.returns == "label":
            return label
        found = probabilities(rows)
        if self.returns == "label+probability":
            shown = (found * 10**DIGITS).round() / 10**DIGITS * label
        else:
            kept = found.topk(min(MOST_LABELS, found.shape[1]), dim=1)
            shown = torch.zeros_like(found).scatter(1, kept.indices, kept.values)
        return torch.cat([label, shown.to(label.dtype)], dim=1)

    def receive(self, rows: Tensor, crossing: Crossing) -> Tensor:
        """The first numbers, as many as there are classes: the label."""
        return rows[:, : crossing.sample_shape[0]]

    def codes(self, crossing: Crossing) -> Crossing:
        """The tensor that attackers read."""
        wide = crossing.sample_shape[0] * (1 if self.returns == "label" else 2)
        return crossing.model_copy(update={"sample_shape": (wide,)})


def one_hot(scores: Tensor) -> Tensor:
    """`[n, classes]` -> `[n, classes]`: 1 at the greatest score (the first of equal ones)."""
    return torch.zeros_like(scores).scatter(1, scores.argmax(dim=1, keepdim=True), 1.0)


def probabilities(scores: Tensor) -> Tensor:
    """`[n, classes]` -> `[n, classes]`: rows that are probabilities already as they are, others by a softmax."""
    sums = scores.double().sum(dim=1, keepdim=True)
    are = (scores >= 0).all(dim=1, keepdim=True) & ((sums - 1).abs() < 1e-3)
    return torch.where(are, scores, scores.softmax(dim=1))


def gives_scores(cut: Cut) -> bool:
    """True where the model's output, the edge-only `cut`, is one row of at least two class scores per sample."""
    shapes = [crossing.sample_shape for crossing in cut.crossing if crossing.is_defended]
    return len(cut.crossing) == 1 and len(shapes) == 1 and len(shapes[0]) == 1 and shapes[0][0] > 1


def declared_output(cut: Cut, returns: Returns | None) -> tuple[Returns, DefenseRecord]:
    """What the floor is an audit of: the form of the output, and the stages that bring it into that form.

    Where the target does not say what is returned, it is the label alone. That is the least that a classifier gives
    away: a lower floor makes the excess of a release over it larger, so nothing looks more private than it is.

    Args:
        cut: the edge-only one.
        returns: as the target declares it; None if it does not.

    Raises:
        TargetError: a label or probabilities are declared, and the model returns no class scores.
    """
    scores = gives_scores(cut)
    if returns not in (None, "logits") and not scores:
        shapes = ", ".join(str(list(crossing.sample_shape)) for crossing in cut.crossing)
        raise TargetError(
            f"returns = {returns!r} needs one row of class scores per sample, the model returns {shapes}; declare "
            "returns = 'logits', which means all that the model returns"
        )
    form: Returns = returns or ("label" if scores else "logits")
    if form == "logits":
        return form, DefenseRecord()
    register(DeclaredOutput)
    return form, DefenseRecord.of(DeclaredOutput(form).record)


def floor_of(cuts: Sequence[Cut], returns: Returns | None) -> tuple[Returns, DefenseRecord]:
    """`declared_output` of the edge-only cut among `cuts`.

    Without one there is nothing to attack, and the form is the declared one.
    """
    outputs = [cut for cut in cuts if cut.kind == "edge-only"]
    return declared_output(outputs[0], returns) if outputs else (returns or "logits", DefenseRecord())


def floor_attacks(attacks: Sequence[Attack], returns: Returns) -> tuple[Attack, ...]:
    """Those of `attacks` that apply to an output.

    To logits all do. Of a label alone the best guess is the mean of its images, which `ridge` answers with: there is
    nothing left to train for. Between these are those that need neither a gradient nor the cloud half.
    """
    if returns == "logits":
        return tuple(attacks)
    learners = () if returns == "label" else ("black-box",)
    return tuple(each for each in attacks if each.name in ALWAYS or (each.threat in learners and not each.per_image))
