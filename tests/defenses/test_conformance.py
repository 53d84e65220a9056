"""The published conformance suite passes built-in stages and sound ones of others, and catches unsound ones."""

# ruff: noqa: ARG002 (a stage takes what its protocol gives)

from dataclasses import dataclass

import pytest
import torch
from collabplan.defenses import CustomStage
from collabplan.defenses.conformance import check_stage
from collabplan.records import DropoutRecord, NoiseRecord, QuantizerRecord


@dataclass(frozen=True)
class Clip(CustomStage):
    name = "clip"
    limit: float = 1.0

    def apply(self, rows, crossing, source):
        return rows.clamp(-self.limit, self.limit)


@dataclass(frozen=True)
class Jitter(CustomStage):
    name = "jitter"
    random = True
    unbiased = True
    nanoseconds_per_number = 40.0
    size: float = 0.1

    def apply(self, rows, crossing, source):
        return rows + self.size * source.normal("size", rows.shape)

    def expected(self, rows, crossing):
        return rows


@dataclass(frozen=True)
class Halved(CustomStage):
    """Every second channel is sent."""

    name = "halved"

    def codes(self, crossing):
        channels, *rest = crossing.sample_shape
        return crossing.model_copy(update={"sample_shape": ((channels + 1) // 2, *rest)})

    def apply(self, rows, crossing, source):
        return rows[:, ::2]

    def receive(self, rows, crossing):
        whole = rows.new_zeros(len(rows), *crossing.sample_shape)
        whole[:, ::2] = rows
        return whole


@pytest.mark.parametrize(
    "stage",
    [
        DropoutRecord(granularity="element", rate=0.3), DropoutRecord(granularity="channel", rate=0.6),
        NoiseRecord(distribution="gaussian", std=0.05), NoiseRecord(distribution="laplace", std=0.05),
        QuantizerRecord(), QuantizerRecord(bits=3, rounding="stochastic"), Clip(0.5), Jitter(), Halved(),
    ],
    ids=lambda stage: getattr(stage, "text", type(stage).__name__),
)  # fmt: skip
def test_sound_stages_conform(stage):
    check_stage(stage)


def broken(**changes):
    """A `jitter` with some of its members replaced."""
    return dataclass(frozen=True)(type("Broken", (Jitter,), {"name": "broken", **changes}))()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"apply": lambda _, rows, *__: rows - rows.mean(0)}, "says random=True"),
        ({"apply": lambda _, rows, *__: rows - rows.mean(0), "random": False}, "alone than in a batch|order"),
        ({"apply": lambda _, rows, __, source: rows + source.normal("a", rows.shape) + 1}, "unbiased"),
        ({"apply": lambda _, rows, *__: rows + torch.randn(rows.shape)}, "same seed"),
        ({"codes": lambda _, c: c.model_copy(update={"sample_shape": (3,)})}, "declares"),
        ({"revision": "new"}, "revision"),
        ({"nanoseconds_per_number": -1.0}, "not negative"),
        ({"apply": lambda _, rows, __, s: rows + s.normal("a", rows.shape) * s.normal("a", rows.shape)}, "asks twice"),
    ],
    ids=lambda given: given if isinstance(given, str) else "-".join(given),
)
def test_what_is_unsound_is_caught(changes, says):
    with pytest.raises((AssertionError, ValueError), match=says):
        check_stage(broken(**changes))
