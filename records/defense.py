"""What the device does to the crossing tensors before they leave: an ordered list of stages.

One record for every place that names a defense: plans, candidates, audits, leakage reports, bundles and studies. Its
`text` is the spelling of `--defense`; `collabplan.defenses.spelling` reads it back.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from .base import Record
from .hashing import canonical_json

Granularity = Literal["element", "channel"]
NoiseDistribution = Literal["gaussian", "laplace"]
Rounding = Literal["nearest", "stochastic"]
MaskKind = Literal["fresh", "keyed"]
Parameter = bool | int | float | str

ORDER = ("projection", "custom", "dropout", "noise", "quantizer")
"""Kinds of stages in the order in which the device applies them. Only custom stages may occur several times."""

USUAL_BITS = 8
"""Of the quantizer that a defense has where it names none."""

DIGITS = 6
"""Decimal places of rates, shares and standard deviations: the same number is then always the same record."""

_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_RESERVED = {*ORDER, "none"}


class TensorRange(Record):
    """Static range of one released tensor: calibrated once, clipped to ever after."""

    node: str
    low: float
    high: float


class ProjectionRecord(Record):
    """Only some directions are released, those that the cloud half uses most.

    Either `share` of the directions at each position, or `rank` directions of the whole tensor. `matrices` is the
    SHA-256 of their matrices, which lie beside the plan and are no secret; None until they are fitted.
    """

    stage: Literal["projection"] = "projection"
    share: float | None = Field(default=None, gt=0, lt=1)
    rank: int | None = Field(default=None, ge=2)
    matrices: str | None = None

    @model_validator(mode="after")
    def _one(self) -> ProjectionRecord:
        if (self.share is None) == (self.rank is None):
            raise ValueError("a projection has either a share or a rank")
        return self

    @property
    def text(self) -> str:
        """As `--defense` spells it."""
        return f"projection:share={_number(self.share)}" if self.share is not None else f"projection:rank={self.rank}"

    @property
    def words(self) -> str:
        """`rank-12 projection`, or `projection to 0.25 of the channels`."""
        if self.share is not None:
            return f"projection to {_number(self.share)} of the channels"
        return f"rank-{self.rank} projection"


class DropoutRecord(Record):
    """Elements or whole channels are set to zero with probability `rate`, and the others released unscaled."""

    stage: Literal["dropout"] = "dropout"
    granularity: Granularity
    rate: float = Field(gt=0, lt=1)

    @property
    def text(self) -> str:
        """As `--defense` spells it, fresh masks."""
        return f"dropout:{self.granularity}:{_number(self.rate)}"


class NoiseRecord(Record):
    """Noise of standard deviation `std`, a share of each tensor's calibrated range, is added to every element."""

    stage: Literal["noise"] = "noise"
    distribution: NoiseDistribution
    std: float = Field(gt=0)

    @property
    def text(self) -> str:
        """As `--defense` spells it, fresh noise."""
        return f"noise:{self.distribution}:{_number(self.std)}"


class QuantizerRecord(Record):
    """Integer codes of `bits` bits over each tensor's calibrated range."""

    stage: Literal["quantizer"] = "quantizer"
    bits: int = Field(default=USUAL_BITS, ge=1, le=16)
    rounding: Rounding = "nearest"

    @property
    def text(self) -> str:
        """As `--defense` spells it."""
        return f"quantizer:bits={self.bits}" + (":stochastic" if self.rounding == "stochastic" else "")


