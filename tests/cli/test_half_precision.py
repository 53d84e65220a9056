"""Models in half precision: profiled as they are, measured without overflow, split bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Run
from target_files import DATA, NET

Write = Callable[..., Path]

WIDE = """
class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Linear(6, 512), nn.ReLU())
        self.head = nn.Linear(512, 3)
        with torch.no_grad():
            self.stem[0].bias.add_(10.0)  # activations of about 10, of which half precision cannot hold the sum

    def forward(self, x):
        return self.head(self.stem(x) - 10)

def model():
    return Wide().DTYPE()

example_inputs = (torch.zeros(1, 6).DTYPE(),)

def train_data():
    return _rows(3, 80)
"""
OPTIMIZE = (
    "optimize", "--budget-ms", "5000", "--max-accuracy-drop", "1", "--max-edge-params", "4000", "--no-audit",
    "--draws", "1", "--json",
)  # fmt: skip


def half(target: Write, run: Run, kind: str, extra: str = "") -> Any:
    """The wide network in that dtype, profiled."""
    target(DATA + WIDE.replace("DTYPE", kind) + extra)
    ran = run("profile", "model.py", "--seconds", "0.3", "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    return ran.document


@pytest.mark.parametrize(("kind", "dtype"), [("half", "float16"), ("bfloat16", "bfloat16")])
def test_a_model_in_half_precision_goes_the_whole_way(target: Write, run: Run, kind: str, dtype: str) -> None:
    profile = half(target, run, kind)
    assert profile["dtype"] == dtype
    assert {crossing["dtype"] for cut in profile["cuts"] for crossing in cut["crossing"]} == {dtype}
    assert max(cut["payload_bytes"] for cut in profile["cuts"]) == 2 * 512
    assert profile["cuts"][-1]["edge_parameter_bytes"] == 2 * (6 * 512 + 512 + 512 * 3 + 3)
    leakage = run("leakage", "--json")
    assert leakage.code == 0, leakage.err
    rest = "dropout:element:0,0.1..0.9 noise:gaussian:0,0.05 quantizer:bits=8,none"
    wires = ("--defense", f"projection:share=1,0.5 {rest}", "--defense", f"projection:rank=4 {rest}")
    searched = run(*OPTIMIZE, *wires, "--finetune", "1", "--trials", "8")
    assert searched.code == 0, searched.err
    assert f"float32 rounded to {dtype}, which the model takes as 'x'" in " ".join(searched.err.split())
    assert {crossing["dtype"] for crossing in searched.document["plan"]["crossing"]} == {dtype}
    parts = run("split", "plan.json", "-o", "halves")
    assert parts.code == 0, parts.err


def test_the_leakage_of_half_precision_is_that_of_the_same_numbers_in_float32(target: Write, run: Run) -> None:
    indices = {}
    for kind in ("half", "float"):
        half(target, run, kind)
        document = run(*OPTIMIZE, "--defense", "none").document
        indices[kind] = [row["candidate"]["leakage"]["index"]["value"] for row in document["baselines"]]
    assert indices["half"] == pytest.approx(indices["float"], abs=0.03)


def test_a_copy_in_another_dtype_is_said_to_be_one(target: Write, run: Run) -> None:
    target(DATA + WIDE.replace("DTYPE", "bfloat16"))
    profile = run("profile", "model.py", "--dtype", "float32", "--seconds", "0.3", "--threads", "1", "--json").document
    assert profile["dtype"] == "float32"
    assert any("a copy in float32; the model itself computes in bfloat16" in said for said in profile["warnings"])


def test_shapes_alone_mean_inputs_in_the_models_own_dtype(target: Write, run: Run) -> None:
    target(DATA + WIDE.replace("DTYPE", "half"))
    ran = run("profile", "model.py", "--input", "1x6", "--seconds", "0.3", "--threads", "1", "--json")
    assert ran.document["dtype"] == "float16"
    assert "float16 1x6, from `--input`" in ran.err


def test_inputs_of_another_dtype_are_refused_with_the_right_one(target: Write, run: Run) -> None:
    target(DATA + WIDE.replace("DTYPE", "bfloat16") + "\nexample_inputs = (torch.zeros(1, 6),)\n")
    ran = run("profile", "model.py")
    assert ran.code == 2
    assert "give floating inputs in torch.bfloat16, as the model's weights are" in ran.err


def test_data_beyond_half_precision_are_refused(target: Write, run: Run) -> None:
    large = "\ndef validation_data():\n    return 1e6 * torch.rand(80, 6), torch.zeros(80).long()\n"
    target(DATA + WIDE.replace("DTYPE", "half") + large)
    ran = run("profile", "model.py", "--seconds", "0.3")
    assert ran.code == 2
    assert "more than the float16 that the model takes can hold; scale them as in training" in ran.err


def test_a_float32_model_is_profiled_in_float32(target: Write, run: Run) -> None:
    target(DATA, base=NET)
    assert run("profile", "model.py", "--seconds", "0.3", "--threads", "1", "--json").document["dtype"] == "float32"
