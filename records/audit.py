"""What attacks actually recovered: one (cut, defense), and the report over many of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Interval, Record
from .defense import DefenseRecord
from .model import CutKind, ModelIdentity, Provenance, TargetIdentity

Threat = Literal["query-free", "black-box", "white-box"]
"""What the attacker knows: the cloud half and auxiliary data; then it may also query the device; then it also has the
edge's weights."""


Returns = Literal["label", "label+probability", "top5", "logits"]
"""What a service answers with: the most probable label; the label and its probability, rounded to two digits; the five
most probable labels with theirs; or all that the model returns."""


class AttackFigures(Record):
    """What one attack recovered, over its targets.

    `index` is 1 - MSE / MSE of the mean image, after the reconstruction was shrunk towards the mean by the amount that
    is best on held-out auxiliary data (0 = no better than the mean, 1 = perfect). `psnr_db` and `ssim` are those of the
    reconstruction before shrinking, on [0, 1]; None where the input is not an image. `reidentification` is the share of
    reconstructions whose nearest original among `gallery_count` is their own. `reconstruction_rate` is the share that
    is re-identified with an SSIM of at least 0.3, minus `prior_rate`, the same share for the mean image.
    `reconstruction_curve` is the share that is re-identified with an SSIM of at least 0.1, 0.2, ..., 0.9, and
    `ssim_curve` the share with that SSIM alone; nothing is subtracted from either. `ms_ssim` is the SSIM over several
    scales, `ms_ssim_scales` of them, as many up to five as the images admit; None where that is one.

    `within_class` is the index against the mean image of the original's class, where classes are the undefended
    network's answers. `consistency` is the share of reconstructions that this network gives the original's class.
    `features` is 1 - distance / the mean image's, in the features of this network at the last cut before its output:
    sums of Euclidean distances over the targets, and 0 if negative; None where the network has no such cut.
    `region` is the index within the declared region of interest, and `bands` are those of low, middle and high spatial
    frequency (ends at 1/8 and 1/4 cycles per pixel).
    """

    index: Interval
    within_class: Interval | None = None
    region: Interval | None = None
    bands: tuple[Interval, ...] = ()
    consistency: Interval | None = None
    mse: float
    psnr_db: Interval | None = None
    ssim: Interval | None = None
    ssim_curve: tuple[float, ...] = ()
    ms_ssim: Interval | None = None
    ms_ssim_scales: int = Field(default=0, ge=0, le=5)
    features: Interval | None = None
    reidentification: Interval
    reconstruction_rate: Interval | None = None
    reconstruction_curve: tuple[float, ...] = ()
    prior_rate: float = 0.0
    target_count: int = Field(ge=1)
    gallery_count: int = Field(ge=1)


class FloorFigures(Record):
    """What the figures of an attack read of images that use no release: those that reach no more have found nothing.

    `of` says which images: the mean of the attacker's images, their mean within the original's class, or a random one
    of that class. Classes are the undefended network's answers.
    """

    of: Literal["mean image", "class mean", "image of the class"]
    figures: AttackFigures


class AttackResult(Record):
    """One attack on one (cut, defense). A *failed* attack proves nothing: `reason` says why, and figures may be None.

    An *outrun* attack was not run to its end: `reason` says whom it could not have reached, and in which figures. Of an
    *ok* attack `reason` says why it is none that failed, where its images are worse than the mean image; else "".
    `weaker_form_of` names an attack that does the same and sees more, if there is one.

    `queries` releases of each input were fused; with `near_copies`, all but the first are of near-duplicates of the
    kind that `copies` names: how far they are shifted, and their noise. `lower_bound` marks figures that more effort
    would raise. `seed` counts the audit's seeds from 0.
    """

    attack: str
    threat: Threat
    status: Literal["ok", "failed", "outrun"]
    reason: str = ""
    weaker_form_of: str = ""
    naive: bool = False
    queries: int = Field(default=1, ge=1)
    near_copies: bool = False
    copies: str = ""
    attacker_data: str
    seed: int = Field(default=0, ge=0)
    figures: AttackFigures | None = None
    lower_bound: bool = False
    converged: bool = True
    steps: int = Field(default=0, ge=0)
    losses: tuple[float, ...] = ()
    seconds: float = Field(ge=0)


class LinkageRate(Record):
    """The share of releases that were matched to their own input in a gallery of exact or of near copies."""

    copies: Literal["exact", "near"]
    threat: Threat
    rate: Interval
    chance: float
    gallery_count: int = Field(ge=1)
    queries: int = Field(default=1, ge=1)


class AttributeRate(Record):
    """The accuracy of a probe that predicts the sensitive label from the release, and the majority class's share.

    `balanced_accuracy` is the mean over classes of the share that is right within the class, where chance is 1 over the
    number of classes. `auc` is the area under the ROC curve, for several classes the mean of each against the rest;
    chance is 0.5. None where the targets do not have every class.
    """

    probe: Literal["linear", "mlp"]
    threat: Threat
    accuracy: Interval
    majority: float
    balanced_accuracy: float | None = None
    auc: float | None = None
    class_count: int = Field(ge=1)
    target_count: int = Field(ge=1)


