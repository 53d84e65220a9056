"""The plan: the chosen cut and defense, what was predicted, estimated and asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from .audit import FloorIndex, TierFigures
from .base import Interval, Record, Timing
from .certificate import Certificate
from .defense import DefenseRecord
from .energy import EdgePower
from .leakage import Leakage
from .link import Link
from .model import Crossing, CutKind, DeviceIdentity, ModelIdentity, Provenance, TargetIdentity
from .privacy import PRIVACY_BUDGETS
from .sign_off import PROVEN, Level, missing_to_sign_off

ResultAt = Literal["edge", "cloud"]

Objective = Literal["accuracy", "latency", "leakage", "energy", "payload"]
"""What a front may be made of: accuracy (up), p95 latency, leakage index, edge energy and bytes sent (down)."""

DEFAULT_OBJECTIVES: tuple[Objective, ...] = ("accuracy", "latency", "leakage")


class LatencyParts(Record):
    """Where the end-to-end latency goes, medians in milliseconds."""

    edge_ms: float = Field(ge=0)
    defense_ms: float = Field(ge=0)
    serialisation_ms: float = Field(ge=0)
    transfer_ms: float = Field(ge=0)
    cloud_ms: float = Field(ge=0)
    download_ms: float = Field(ge=0)


class Latency(Record):
    """Predicted end-to-end latency of one request at the profile's batch size.

    `p50` carries its 90 % interval (spread of the measured parts and of the link, taken to be independent); a budget is
    held against `p95_ms`, where all are slow at once. Neither covers contention with other programs or another network.
    """

    p50_ms: Interval
    p95_ms: float = Field(ge=0)
    parts: LatencyParts


class Accuracy(Record):
    """Accuracy under the defense, averaged over draws, and the paired drop against the whole model.

    `drop` is undefended minus defended on the same images: its `high` end is what a budget sees.
    """

    metric: str
    accuracy: Interval
    undefended: float
    drop: Interval
    sample_count: int = Field(ge=1)
    draws: int = Field(ge=1)


class Budgets(Record):
    """What the user asked for; None = not asked. Held at the bad end of each interval.

    `max_leakage` is held against the audited index where there is one, else against the upper end of what is predicted
    or estimated; `max_reconstruction`, `max_linkage`, `max_consistency` (beyond the mean image of the class) and
    `max_region` against audits alone. `records.privacy` says against which figures.
    """

    latency_p95_ms: float | None = Field(default=None, gt=0)
    max_accuracy_drop: float | None = Field(default=None, ge=0, le=1)
    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    max_leakage: float | None = Field(default=None, ge=0, le=1)
    max_reconstruction: float | None = Field(default=None, ge=0, le=1)
    max_linkage: float | None = Field(default=None, ge=0, le=1)
    max_consistency: float | None = Field(default=None, ge=0, le=1)
    max_region: float | None = Field(default=None, ge=0, le=1)
    max_payload_bytes: int | None = Field(default=None, gt=0)
    edge_memory_bytes: int | None = Field(default=None, gt=0)
    max_edge_parameters: int | None = Field(default=None, ge=0)
    max_edge_energy_mj: float | None = Field(default=None, gt=0)
    result_at: ResultAt = "edge"

    @property
    def private(self) -> bool:
        """True where a budget is one that attacks decide."""
        return any(budget.limit(self) is not None for budget in PRIVACY_BUDGETS)


class Audited(Record):
    """What attackers recovered under a (cut, defense): the worst over `seeds` runs of the suite.

    `split` says whose images were attacked: those that the search saw, or others. `floor` is what the output that the
    service returns tells by itself; `figures.excess` is what the release tells beyond it.
    """

    effort: Literal["quick", "standard", "thorough"]
    split: Literal["search", "confirm"]
    seeds: int = Field(ge=1)
    attacks: tuple[str, ...]
    figures: TierFigures
    floor: FloorIndex | None = None

    @property
    def missing_to_sign_off(self) -> tuple[str, ...]:
        """What is missing before these figures may be signed off (`records.sign_off`)."""
        missing = missing_to_sign_off(self.effort, self.seeds, self.figures)
        return missing if self.split == "confirm" else (*missing, "attacks on the confirm split")


class Tuning(Record):
    """How the cloud half is fine-tuned under a defense.

    `epochs` over at most `samples` of the training data; `loss` is *distillation* from the undefended model, or
    *cross-entropy* with the labels; `rate` is Adam's learning rate at its greatest, which falls to 0 as a cosine does.
    Where the defense keeps fewer directions than all, these are trained too; those of the whole tensor also against a
    linear reconstruction of the private inputs, where `penalty` is the weight of the share of their variance that it
    recovers, beside the loss.
    """

    epochs: int = Field(default=4, ge=1)
    loss: Literal["distillation", "cross-entropy"] = "distillation"
    rate: float = Field(default=1e-3, gt=0)
    samples: int = Field(default=12_000, ge=2)
    penalty: float = Field(default=0.0, ge=0)

    def marks(self) -> dict[str, Any]:
        """All that decides what is learnt. No penalty is left out: searches of before there was one go on."""
        return self.model_dump(exclude=set() if self.penalty else {"penalty"})


class TensorFile(Record):
    """Tensors that belong to a plan: a safetensors file beside it.

    `sha256` is over names, dtypes, shapes and bytes (`records.hash_tensors`); other tensors are refused.
    """

    file: str
    sha256: str

    @field_validator("file")
    @classmethod
    def _beside_the_plan(cls, file: str) -> str:
        if Path(file).name != file or file == ".." or not file.isprintable():
            raise ValueError(f"{file!r} is not the name of a file beside the plan")
        return file


class Candidate(Record):
    """One evaluated (cut, defense): a row of the front or a baseline.

    `defense` is neither fitted nor calibrated. `leakage` is the cheap estimate. `audited` is what attackers recovered,
    None where none were run; `predicted` is then what they would, by audits of other candidates, None where nothing was
    audited at all. `tuned`: the accuracy is that of a cloud half which was fine-tuned under the defense.
    `edge_energy_mj`: millijoules of one request on the device, by its power as it is declared or was measured; None
    where neither is known.
    """

    cut_id: str
    cut_name: str
    cut_kind: CutKind
    defense: DefenseRecord
    latency: Latency
    accuracy: Accuracy
    leakage: Leakage
    audited: Audited | None = None
    predicted: Interval | None = None
    tuned: bool = False
    payload_bytes: int = Field(ge=0)
    edge_peak_bytes: int = Field(ge=0)
    edge_parameter_count: int = Field(ge=0)
    edge_energy_mj: float | None = None
    meets_budgets: bool
    violations: tuple[str, ...] = ()

    @property
    def index(self) -> Interval:
        """The leakage index that counts: what attackers reached, else what they are predicted to, else the estimate."""
        if self.audited is not None:
            return self.audited.figures.index
        return self.predicted or self.leakage.index

    @property
    def index_is(self) -> Literal["audited", "predicted", "estimated", "by-definition", "unmeasured"]:
        """What `index` is."""
        if self.audited is not None:
            return "audited"
        return "predicted" if self.predicted is not None else self.leakage.status

    @property
    def level(self) -> Level:
        """How well the index is supported: by attacks on the confirm split, else by an estimate or the definition."""
        if self.audited is None or self.audited.split == "search":
            return "by definition" if self.leakage.status == "by-definition" else "estimated"
        if not self.audited.missing_to_sign_off:
            return "signed off"
        return "quick" if self.audited.effort == "quick" else "standard"

    @property
    def standing(self) -> str:
        """What `index` is worth, in words: an estimate must not pass for an audit."""
        audited = self.audited
        if audited is None:
            return "ESTIMATED, not audited" if self.leakage.status == "estimated" else self.leakage.status
        said = f"audited at {audited.effort} effort, {audited.seeds} seed{'s' * (audited.seeds > 1)}"
        if audited.figures.lower_bound:
            said += ", a lower bound"
        if not audited.figures.conclusive:
            said += f", NOT CONCLUSIVE: {', '.join(audited.figures.failed)} FAILED"
        return said if audited.missing_to_sign_off else f"{said}, enough to sign off"


class Baseline(Record):
    """A cut that people choose without evidence, evaluated undefended for comparison."""

    role: Literal["cloud-only", "edge-only", "latency-optimal", "middle"]
    candidate: Candidate


class Measured(Record):
    """What `collabplan verify` found when it ran the plan's halves over a link, one request after the other.

    `predicted` is the plan's latency over that link. `way` is everything between the device and the cloud half:
    serialisation, transfer and download; `direct` the same with no link at all, None where it could not be measured.
    `defense` holds the packing too, `cloud` the wait in the server's queue. The device's times, and the sums with them,
    are multiplied by `edge_slowdown` as the plan declares it. `p50_ms` is the measured median with its 90 % interval
    (order statistics). `accuracy` is of one draw over the wire (95 %), `exact_samples` how many undefended samples came
    back equal bit for bit to the halves in memory (None: not tried). `violations` say what is not as planned.
    """

    link: Link
    shaped: bool
    predicted: Latency
    p50_ms: Interval
    total: Timing
    edge: Timing
    defense: Timing
    way: Timing
    cloud: Timing
    direct: Timing | None = None
    edge_slowdown: float = Field(default=1.0, gt=0)
    metric: str
    accuracy: Interval
    sample_count: int = Field(ge=1)
    exact_samples: int | None = None
    violations: tuple[str, ...] = ()
    provenance: Provenance


class Plan(Record):
    """The plan file: everything that deploying, checking and signing off needs.

    `chosen` holds the figures of the confirm split of the validation data; `searched` those that the
    search saw. `tuning` is how the search fine-tuned, `tuned_weights` what came of it for this plan;
    `projection` holds the matrices of the defense's projection, where it has one. `objectives` are what `front` is made
    of. `unattackable` says why no attack applies to the model's inputs; None where attacks do, and in older plans.
    `measured` is what the plan did when it was run (`collabplan verify`), `certificate` what it was signed off by
    (`collabplan certify`).
    """

    format: Literal["collabplan.plan"] = "collabplan.plan"
    schema_version: Literal[2] = 2
    headline: str
    target: TargetIdentity
    model: ModelIdentity
    cut_id: str
    cut_name: str
    cut_kind: CutKind
    crossing: tuple[Crossing, ...]
    defense: DefenseRecord
    tuning: Tuning | None = None
    tuned_weights: TensorFile | None = None
    projection: TensorFile | None = None
    batch: int = Field(ge=1)
    chosen: Candidate
    searched: Candidate
    budgets: Budgets
    link: Link
    edge_device: DeviceIdentity
    cloud_device: DeviceIdentity
    edge_power: EdgePower | None = None
    edge_slowdown: float = Field(default=1.0, gt=0)
    edge_slowdown_source: Literal["none", "declared"] = "none"
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
    front: tuple[Candidate, ...]
    baselines: tuple[Baseline, ...]
    trials: int = Field(ge=0)
    study: str
    unattackable: str | None = None
    measured: Measured | None = None
    certificate: Certificate | None = None
    provenance: Provenance

    @property
    def level(self) -> Level:
        """How well the plan's leakage is supported (`Candidate.level`)."""
        return self.chosen.level

    @property
    def proven(self) -> bool:
        """False where a privacy budget was asked for which the evidence does not prove (yet)."""
        return not self.budgets.private or (self.level in PROVEN and self.chosen.meets_budgets)

    def portable(self) -> Plan:
        """The plan as it may leave this machine: files without their folders, the command line without addresses.

        Nor does `measured` go along, so that a verified plan makes the same bundle as before.

        A folder often holds a user's or customer's name, and the address of a database its password. No figure is
        changed, and no file that the plan names is found any worse from its own folder.
        """
        target = self.target.model_copy(
            update={
                "spec": _without_folders(self.target.spec),
                "file": None if self.target.file is None else _without_folders(self.target.file),
                "options": {
                    name: _without_folders(text) if name == "data" else text
                    for name, text in self.target.options.items()
                },
            }
        )
        command = tuple(_without_folders(_ADDRESS.sub("ADDRESS", argument)) for argument in self.provenance.command)
        provenance = self.provenance.model_copy(update={"command": command})
        return self.model_copy(update={"target": target, "provenance": provenance, "measured": None})


_ADDRESS = re.compile(r"[\w+.-]+://\S*")
_HUB = re.compile(r"hf:[\w.-]+/[\w.-]+")
_FOLDERS = re.compile(r"(^|=)[^=]*[/\\]")


def _without_folders(text: str) -> str:
    """`/home/me/model.py:Net` as `model.py:Net`, `--output=a/plan.json` as `--output=plan.json`."""
    return text if _HUB.fullmatch(text) else _FOLDERS.sub(r"\1", text)
