"""A search space, and the names by which its points are seeded: these are those of before defenses were stages."""

from types import SimpleNamespace
from typing import cast

import pytest
from collabplan.defenses import Defense, defense_of
from collabplan.defenses.pipeline import seed_marks
from collabplan.defenses.projection import ProjectionMatrices
from collabplan.planner.space import Point
from collabplan.records import DefenseRecord, ProjectionRecord, QuantizerRecord, TensorRange, hash_json

RANGES = (TensorRange(node="relu", low=0.0, high=2.5),)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("none", "c|none|0.000000"),
        ("dropout:element:0.3", "c|element|0.300000"),
        ("dropout:channel:0.9", "c|channel|0.900000"),
        ("quantizer:bits=4", "c|none|0.000000|4|none|0.000000"),
        ("dropout:element:0.5 noise:gaussian:0.05 quantizer:none", "c|element|0.500000|None|gaussian|0.050000"),
        ("projection:rank=12", "c|none|0.000000|8|none|0.000000|12.000000"),
        (
            "projection:share=0.25 dropout:element:0.1 noise:laplace:0.1 quantizer:bits=3",
            "c|element|0.100000|3|laplace|0.100000|0.250000",
        ),
        ("projection:rank=4 quantizer:bits=3", "c|none|0.000000|3|none|0.000000|4.000000"),
    ],
)
def test_the_seeds_of_a_point_are_those_of_before(text, key):
    assert Point("c", defense_of(text)).key == key


def test_points_that_could_not_be_said_before_have_keys_of_their_own():
    texts = (
        "dropout:element:0.3", "dropout:element:keyed:0.3", "none", "quantizer:bits=8:stochastic",
        "quantizer:keyed:bits=8:stochastic",
    )  # fmt: skip
    assert len({Point("c", defense_of(text)).key for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "matrices", "digest"),
    [
        ("none", None, "5d61f48791d5"),
        ("dropout:element:0.5 noise:gaussian:0.05 quantizer:none", None, "1ee0bd5ee527"),
        ("quantizer:bits=4:stochastic", None, "a8779f1ee615"),
    ],
)
def test_attackers_are_trained_with_the_draws_of_before(text, matrices, digest):
    record = defense_of(text).model_copy(update={"ranges": RANGES})
    assert hash_json(["x", seed_marks(Defense(record, (), matrices))])[:12] == digest


def test_attackers_of_what_is_undefended_and_of_codes_are_trained_with_the_draws_of_before():
    matrices = cast("ProjectionMatrices", SimpleNamespace(sha256="a" * 64))
    record = DefenseRecord(stages=(QuantizerRecord(bits=3),), ranges=RANGES)
    assert hash_json(["x", seed_marks(Defense(record, (), matrices))])[:12] == "64ef717d97b5"
    assert hash_json(["x", seed_marks(Defense(DefenseRecord(), ()))])[:12] == "5ab8ce8e9767"
    assert ProjectionRecord(rank=12).words == "rank-12 projection"
