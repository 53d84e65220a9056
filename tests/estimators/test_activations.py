"""Edge activations of real cuts: right, kept within the budget, computed once."""

import gc
import weakref

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.estimators import Components, CutLeakage, EdgeActivations, estimate_leakage, private_inputs
from collabplan.graph import candidate_cuts, trace
from collabplan.profilers.placement import on_device
from collabplan.records import CollabplanError, CutError
from collabplan.records.memory import MemoryBudget
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from fake_device import DEVICE, fake_device


@pytest.fixture
def data():
    return Data((torch.rand(37, 1, 8, 8, generator=torch.Generator().manual_seed(1)),), torch.zeros(37))


def test_every_cut_composes_to_the_model_through_rows(traced, data):
    expected = traced.module(data.inputs[0])
    activations = EdgeActivations(traced, batch_size=16)
    for cut in candidate_cuts(traced):
        if cut.searchable:
            parts = [activations.halves(cut).cloud(*t) for _, t in activations.batches(cut, data)]
            assert torch.allclose(torch.cat(parts), expected, atol=1e-6), cut.name


def test_one_pass_per_cut_and_content(traced, data):
    activations = EdgeActivations(traced)
    cut = candidate_cuts(traced)[1]
    first = activations.rows(cut, data)
    again = activations.rows(cut, Data((data.inputs[0].clone(),), data.labels))
    assert activations.figures.passes == 1
    assert all(a is b for a, b in zip(first, again, strict=True))
    activations.rows(cut, Data((data.inputs[0] + 1,)))
    assert activations.figures.passes == 2


def test_the_budget_is_never_passed_and_the_oldest_goes_first(traced, data):
    cuts = [cut for cut in candidate_cuts(traced) if cut.searchable]
    sizes = [EdgeActivations(traced).row_bytes(cut) * len(data) for cut in cuts]
    activations = EdgeActivations(traced, cache_bytes=max(sizes))
    for cut in cuts:
        activations.rows(cut, data)
        assert activations.figures.held_bytes <= max(sizes)
    passes = activations.figures.passes
    activations.rows(cuts[-1], data)
    assert activations.figures.passes == passes


