"""Estimated leakage: of one (cut, defense), and the report over many of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Interval, Record
from .defense import DefenseRecord
from .model import CutKind, ModelIdentity, Provenance, TargetIdentity


class InformationEstimate(Record):
    """One estimator's figure for I(X; T), in nats; see `estimators.Estimate`.

    `lower_nats` and `upper_nats` are ends with 97.5 % confidence each; None where the estimator lacks that end.
    They are a *bound* only where noise is really added. At a quantizer's floor everything is a *surrogate*.
    """

    estimator: str
    value_nats: float
    lower_nats: float | None = None
    upper_nats: float | None = None
    meaning: Literal["surrogate", "bound"]
    saturated: bool
    sample_count: int = Field(ge=1)
    assumes: str


class IndexAt(Record):
    """The leakage index of the same attackers with fewer samples. Its slope shows the effect of more data."""

    sample_count: int = Field(ge=1)
    index: float


class Leakage(Record):
    """What the released tensors reveal about the private inputs, for one (cut, defense).

    `index` is 0 for attackers no better than the data prior, and 1 for perfect reconstruction. `status` is *estimated*
    (the greater of `shown_index`, what ridge attackers reach that know the mask, and of `inverted_index`, what the
    local inversion of the edge half reconstructs; where releases of an input differ, the high ends of all three are
    those of ten; `index_note` says why the high end is as high as it is, a reason a line),
    *by-definition* (a raw private input crosses, or nothing does), *audited* (the worst of real attacks) or
    *unmeasured* (then the index is 1, the worst case). `index_by_samples` is `shown_index` on fewer samples. `index_of`
    says what the index counts: reconstructed variance of the inputs, or private *tokens* that are recovered exactly,
    beyond the commonest ones. For tokens, `token_attacker` is the attacker that recovered most (nearest, successive,
    ridge, inversion, classifier, bag; prior where nothing varies), and `token_input` the input that holds the tokens.

    `information_low_nats` and `information_high_nats` are the ends of the sandwich's 95 % interval above
    `noise_floor`. They are a *surrogate* where that floor is a quantizer's, since a deterministic quantizer adds no
    noise. Where `saturated`, they rank nothing; then `resolvable_noise`, the multiple of the floor at which 3 nats
    would be left, ranks cuts. `dfil` is the Fisher information leakage per input number (it bounds only unbiased
    attackers). `reidentification_ceiling` is Fano's: no attacker who picks among these samples from one
    release can be right more often; None where no real noise is added.
    """

    index: Interval
    status: Literal["estimated", "by-definition", "audited", "unmeasured"]
    index_of: Literal["reconstruction", "token recovery"] = "reconstruction"
    token_attacker: str | None = None
    token_input: str | None = None
    index_by_samples: tuple[IndexAt, ...] = ()
    shown_index: Interval | None = None
    inverted_index: Interval | None = None
    index_note: str = ""
    noise_floor: str | None = None
    information_low_nats: float | None = None
    information_high_nats: float | None = None
    information_is: Literal["surrogate", "bound"] = "surrogate"
    saturation_nats: float | None = None
    saturated: bool | None = None
    resolvable_noise: float | None = None
    estimates: tuple[InformationEstimate, ...] = ()
    dfil: float | None = None
    reidentification_ceiling: float | None = None
    sample_count: int = Field(ge=0)

    @property
    def index_name(self) -> Literal["leakage index", "token recovery"]:
        """The name of the index in what users read."""
        return "token recovery" if self.index_of == "token recovery" else "leakage index"


class LeakageRow(Record):
    """One (cut, defense) of a report. `depth` is the cut's position among all cuts, edge to cloud."""

    cut_id: str
    cut_name: str
    cut_kind: CutKind
    depth: int = Field(ge=0)
    payload_bytes: int = Field(ge=0)
    defense: DefenseRecord
    leakage: Leakage


class ControlRow(Record):
    """One estimator on one control whose answer is known.

    `truth` is in nats for estimators of information, an index for the ridge, and None where only a direction is known.
    `passed` is None where the estimator does not apply, or is known not to resolve this control (saturation).
    """

    control: str
    estimator: str
    truth: float | None
    value: float | None
    lower: float | None = None
    upper: float | None = None
    passed: bool | None
    note: str = ""


class LeakageReport(Record):
    """The file that `collabplan leakage -o` writes: rows by depth, then by defense.

    `output_floor` is the leakage of the model's output alone, in the form that the service returns it: every deployment
    has it.
    """

    format: Literal["collabplan.leakage"] = "collabplan.leakage"
    schema_version: Literal[2] = 2
    target: TargetIdentity
    model: ModelIdentity
    data_hash: str
    sample_count: int = Field(ge=1)
    input_number_count: int = Field(ge=1, description="numbers in one private input (pixels times channels)")
    estimators: tuple[str, ...]
    rows: tuple[LeakageRow, ...]
    output_floor: LeakageRow | None = None
    controls: tuple[ControlRow, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Provenance