class TierFigures(Record):
    """The worst case of one threat model: maxima over its own and all weaker tiers' attacks.

    Each figure is the greatest value. Its upper end is the greatest of all attacks' upper ends, each at 5 % divided by
    their number: an attack on few targets hides behind none that was run on many. `target_count` is the most targets
    that one attack had, `fewest_targets` the least.
    `excess` is what the release tells beyond the declared output: (index - floor) / (1 - floor), where the floor is the
    index that attackers reach from that output alone. It is not below 0, and None where the floor is not known.
    `consistency_excess`, `ssim_excess`, `ms_ssim_excess` and `features_excess` are what these figures have beyond the
    mean image of the original's class, by the same formula; beyond the mean image where the network gives no classes.
    Whoever knows the label reaches that much without any release. None where the upper end of what the class's mean
    reaches lies above 0.9: nothing can be told there.
    `conclusive` is False where an attack of the tier failed and no stronger form of it ended there: then the figures
    are only those of the other attacks, and prove no privacy. `failed` names them. `index_attack` names the attack
    behind `index`.
    """

    threat: Threat
    index: Interval
    index_attack: str
    excess: Interval | None = None
    within_class: Interval | None = None
    region: Interval | None = None
    consistency: Interval | None = None
    consistency_excess: Interval | None = None
    ssim: Interval | None = None
    ssim_excess: Interval | None = None
    ms_ssim: Interval | None = None
    ms_ssim_excess: Interval | None = None
    features: Interval | None = None
    features_excess: Interval | None = None
    reidentification: Interval
    reconstruction_rate: Interval | None = None
    linkage: Interval | None = None
    attribute: Interval | None = None
    target_count: int = Field(default=1, ge=1)
    fewest_targets: int = Field(default=1, ge=1)
    lower_bound: bool
    conclusive: bool
    failed: tuple[str, ...] = ()


class FloorIndex(Record):
    """The index that attackers reach from the output `of` a service alone; `declared` is False where it is assumed."""

    of: Returns
    declared: bool
    index: Interval


class Audit(Record):
    """The attacks run against one (cut, defense), with `seeds` seeds; `tiers` are the worst of all.

    `floors` are what the same figures read of images that use no release.
    """

    cut_id: str
    cut_name: str
    cut_kind: CutKind
    depth: int = Field(ge=0)
    payload_bytes: int = Field(ge=0)
    defense: DefenseRecord
    effort: Literal["quick", "standard", "thorough"]
    seeds: int = Field(default=1, ge=1)
    accuracy: Interval | None = None
    attacks: tuple[AttackResult, ...]
    linkage: tuple[LinkageRate, ...] = ()
    attributes: tuple[AttributeRate, ...] = ()
    tiers: tuple[TierFigures, ...]
    floors: tuple[FloorFigures, ...] = ()
    chance: float
    notes: tuple[str, ...] = ()

    def tier(self, threat: Threat) -> TierFigures:
        """The figures of one threat model. Raises KeyError if no attack of it was run."""
        for figures in self.tiers:
            if figures.threat == threat:
                return figures
        raise KeyError(threat)


class AuditReport(Record):
    """The file that `collabplan attack -o` writes.

    `output_floor` is the audit of what the service returns, in the form `floor_of`. `returns` is that form as the
    target declares it. Where it declares none, the floor is of the label alone, the least that a classifier returns.
    """

    format: Literal["collabplan.audit"] = "collabplan.audit"
    schema_version: Literal[2] = 2
    target: TargetIdentity
    model: ModelIdentity
    data_hash: str
    audits: tuple[Audit, ...]
    output_floor: Audit | None = None
    floor_of: Returns = "logits"
    returns: Returns | None = None
    pictures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Provenance


class Correlation(Record):
    """A rank correlation with its bootstrap interval; None where fewer than three pairs, or only ties, were left."""

    value: float | None
    low: float | None = None
    high: float | None = None
    pair_count: int = Field(ge=0)


class AgreementRow(Record):
    """How well one estimate, or one trivial proxy, ranks (cut, defense) pairs as the audited index does."""

    estimate: str
    trivial: bool
    scope: Literal["pooled", "within defense", "within cut", "accuracy drop <= 10 points"]
    spearman: Correlation
    kendall: Correlation


class Discordance(Record):
    """Two (cut, defense) pairs that the estimate orders one way and the audit clearly the other way."""

    estimate: str
    first: str
    second: str
    estimated: tuple[float, float]
    audited: tuple[float, float]


Releases = Literal["one", "any"]
"""The releases of an input that the compared attackers had: one, or any number that was tried (the worst counts)."""


class AgreementReport(Record):
    """The file that `collabplan agreement -o` writes."""

    format: Literal["collabplan.agreement"] = "collabplan.agreement"
    schema_version: Literal[1] = 1
    target: TargetIdentity
    model: ModelIdentity
    threat: Threat
    releases: Releases = "one"
    pair_count: int = Field(ge=0)
    rows: tuple[AgreementRow, ...]
    discordant: tuple[Discordance, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Provenance