def test_beyond_the_budget_batches_are_computed_again_with_the_same_result(traced, data):
    cut = candidate_cuts(traced)[1]
    held, streamed = EdgeActivations(traced, batch_size=8), EdgeActivations(traced, batch_size=8, cache_bytes=0)
    for _ in range(2):
        for (_, a), (_, b) in zip(held.batches(cut, data), streamed.batches(cut, data), strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert held.figures.passes == 1
    assert streamed.figures.passes == 2
    assert streamed.figures.held_bytes == 0


def test_data_that_do_not_fit_the_model_are_refused(traced):
    with pytest.raises(CollabplanError, match=r"float32.*float64"):
        EdgeActivations(traced).rows(candidate_cuts(traced)[1], Data((torch.rand(3, 1, 8, 8).double(),)))


def swept(activations, cuts, data):
    return {cut.id: rows for cut, rows in activations.sweep(cuts, data)}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_a_sweep_gives_the_rows_of_every_cut_bit_for_bit(traced, data, share):
    cuts = [cut for cut in candidate_cuts(traced) if cut.searchable]
    single = EdgeActivations(traced, batch_size=16)
    whole = sum(single.row_bytes(cut) for cut in cuts) * len(data)
    found = swept(EdgeActivations(traced, batch_size=16, cache_bytes=int(whole * share)), cuts[::-1], data)
    assert list(found) == [cut.id for cut in cuts]
    for cut in cuts:
        for row, expected in zip(found[cut.id], single.rows(cut, data), strict=True):
            assert row.dtype == expected.dtype
            assert torch.equal(row, expected), cut.name


def test_a_sweep_passes_over_the_data_once_for_all_cuts_that_fit(traced, data):
    cuts = [cut for cut in candidate_cuts(traced) if cut.searchable]
    sizes = [EdgeActivations(traced).row_bytes(cut) * len(data) for cut in cuts]
    assert len(cuts) > 4
    for budget, passes in ((sum(sizes), 1), (0, len(cuts))):
        activations = EdgeActivations(traced, cache_bytes=budget)
        swept(activations, cuts, data)
        assert activations.figures.passes == passes
        assert activations.figures.held_bytes == 0
    halved = EdgeActivations(traced, cache_bytes=max(sizes) * 2)
    swept(halved, cuts, data)
    assert 1 < halved.figures.passes < len(cuts)


def test_a_sweep_lets_go_of_what_it_yielded(traced, data):
    cuts = [cut for cut in candidate_cuts(traced) if cut.searchable and len(cut.crossing) == 1]
    alive: list[weakref.ref[torch.Tensor]] = []
    for _, rows in EdgeActivations(traced).sweep(cuts, data):
        gc.collect()
        assert all(reference() is None for reference in alive)
        alive.append(weakref.ref(rows[0]))
        del rows
    assert len(alive) > 1
    assert alive[-1]() is None


class Masked(torch.nn.Module):
    """A public mask without samples, time before batch, and an integer that crosses."""

    def forward(self, x, mask):
        h = torch.tanh(x).transpose(0, 1) * mask[:, None, None]
        values, positions = torch.relu(h).max(2)
        return values * 2 + positions


@pytest.mark.parametrize("batch", [1, 3])
def test_a_sweep_lays_back_tensors_of_any_layout_and_fills_up_fixed_batches(batch):
    traced = trace(
        Masked(), (torch.randn(batch, 4, 6), torch.ones(4)), public_inputs=["mask"], batch_dims={"mask": None}
    )
    data = Data((torch.randn(7, 4, 6), torch.tensor([1.0, 0.5, 2.0, 1.0]).expand(7, 4)))
    cuts = [cut for cut in candidate_cuts(traced) if cut.searchable]
    assert any(crossing.public and crossing.layout is None for cut in cuts for crossing in cut.crossing)
    found = swept(EdgeActivations(traced, batch_size=3), cuts, data)
    single = EdgeActivations(traced, batch_size=3)
    for cut in cuts:
        for row, expected in zip(found[cut.id], single.rows(cut, data), strict=True):
            assert torch.equal(row, expected), cut.name


def test_a_sweep_refuses_another_graphs_cuts_and_other_data(traced, data):
    other = trace(Masked(), (torch.randn(2, 4, 6), torch.ones(4)), batch_dims={"mask": None})
    with pytest.raises(CutError, match="another traced graph"):
        next(EdgeActivations(traced).sweep(candidate_cuts(other), data))
    with pytest.raises(CollabplanError, match="1 tensor inputs"):
        next(EdgeActivations(traced).sweep(candidate_cuts(traced), Data((*data.inputs, data.labels))))


def test_leakage_falls_from_the_raw_input_to_the_result(traced, data):
    pixels = torch.rand(200, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    data = Data((torch.nn.functional.interpolate(pixels, size=(8, 8), mode="bilinear"),))
    activations = EdgeActivations(traced)
    inputs = Components.of(private_inputs(data, traced.tensor_inputs, InputScaling.from_range(0, 1)))
    found = []
    for cut in candidate_cuts(traced):
        rows = activations.rows(cut, data)
        defense = Defense.for_cut(defense_record(), cut).calibrate(activations.to_graph(cut, rows))
        found.append(
            estimate_leakage(rows, inputs, defense, cut, generator=torch.Generator().manual_seed(0), result_at="cloud")
        )
    assert found[0].status == "by-definition"
    assert found[0].index.value == 1
    assert all(item.status == "estimated" for item in found[1:])
    assert found[1].index.value > 0.9


def test_on_a_device_that_takes_few_samples_rows_are_those_of_the_cpu(traced, monkeypatch):
    data = Data((torch.randn(20, 1, 8, 8),))
    alone = EdgeActivations(traced, batch_size=16)
    with fake_device(monkeypatch) as device:
        placed = on_device(traced, DEVICE)
        device.room = 5
        there = EdgeActivations(placed, batch_size=16, device=DEVICE)
        for cut, own in zip(candidate_cuts(placed, 1), candidate_cuts(traced, 1), strict=True):
            torch.testing.assert_close(there.rows(cut, data), alone.rows(own, data))
        swept = {cut.id: rows for cut, rows in there.sweep(candidate_cuts(placed, 1), data)}
    assert there.batch_size == 4
    assert device.refused == 2
    for own in candidate_cuts(traced, 1):
        torch.testing.assert_close(swept[own.id], alone.rows(own, data))


def test_spilled_rows_are_the_same_and_the_leakage_too(traced, data, tmp_path, monkeypatch):
    monkeypatch.setattr("collabplan.records.memory.SMALL", 1)
    cut = candidate_cuts(traced)[1]
    found = []
    for array_bytes in (0, 1 << 30):
        memory = MemoryBudget(array_bytes, tmp_path)
        activations = EdgeActivations(traced, cache_bytes=0, memory=memory, batch_size=8)
        rows = activations.rows(cut, data)
        assert (memory.spilled_bytes > 0) == (array_bytes == 0)
        ((_, swept_rows),) = activations.sweep([cut], data)
        defense = Defense(defense_record(dropout="channel", rate=0.5, bits=8), cut.crossing)
        defense = defense.calibrate(activations.to_graph(cut, rows))
        inputs = Components.of(private_inputs(data, traced, InputScaling.from_range(0, 1)))
        leakage = CutLeakage(rows, inputs, cut, memory=memory)
        found.append((rows[0], swept_rows[0], leakage.under(defense, generator=torch.Generator().manual_seed(0))))
    assert all(torch.equal(left, right) for left, right in zip(found[0][:2], found[1][:2], strict=True))
    assert found[0][2] == found[1][2]