class CustomRecord(Record):
    """A stage that is not part of collabplan, by name. Running it takes the class of that name and revision."""

    stage: Literal["custom"] = "custom"
    name: str
    revision: int = Field(ge=1)
    parameters: dict[str, Parameter] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not _WORD.fullmatch(name) or name in _RESERVED:
            raise ValueError(f"a stage's name is made of letters, digits and _.+-, and is none of {sorted(_RESERVED)}")
        return name

    @field_validator("parameters")
    @classmethod
    def _parameters(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        for name, value in parameters.items():
            if not name.isidentifier() or (isinstance(value, str) and not _WORD.fullmatch(value)):
                raise ValueError(f"{name}={value!r} cannot be spelled; a value is made of letters, digits and _.+-")
        return dict(sorted(parameters.items()))

    def __hash__(self) -> int:
        """Over all fields; a dict has no hash of its own."""
        return hash(canonical_json(self.model_dump(mode="json")))

    @property
    def text(self) -> str:
        """As `--defense` spells it."""
        values = "".join(f":{name}={_spelled(value)}" for name, value in self.parameters.items())
        return self.name + values


StageRecord = Annotated[
    ProjectionRecord | CustomRecord | DropoutRecord | NoiseRecord | QuantizerRecord, Field(discriminator="stage")
]
_S = TypeVar("_S", ProjectionRecord, DropoutRecord, NoiseRecord, QuantizerRecord)


class DefenseRecord(Record):
    """A defense: stages in the order of `ORDER`. Without any, tensors cross in the model's own dtype.

    `masks` says whether random numbers are drawn afresh for each release, or *keyed*: the same input always gets the
    same ones, so that repeated queries reveal nothing new. `ranges` names every floating private tensor that is
    released, once calibrated. No key and no seed is ever part of a record.
    """

    stages: tuple[StageRecord, ...] = ()
    masks: MaskKind = "fresh"
    ranges: tuple[TensorRange, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> DefenseRecord:
        kinds = [stage.stage for stage in self.stages]
        places = [ORDER.index(kind) for kind in kinds]
        twice = next((kind for kind in kinds if kind != "custom" and kinds.count(kind) > 1), None)
        if places != sorted(places) or twice is not None:
            wrong = f"{twice} stands twice" if twice else f"{', '.join(kinds)} is no order"
            raise ValueError(f"{wrong}; the order of stages is {', '.join(ORDER)}, each once but for custom ones")
        if self.masks == "keyed" and not self.may_draw:
            raise ValueError("keyed masks need a stage that draws random numbers")
        return self

    @classmethod
    def of(cls, *stages: StageRecord, masks: MaskKind = "fresh") -> DefenseRecord:
        """These stages, not calibrated.

        Examples:
            >>> DefenseRecord.of(DropoutRecord(granularity="element", rate=0.3), QuantizerRecord()).text
            'dropout:element:0.3'
        """
        return cls(stages=stages, masks=masks)

    def _only(self, kind: type[_S]) -> _S | None:
        return next((stage for stage in self.stages if isinstance(stage, kind)), None)

    @property
    def projection(self) -> ProjectionRecord | None:
        """The projection, if there is one."""
        return self._only(ProjectionRecord)

    @property
    def customs(self) -> tuple[CustomRecord, ...]:
        """Stages that are not part of collabplan."""
        return tuple(stage for stage in self.stages if isinstance(stage, CustomRecord))

    @property
    def dropout(self) -> DropoutRecord | None:
        """The dropout, if there is one."""
        return self._only(DropoutRecord)

    @property
    def noise(self) -> NoiseRecord | None:
        """The noise, if there is any."""
        return self._only(NoiseRecord)

    @property
    def quantizer(self) -> QuantizerRecord | None:
        """The quantizer, if there is one."""
        return self._only(QuantizerRecord)

    @property
    def bits(self) -> int | None:
        """Of the quantizer; None without one."""
        return None if self.quantizer is None else self.quantizer.bits

    @property
    def rate(self) -> float:
        """Of the dropout; 0 without."""
        return 0.0 if self.dropout is None else self.dropout.rate

    @property
    def rounds_randomly(self) -> bool:
        """True where the quantizer rounds stochastically."""
        return self.quantizer is not None and self.quantizer.rounding == "stochastic"

    @property
    def may_draw(self) -> bool:
        """True where a stage draws random numbers, as custom ones may."""
        return bool(self.customs or self.dropout or self.noise or self.rounds_randomly)

    def without(self, *kinds: str) -> DefenseRecord:
        """The same without the stages of these kinds; keyed numbers are fresh once nothing draws any."""
        stages = tuple(stage for stage in self.stages if stage.stage not in kinds)
        left = DefenseRecord(stages=stages, ranges=self.ranges)
        return left.model_copy(update={"masks": self.masks}) if left.may_draw else left

    def replacing(self, stage: StageRecord) -> DefenseRecord:
        """The same with `stage` in place of the one of its kind. Raises ValueError if the defense has no such stage."""
        at = [each.stage for each in self.stages].index(stage.stage)
        return self.model_copy(update={"stages": (*self.stages[:at], stage, *self.stages[at + 1 :])})

    @property
    def unfitted(self) -> DefenseRecord:
        """The same before anything was fitted to data: no ranges, no matrices; numbers rounded to `DIGITS`."""
        return DefenseRecord(stages=tuple(_unfitted(stage) for stage in self.stages), masks=self.masks)

    @property
    def text(self) -> str:
        """As `--defense` spells it: the usual quantizer goes without saying, and `none` is that quantizer alone."""
        usual = QuantizerRecord()
        texts = [stage.text for stage in self.stages if stage != usual]
        if self.quantizer is None:
            texts.append("quantizer:none")
        if self.masks == "keyed":
            at = next(at for at, stage in enumerate(self.stages) if _may_draw(stage))
            texts[at] = _keyed(texts[at])
        return " ".join(texts) or "none"


def _may_draw(stage: StageRecord) -> bool:
    if isinstance(stage, QuantizerRecord):
        return stage.rounding == "stochastic"
    return not isinstance(stage, ProjectionRecord)


def _keyed(text: str) -> str:
    """`dropout:element:0.3` as `dropout:element:keyed:0.3`: the word stands before the first value."""
    words = text.split(":")
    named = 2 if words[0] in ("dropout", "noise") else 1
    return ":".join([*words[:named], "keyed", *words[named:]])


def _unfitted(stage: StageRecord) -> StageRecord:
    if isinstance(stage, ProjectionRecord):
        share = None if stage.share is None else round(stage.share, DIGITS)
        return ProjectionRecord(share=share, rank=stage.rank)
    if isinstance(stage, DropoutRecord):
        return stage.model_copy(update={"rate": round(stage.rate, DIGITS)})
    if isinstance(stage, NoiseRecord):
        return stage.model_copy(update={"std": round(stage.std, DIGITS)})
    return stage


def _spelled(value: Parameter) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """`0.3`, with at most `DIGITS` decimal places."""
    return f"{value:.{DIGITS}f}".rstrip("0").rstrip(".")
