"""A defense has one spelling, which reads back to the same record."""

# ruff: noqa: ARG002 (a stage takes what its protocol gives)

import pytest
from collabplan.defenses import CustomStage, defense_of, defenses_of, register
from collabplan.defenses.spelling import UnknownStage
from collabplan.records import (
    CollabplanError,
    DefenseRecord,
    DropoutRecord,
    NoiseRecord,
    ProjectionRecord,
    QuantizerRecord,
)
from hypothesis import given
from hypothesis import strategies as st

numbers = st.integers(1, 999_999).map(lambda n: n / 1e6)
projections = st.builds(ProjectionRecord, share=numbers) | st.builds(ProjectionRecord, rank=st.integers(2, 5000))
dropouts = st.builds(DropoutRecord, granularity=st.sampled_from(["element", "channel"]), rate=numbers)
stds = st.floats(1e-6, 50).map(lambda x: max(round(x, 6), 1e-6))
noises = st.builds(NoiseRecord, distribution=st.sampled_from(["gaussian", "laplace"]), std=stds)
quantizers = st.builds(QuantizerRecord, bits=st.integers(1, 16), rounding=st.sampled_from(["nearest", "stochastic"]))


@given(
    st.tuples(*(st.none() | kind for kind in (projections, dropouts, noises, quantizers))),
    st.booleans(),
)
def test_what_a_record_says_reads_back_to_it(stages, keyed):
    record = DefenseRecord.of(*(stage for stage in stages if stage is not None))
    if keyed and record.may_draw:
        record = record.model_copy(update={"masks": "keyed"})
    assert defense_of(record.text) == record
    assert DefenseRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    ("family", "texts"),
    [
        ("none", ["none"]),
        ("quantizer:bits=8", ["none"]),
        ("quantizer:none", ["quantizer:none"]),
        ("dropout:element:0.1..0.3", ["dropout:element:0.1", "dropout:element:0.2", "dropout:element:0.3"]),
        ("dropout:element:0,0.5", ["none", "dropout:element:0.5"]),
        ("projection:share=1,0.25", ["none", "projection:share=0.25"]),
        ("dropout:channel:keyed:0,0.5", ["none", "dropout:channel:keyed:0.5"]),
        (
            "projection:rank=4..6/2 quantizer:bits=3",
            ["projection:rank=4 quantizer:bits=3", "projection:rank=6 quantizer:bits=3"],
        ),
        ("quantizer:bits=8,none", ["none", "quantizer:none"]),
    ],
)
def test_a_family_is_every_combination_in_a_fixed_order(family, texts):
    assert [defense.text for defense in defenses_of(family)] == texts


def test_families_that_coincide_are_one_defense():
    assert len(defenses_of(["none", "dropout:element:0,0.3", "dropout:element:0.3"])) == 2


def test_a_range_holds_the_very_numbers_that_a_list_does():
    listed = ",".join(f"0.{n}" for n in range(1, 10))
    assert defenses_of("dropout:element:0.1..0.9") == defenses_of(f"dropout:element:{listed}")


@pytest.mark.parametrize(
    ("family", "says"),
    [
        ("", "is empty"),
        ("dropout", "give element or channel"),
        ("dropout:element:1", "rate input should be less than 1"),
        ("dropout:element:0.1..0.95", "neither a number nor a range"),
        ("dropout:element:nan", "neither a number nor a range"),
        ("noise:gaussian:-1", "std input should be greater than 0"),
        ("projection:rank=1", "rank input should be greater"),
        ("projection:rank=2.5", "no whole number"),
        ("projection:most", "a projection is spelled"),
        ("quantizer:bits=", "a quantizer is spelled"),
        ("quantizer dropout:element:0.3", "the order of stages is projection, custom, dropout, noise, quantizer"),
        ("dropout:element:0.3 dropout:channel:0.3", "dropout stands twice"),
        ("quantizer:keyed:bits=8", "nothing in it draws random numbers"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_what_is_expected(family, says):
    with pytest.raises(CollabplanError) as caught:
        defenses_of(family)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_stage_is_named_with_those_that_there_are():
    with pytest.raises(UnknownStage, match="unknown stage 'blur'; there are projection, dropout, noise, quantizer"):
        defenses_of("blur:1")


def test_stages_of_ones_own_are_spelled_with_their_parameters():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Squeeze(CustomStage):
        name = "squeeze"
        limit: float = 1.0
        hard: bool = False
        times: int = 1

        def apply(self, rows, crossing, source):
            return rows

        @classmethod
        def search_values(cls):
            return cls(0.5), cls(2.0)

    register(Squeeze)
    assert [each.text for each in defenses_of("squeeze:limit=1,2 dropout:element:0.5")] == [
        "squeeze:hard=false:limit=1.0:times=1 dropout:element:0.5",
        "squeeze:hard=false:limit=2.0:times=1 dropout:element:0.5",
    ]
    assert len(defenses_of("squeeze")) == 2
    for record in defenses_of([Squeeze(3.0, True, 2), "squeeze:hard=true:limit=3:times=2"]):
        assert defense_of(record.text) == record
    assert len(defenses_of([Squeeze(3.0, True, 2), "squeeze:hard=true:limit=3:times=2"])) == 1
    with pytest.raises(CollabplanError, match="no parameter 'size'; there are: hard, limit, times"):
        defenses_of("squeeze:size=1")
    with pytest.raises(CollabplanError, match="needs times to be int, got 'x'"):
        defenses_of("squeeze:times=x")
