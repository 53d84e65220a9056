"""The operators that a program file may name, and the layers of published models that come down to them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import collabplan
import pytest
import torch
from collabplan.graph import candidate_cuts, load_program, same_values, save_program, split, trace
from collabplan.graph.operators import name_of
from collabplan.records import TraceError
from torch import nn

BENCHMARKS = Path(collabplan.__file__).parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from operator_cases import Case, cases  # noqa: E402
from operators import LINE, examine  # noqa: E402

CASES = {case.name: case for case in cases()}
LAYERS = """
    torch.nn.RNN|torch.nn.RNNCell|torch.nn.LSTM stacked|torch.nn.LSTMCell|torch.nn.GRU|torch.nn.GRUCell
    |torch.nn.AdaptiveAvgPool3d|torch.nn.AdaptiveMaxPool1d|torch.nn.AdaptiveMaxPool3d|torch.nn.MaxUnpool2d
    |torch.nn.CosineSimilarity|torch.nn.PairwiseDistance|torch.nn.ChannelShuffle|torch.nn.Bilinear|torch.nn.EmbeddingBag
    |torch.nn.RReLU|torch.nn.CrossEntropyLoss|torch.nn.HuberLoss|torch.nn.TripletMarginLoss
    |torch.nn.utils.parametrizations.spectral_norm|torch.nn.functional.interpolate nearest-exact 2d
    |torch.nn.functional.binary_cross_entropy_with_logits|torch.tensordot|torch.true_divide|torch.stft|torch.istft
    |torch.kron|torch.quantile|torch.unravel_index|torch.polar|torch.conj|torch.linalg.norm|torch.linalg.svdvals
    |torch.linalg.solve|torch.linalg.matrix_exp|torch.linalg.eigh|torch.fft.hfft|torch.fft.ifftn|torch.special.erfcx
    |torch.special.zeta|torch.divide|torch.clip|torch.hamming_window|torch.fft.fftfreq
"""


@pytest.mark.parametrize("name", [name.strip() for name in LAYERS.split("|")])
def test_halves_and_files_and_gradients_equal_the_operator(name):
    result = examine(CASES[name])
    assert result["traced"], result["cause"]
    assert result["cuts"] >= 1
    assert result["causes"] == []
    assert result["equal"]
    assert result["reloaded"]
    assert result["gradients"]


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.kind == "random"], ids=lambda case: case.name)
def test_random_operators_are_refused_with_line_and_remedy(case):
    refused(case, "random numbers.*training")


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.kind == "data"], ids=lambda case: case.name)
def test_data_dependent_operators_are_refused_with_line_and_remedy(case):
    refused(case, r"depends on tensor values.*torch\.where")


def refused(case: Case, match: str) -> None:
    result = examine(case)
    assert not result["traced"]
    assert result["refused"], result["cause"]
    assert LINE.search(result["cause"])
    assert "graph/" not in result["cause"]
    with pytest.raises(TraceError, match=match):
        raise TraceError(result["cause"])


def test_an_operator_of_another_library_is_refused_with_the_library():
    with torch.library._scoped_library("collabplan_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        with pytest.raises(TraceError, match=r"library 'collabplan_test'.*torch's own operators"):
            name_of(torch.ops.collabplan_test.twice.default)


def test_packed_results_of_an_operator_cross_and_come_back(tmp_path):
    class Decomposed(nn.Module):
        def forward(self, x):
            left, values, right = torch.linalg.svd(torch.tanh(x), full_matrices=False)
            return (left * values[:, None]) @ right

    traced = trace(Decomposed(), torch.randn(2, 4, 3))
    x = torch.randn(5, 4, 3)
    several = [cut for cut in candidate_cuts(traced) if len(cut.crossing) > 1]
    assert several
    for cut in several:
        halves = split(traced, cut)
        save_program(halves.cloud, tmp_path)
        assert same_values(load_program(tmp_path)(*halves.edge(x)), Decomposed()(x))


def test_hostile_arguments_end_no_process():
    command = [sys.executable, str(BENCHMARKS / "operator_fuzz.py"), "--no-calls", "--sets", "25", "--match"]
    chosen = r"aten\.(take|put|embedding_bag|nll_loss_nd|max_unpool2d|tensordot|lu_unpack|cholesky_solve|bilinear)"
    done = subprocess.run([*command, chosen], capture_output=True, text=True, timeout=100, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    bars = {line["figure"]: line for line in lines if "bar" in line}
    assert bars["operators that crashed"]["of"] >= 9
    assert [bars[f"operators that {what}"]["value"] for what in ("crashed", "hung")] == [0, 0]
    assert bars["argument sets"]["value"] >= 9 * 25
