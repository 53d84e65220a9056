"""Which cuts there are, and that any is found by what crosses."""

from __future__ import annotations

import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from collabplan.graph import TracedGraph, candidate_cuts, cut_of, find_cut, same_values, split, trace
from collabplan.graph.units import units
from collabplan.records import CutError
from down_sets import all_down_sets
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_models import RandomModel, random_inputs
from small_resnet import SmallResNet

few = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@few
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 5))
def test_any_cut_is_found_by_what_crosses_and_its_halves_compose(seed, steps):
    traced = trace(RandomModel(seed, steps), random_inputs(seed, 2))
    graph = units(traced)
    assume(graph.count <= 10)
    for mask in all_down_sets(graph):
        crosses = graph.crossings(mask[:, None])[:, 0]
        records = [graph.crossing_records[t] for t in np.flatnonzero(crosses)]
        unread = (mask & ~graph.ancestors[:, graph.producers[crosses]].any(axis=1))[graph.input_count :].any()
        if mask[:-1].all() or not mask[graph.input_count :].any() or unread or not graph.crossable[crosses].all():
            continue
        if not graph.carries_batch[crosses].any():
            continue
        cut = cut_of(traced, [record.name for record in records])
        assert np.array_equal(cut.edge, mask)
        halves = split(traced, cut)
        inputs = random_inputs(seed, 3)
        assert same_values(halves.cloud(*halves.edge(*inputs)), traced.module(*inputs))


def test_what_is_no_cut_is_refused():
    traced = trace(SmallResNet(), torch.randn(1, 3, 8, 8))
    cut = next(cut for cut in candidate_cuts(traced) if cut.name == "layer1.0 + layer1.1.conv2")
    found = cut_of(traced, ["layer1.1.conv2", "layer1.0"], candidate_cuts(traced))
    assert (found.id, found.name, found.depth) == (cut.id, cut.name, cut.depth)
    for names in (["layer1.1.conv2"], ["stem", "layer1.1.conv2"], [], ["x"], ["fc"], ["nowhere"]):
        with pytest.raises(CutError, match=r"proper cut|is called"):
            cut_of(traced, names)


def test_every_single_tensor_cut_is_found():
    traced = trace(SmallResNet(), torch.randn(1, 3, 8, 8))
    graph = units(traced)
    single = {cut.crossing[0].node for cut in candidate_cuts(traced, max_crossing=1) if cut.kind == "proper"}
    expected = set()
    for tensor in graph.tensors:
        edge = graph.ancestors[:, tensor.unit].copy()
        edge[: graph.input_count] = True
        is_output = any(user.op == "output" for user in tensor.node.users)
        if tensor.unit >= graph.input_count and not is_output and graph.crossings(edge[:, None]).sum() == 1:
            expected.add(tensor.node.name)
    assert single == expected


def test_the_number_of_crossings_is_bounded_and_no_cut_stands_twice():
    cuts = candidate_cuts(trace(RandomModel(7, 9), random_inputs(7, 1)), max_crossing=2)
    assert all(len(cut.crossing) <= 2 for cut in cuts if cut.kind == "proper")
    assert len({cut.id for cut in cuts}) == len(cuts)
    assert [cut.depth for cut in cuts] == list(range(len(cuts)))


def test_ids_and_hashes_are_the_same_in_another_process_and_folder(tmp_path, monkeypatch, capsys):
    script = (
        "import torch; from torch import nn; from collabplan.graph import *\n"
        "torch.manual_seed(3); m = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))\n"
        "t = trace(m, torch.ones(1, 1, 4, 4))\n"
        "print([c.id for c in candidate_cuts(t)], t.identity.structure_hash, t.identity.weights_hash)"
    )
    here, there = tmp_path / "one", tmp_path / "two"
    for folder in (here, there):
        folder.mkdir()
        (folder / "run.py").write_text(script)
    done = subprocess.run([sys.executable, "run.py"], cwd=there, capture_output=True, text=True, check=True)
    monkeypatch.chdir(here)
    runpy.run_path("run.py")
    assert capsys.readouterr().out == done.stdout


def test_max_crossing_below_one_is_refused(chain: TracedGraph) -> None:
    with pytest.raises(CutError, match="at least 1, got 0"):
        candidate_cuts(chain, max_crossing=0)


def test_a_cut_is_found_by_its_id_among_known_ones_or_by_what_crosses(chain: TracedGraph) -> None:
    cuts = candidate_cuts(chain)
    assert find_cut(chain, cuts[1].id, (), cuts) is cuts[1]
    found = find_cut(chain, cuts[1].id, [cuts[1].name], ())
    assert found is not None
    assert np.array_equal(found.edge, cuts[1].edge)
    assert find_cut(chain, cuts[2].id, [cuts[1].name], ()) is None
    assert find_cut(chain, cuts[1].id, ["nowhere"], ()) is None
