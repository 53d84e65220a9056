"""What a traced graph knows about itself, and what it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from collabplan.graph import InputSpec, TracedGraph, differ_by_sample
from collabplan.graph.traced_graph import Derived
from collabplan.records import TraceError


def test_a_derived_result_is_made_once_for_each_type() -> None:
    kept, calls = Derived(), []

    def make() -> list[int]:
        calls.append(1)
        return [7]

    assert kept.get(list, make) is kept.get(list, make)
    assert len(calls) == 1
    assert kept.get(dict, dict) == {}


def test_a_changed_copy_starts_without_derived_results(chain: TracedGraph) -> None:
    chain.cache.get(set, lambda: {"derived"})
    assert replace(chain, notes=("changed",)).cache.get(set, set) == set()


def test_samples_run_together_unless_they_read_each_other(chain: TracedGraph) -> None:
    assert (chain.only_batch, chain.samples_at_once(64)) == (None, 64)
    mixed = replace(chain, mixed_at="norm")
    assert (mixed.only_batch, mixed.samples_at_once(64)) == (1, 1)
    fixed = replace(chain, method="static", traced_batch=3)
    assert (fixed.only_batch, fixed.samples_at_once(64)) == (3, 3)
    with pytest.raises(TraceError, match="first at norm, and only 3 together can run"):
        replace(fixed, mixed_at="norm").samples_at_once(64)


def test_inputs_that_are_no_tensors_are_fixed_and_left_out(chain: TracedGraph) -> None:
    flag = InputSpec("flag", None, None, None, False, constant=True)
    assert not flag.is_tensor
    assert replace(chain, inputs=(*chain.inputs, flag)).tensor_inputs == chain.inputs


def test_without_any_batch_one_call_is_one_sample() -> None:
    with_batch, without = (InputSpec("x", (2, 3), torch.float32, dim, False) for dim in (0, None))
    assert differ_by_sample([with_batch, without]) == [True, False]
    assert differ_by_sample([without, without]) == [True, True]
