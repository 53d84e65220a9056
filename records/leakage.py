"""What was found to leak: one (cut, defense), and the report over many of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Interval, Record
from .defense import DefenseRecord
from .model import CutKind, ModelIdentity, Provenance, TargetIdentity


class InformationEstimate(Record):
    """One estimator's figure for I(X; T), in nats; see `estimators.Estimate`.

    `lower_nats` and `upper_nats` are ends with 97.5 % confidence each, None where the estimator has no such end.
    They are a *bound* only where noise is really added; at a quantizer's floor everything is a *surrogate*.
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
    """The leakage index that the same attackers reach with fewer samples; the slope shows what more data would do."""

    sample_count: int = Field(ge=1)
    index: float


class Leakage(Record):
    """What the released tensors tell about the private inputs, for one (cut, defense).

    `status` is *estimated* (ridge attackers that know the mask: what they reach, no bound on others),
    *by-definition* (a raw private input crosses, or nothing does), *audited* (worst case over real attacks) or
    *unmeasured* (then it is 1: assume the worst). 0 = no better than the data prior, 1 = perfect reconstruction.
    `index_by_samples` is the same figure on fewer samples. `index_of` says what the index counts: variance of the
    inputs that is reconstructed, or private *tokens* that are recovered exactly beyond the commonest ones; of tokens,
    `token_attacker` is who recovered most (nearest, successive, ridge, inversion, classifier, bag; prior where nothing
    varies), `token_input` which input they are.

    `information_low_nats` and `information_high_nats` are the ends of the sandwich's 95 % interval above
    `noise_floor`; a *surrogate* where that floor is a quantizer's, since a deterministic quantizer adds no noise. When
    `saturated` they rank nothing. `resolvable_noise` is the multiple of the floor at which 3 nats would be
    left: it ranks saturated cuts. `dfil` is the Fisher information leakage per input number (it bounds unbiased
    attackers only). `reidentification_ceiling` is Fano's: no attacker who picks among these samples from one
    release can be right more often; None where no real noise is added.
    """

    index: Interval
    status: Literal["estimated", "by-definition", "audited", "unmeasured"]
    index_of: Literal["reconstruction", "token recovery"] = "reconstruction"
    token_attacker: str | None = None
    token_input: str | None = None
    index_by_samples: tuple[IndexAt, ...] = ()
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
        """What the index is called before users."""
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

    `truth` is in nats for estimators of information and an index for the ridge; None where only the direction is known.
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

    `output_floor` is the leakage of the model's output alone, undefended: what every deployment tells that returns it.
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
