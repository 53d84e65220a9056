"""Node data as Model Explorer reads it: the dataclasses of its `node_data_builder.py`, as a JSON Schema."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import report_plans as made
from collabplan.report.model_explorer import node_data
from collabplan.report.node_figures import CutLeakage, known_leakage
from report_profiles import TIMES_MS, cut, profile

COLOR = {"type": "string", "pattern": "^#[0-9A-Fa-f]{6}$"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["results"],
    "additionalProperties": False,
    "properties": {
        "results": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["value"],
                "additionalProperties": False,
                "properties": {"value": {"type": "number"}, "bgColor": COLOR, "textColor": COLOR},
            },
        },
        "thresholds": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["value", "bgColor"],
                "additionalProperties": False,
                "properties": {"value": {"type": "number"}, "bgColor": COLOR, "textColor": COLOR},
            },
        },
        "gradient": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["stop"],
                "additionalProperties": False,
                "properties": {
                    "stop": {"type": "number", "minimum": 0, "maximum": 1},
                    "bgColor": COLOR,
                    "textColor": COLOR,
                },
            },
        },
        "hideInAggregatedStatsTable": {"type": "boolean"},
        "hideInChildrenStatsTable": {"type": "boolean"},
        "hideAggregatedStats": {"type": "array", "items": {"enum": ["min", "max", "sum", "avg"]}},
    },
}


def data(*figures: CutLeakage) -> dict[str, dict[str, Any]]:
    return node_data(profile(), figures)


def test_every_file_fits_the_format() -> None:
    for document in data(*known_leakage(made.plan(), None)).values():
        jsonschema.validate(document, SCHEMA)


def test_every_node_has_its_median_and_the_gradient_has_both_ends() -> None:
    latency = data()["latency-p50-ms.json"]
    expected = {f"module/{name}/{name}": value for name, value in TIMES_MS.items()}
    assert {name: each["value"] for name, each in latency["results"].items()} == expected
    assert [item["stop"] for item in latency["gradient"]] == [0, 1]


def test_a_file_is_named_by_its_defense_and_by_what_its_figures_rest_on() -> None:
    attacked = made.candidate(audited=made.audited("quick", 1))
    files = data(*known_leakage(made.plan(chosen=attacked, front=(), baselines=()), None))
    assert set(files) == {
        "latency-p50-ms.json",
        "leakage-upper-end-projection-rank-96-attacked-at-quick-effort.json",
    }


def test_leakage_is_the_upper_end_and_has_a_colour_up_to_1() -> None:
    (found,) = (each for name, each in data(figure("layer2.2", 1.0)).items() if name.startswith("leakage"))
    assert found["results"] == {"module/relu/relu": {"value": 1.0}}
    assert found["thresholds"][-1]["value"] == 1
    assert found["hideAggregatedStats"] == ["sum"]


def test_an_input_has_the_name_that_the_onnx_adapter_gives_it() -> None:
    (found,) = (each for name, each in data(figure("cloud-only", 1.0)).items() if name.startswith("leakage"))
    assert found["results"] == {"[io]image": {"value": 1.0}}


@pytest.mark.parametrize("name", ["elsewhere", "public"])
def test_where_no_node_has_a_figure_there_is_no_file(name: str) -> None:
    shown = profile()
    public = cut("public", 1).model_copy(
        update={"crossing": tuple(each.model_copy(update={"public": True}) for each in shown.cuts[0].crossing)}
    )
    files = node_data(shown.model_copy(update={"cuts": (public,)}), [figure(name, 0.5)])
    assert list(files) == ["latency-p50-ms.json"]


def figure(name: str, high: float) -> CutLeakage:
    return CutLeakage(f"id-{name}", "none", "estimated", made.interval(high / 2, 0.0, high))
