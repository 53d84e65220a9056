"""The cloud half learns to live with the defense; the device's half and the model itself stay as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.estimators import EdgeActivations
from collabplan.estimators.projection_fit import ProjectionFits
from collabplan.graph import candidate_cuts, split, trace, with_weights
from collabplan.planner import SearchOptions, evaluator, optimize
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.finetune import fine_tune
from collabplan.planner.linear_reader import LinearReader
from collabplan.planner.roles import Roles
from collabplan.profilers.placement import on_device
from collabplan.records import Budgets, CollabplanError, CutError, Tuning, hash_tensors
from collabplan.records.memory import MemoryBudget
from collabplan.targets import Data, InputScaling
from collabplan.workflows.options import TuningSettings
from collabplan.workflows.search_options import tuning_options
from defense_records import grid, point_at
from fake_device import DEVICE, fake_device
from torch import nn

OPTIONS = SearchOptions(defenses=grid(rates=(0.3, 0.6)), draws=2, leakage_samples=100)
TUNING = Tuning(epochs=15, rate=5e-3)
SCALING = InputScaling.from_range(0, 1)


def objectives(problem, tuning=None, folder=None):
    return Evaluator(problem, dataclasses.replace(OPTIONS, tuning=tuning), folder)


def early(problem):
    """The first proper cut that dropout acts on, under strong dropout."""
    space = objectives(problem).space
    return point_at(next(cut.id for cut in problem.cuts if space.kinds.get(cut.id)), "element", 0.6)


def tuned(problem, tuning, data=None, seed=0):
    found, point = objectives(problem), early(problem)
    generator = torch.Generator().manual_seed(seed)
    cut = found.cuts[point.cut_id]
    made = fine_tune(
        found.activations, cut, found.defense(point), data or problem.train, tuning, generator, scaling=SCALING
    )
    return None if made is None else made.weights


@pytest.mark.parametrize("loss", ["distillation", "cross-entropy"])
def test_tuning_wins_back_what_the_defense_cost(problem, loss):
    point = early(problem)
    before = objectives(problem).evaluate(point)
    after = objectives(problem, TUNING.model_copy(update={"loss": loss})).evaluate(point)
    assert (before.tuned, after.tuned) == (False, True)
    assert after.accuracy.drop.value < 0.75 * before.accuracy.drop.value
    assert after.leakage == before.leakage, "the device sends what it sent before"


def test_neither_the_device_nor_the_model_is_touched(problem):
    before = hash_tensors(dict(problem.traced.flat.named_parameters()))
    weights = tuned(problem, TUNING)
    assert hash_tensors(dict(problem.traced.flat.named_parameters())) == before
    halves = split(problem.traced, next(cut for cut in problem.cuts if cut.id == early(problem).cut_id))
    assert set(weights) == {name for name, _ in halves.cloud.named_parameters()}


def test_the_same_seed_gives_the_same_weights(problem):
    first, second, other = (tuned(problem, Tuning(epochs=1), seed=seed) for seed in (0, 0, 1))
    assert hash_tensors(first) == hash_tensors(second)
    assert hash_tensors(first) != hash_tensors(other)


def test_distillation_needs_no_labels_and_cross_entropy_does(problem):
    bare = Data(problem.train.inputs)
    assert tuned(problem, Tuning(epochs=1), bare) is not None
    with pytest.raises(CollabplanError, match="needs labels"):
        tuned(problem, Tuning(epochs=1, loss="cross-entropy"), bare)


def test_what_gains_nothing_is_thrown_away(problem):
    assert tuned(problem, Tuning(epochs=1, rate=3.0)) is None


def test_without_rows_that_fit_the_cache_the_same_is_learnt(problem):
    point, cut = early(problem), objectives(problem).cuts[early(problem).cut_id]
    found = []
    for cache in (4_000_000_000, 0):
        made = Evaluator(problem, dataclasses.replace(OPTIONS, memory=MemoryBudget(cache)))
        draws = torch.Generator().manual_seed(0)
        defense = objectives(problem).defense(point)
        found.append(
            fine_tune(made.activations, cut, defense, problem.train, Tuning(epochs=1), draws, scaling=SCALING).weights
        )
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-3, atol=1e-4)


def test_a_half_without_parameters_and_a_target_without_training_data_are_refused(problem):
    found = objectives(problem)
    whole = next(cut for cut in problem.cuts if cut.kind == "edge-only")
    with pytest.raises(CollabplanError, match="no parameters"):
        fine_tune(
            found.activations, whole, found.defense(point_at(whole.id)), problem.train, TUNING, torch.Generator(),
            scaling=SCALING,
        )  # fmt: skip
    with pytest.raises(CollabplanError, match="needs train_data"):
        objectives(dataclasses.replace(problem, train=None), TUNING)


@pytest.mark.parametrize("wire", [{"bits": 3, "rank": 2}, {"bits": 4, "share": 0.34}], ids=["whole", "share"])
def test_directions_are_trained_with_the_half_and_are_worth_more_then(problem, wire, tmp_path):
    point = point_at(early(problem).cut_id, **wire)
    options = dataclasses.replace(OPTIONS, defenses=grid(rates=(0.3, 0.6), wires=[{}, wire]))
    fitted = Evaluator(problem, options)
    learning = Evaluator(problem, dataclasses.replace(options, tuning=TUNING), tmp_path)
    before, after = fitted.projection(point), learning.projection(point)
    assert before.sha256 != after.sha256
    assert learning.defense(point).record.projection.matrices == after.sha256
    assert {name: each.shape for name, each in before.tensors.items()} == {
        name: each.shape for name, each in after.tensors.items()
    }
    (rows,) = learning.activations.rows(learning.cuts[point.cut_id], problem.train)
    codes = after.encoded(learning.cuts[point.cut_id].crossing[0], rows)
    sizes = codes.movedim(1, -1).flatten(0, -2).square().mean(0).sqrt()
    assert sizes.tolist() == pytest.approx([1.0] * len(sizes), abs=0.1)
    bound = learning.defense(point)
    assert learning.evaluate(point).accuracy.drop.value < 0.7 * fitted.evaluate(point).accuracy.drop.value
    again = Evaluator(problem, dataclasses.replace(options, tuning=TUNING), tmp_path)
    assert again.defense(point).record == bound.record, "kept, and not learnt again"


def test_directions_trained_against_a_linear_reader_tell_it_less(problem, tmp_path):
    point = point_at(early(problem).cut_id, rank=8)
    options = dataclasses.replace(OPTIONS, defenses=grid(rates=(0.3, 0.6), wires=[{}, {"rank": 8}]), draws=1)
    pixels = problem.train.inputs[0].flatten(1)
    reader, told, reached = LinearReader([(pixels,)]), {}, {}
    for penalty in (0.0, 3.0):
        tuning = TUNING.model_copy(update={"penalty": penalty})
        found = Evaluator(problem, dataclasses.replace(options, tuning=tuning), tmp_path)
        assert any("trained against a linear attacker" in note for note in found.notes) == (penalty > 0)
        cut = found.cuts[point.cut_id]
        (rows,) = found.activations.rows(cut, problem.train)
        told[penalty] = reader.share([(found.projection(point).encoded(cut.crossing[0], rows), (pixels,))])
        reached[penalty] = found.accuracy(point, "confirm").accuracy.value
        assert found.tuned(point) is not None
    assert told[3.0] < 0.75 * told[0.0]
    assert reached[3.0] > 0.9 * reached[0.0]


def test_what_costs_no_accuracy_is_trained_against_the_reader_all_the_same(problem, monkeypatch):
    asked = []
    monkeypatch.setattr("collabplan.planner.evaluator.fine_tune", lambda *_, **__: asked.append(1))
    monkeypatch.setattr("collabplan.planner.evaluator.WORTH_TUNING", 1.0)
    point = point_at(early(problem).cut_id, rank=8)
    options = dataclasses.replace(OPTIONS, defenses=grid(rates=(0.3, 0.6), wires=[{"rank": 8}]))
    for penalty, count in ((0.0, 0), (0.3, 1)):
        Evaluator(problem, dataclasses.replace(options, tuning=Tuning(penalty=penalty))).tuned(point)
        assert len(asked) == count


def test_a_penalty_without_directions_of_the_whole_or_without_epochs_is_refused():
    with pytest.raises(CollabplanError, match="none is searched; search projection:rank=64"):
        SearchOptions(tuning=Tuning(penalty=0.3), defenses=grid(wires=[{"share": 0.5}]))
    with pytest.raises(CollabplanError, match="give epochs, for example --finetune"):
        tuning_options(TuningSettings(finetune_penalty=0.3))


def test_projections_are_not_trained_to_hide_the_very_images_that_the_attacker_owns(problem):
    owned = Roles.divide(problem.search, problem.confirm, train=problem.train)
    shared = dataclasses.replace(problem, roles=lambda: owned)
    options = dataclasses.replace(OPTIONS, defenses=grid(rates=(0.3,), wires=[{"rank": 8}]), tuning=Tuning())
    assert any("may flatter them; define attacker_data" in note for note in Evaluator(shared, options).notes)
    assert not any("may flatter" in note for note in Evaluator(problem, options).notes)
    with pytest.raises(CollabplanError, match="define attacker_data in the target file"):
        Evaluator(shared, dataclasses.replace(options, tuning=Tuning(penalty=0.3)))


def test_without_a_penalty_what_identifies_a_search_is_what_it_was():
    assert "penalty" not in Tuning().marks()
    assert Tuning(penalty=0.3).marks()["penalty"] == 0.3


def test_weights_of_another_half_are_refused(problem):
    halves = split(problem.traced, next(cut for cut in problem.cuts if cut.kind == "proper"))
    weights = {name: value.clone() for name, value in halves.cloud.named_parameters()}
    weights.pop(next(iter(weights)))
    with pytest.raises(CutError, match="no weights of this cloud half"):
        with_weights(halves.cloud, weights)


def test_tuned_weights_are_kept_and_go_with_the_plan(problem, tmp_path, monkeypatch):
    asked = dataclasses.replace(problem, budgets=Budgets(max_accuracy_drop=0.6, max_edge_parameters=900))
    options = dataclasses.replace(OPTIONS, tuning=Tuning(epochs=2, rate=5e-3))
    told = []
    found = optimize(asked, options, tmp_path, lambda what, done: told.append((what, done)))
    assert any(candidate.tuned for candidate in found.front)
    shares = [done for what, done in told if what.startswith("fine-tuning at ") and what.endswith(": 100%")]
    assert shares
    assert shares == sorted(shares)
    assert shares[-1] > 0, "beside what was done of the whole search"

    def refuse(*_, **__):
        raise AssertionError("tuned again")

    monkeypatch.setattr("collabplan.planner.evaluator.fine_tune", refuse)
    again = optimize(asked, options, tmp_path)
    assert again.front == found.front
    assert found.plan.searched.tuned
    assert found.tuned_weights is not None
    assert found.plan.tuned_weights.sha256 == hash_tensors(found.tuned_weights)
    fresh = optimize(asked, options, tmp_path)
    assert fresh.plan.chosen == found.plan.chosen


class Halved(nn.Module):
    """Two layers in half precision or not, trainable or frozen."""

    def __init__(self, dtype, frozen):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem, self.head = nn.Linear(8, 24), nn.Linear(24, 5)
        self.to(dtype).requires_grad_(not frozen)

    def forward(self, x):
        return self.head(torch.relu(self.stem(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wire", [{"bits": 2}, {"bits": 3, "rank": 3}, {"bits": 2, "share": 0.5}], ids=str)
def test_a_frozen_model_is_tuned_like_a_trainable_one_in_its_own_dtype(dtype, wire):
    inputs = torch.rand(400, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = []
    for is_frozen in (False, True):
        traced = trace(Halved(dtype, is_frozen).eval(), (inputs[:2],))
        activations = EdgeActivations(traced)
        cut = next(cut for cut in candidate_cuts(traced) if cut.kind == "proper")
        record = point_at(cut.id, **wire).defense
        draws = torch.Generator().manual_seed(0)
        defense, _ = ProjectionFits.of(activations, Data((inputs,)), [record], seed=0).bound(record, cut)
        defense = defense.calibrate(activations.rows(cut, Data((inputs,))))
        found.append(fine_tune(activations, cut, defense, Data((inputs,)), TUNING, draws, scaling=SCALING))
    free, frozen = (made.weights for made in found)
    assert {value.dtype for value in frozen.values()} == {dtype}
    for name, value in free.items():
        torch.testing.assert_close(frozen[name], value, rtol=0.02, atol=0.02)


def test_whole_numbers_are_not_tuned_and_a_half_of_them_alone_is_refused():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(8, 8)
            self.weight = nn.Parameter(torch.randint(-9, 9, (5, 8), dtype=torch.int8), requires_grad=False)

        def forward(self, x):
            return nn.functional.linear(torch.relu(self.stem(x)), self.weight.float())

    inputs = torch.rand(60, 8)
    traced = trace(Packed().eval(), (inputs[:2],))
    cut = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"][-1]
    activations = EdgeActivations(traced)
    defense = Defense.for_cut(point_at(cut.id).defense, cut).calibrate(activations.rows(cut, Data((inputs,))))
    with pytest.raises(CollabplanError, match="no parameters that could be tuned: none, or whole numbers alone"):
        fine_tune(activations, cut, defense, Data((inputs,)), TUNING, torch.Generator(), scaling=SCALING)


def test_where_the_memory_runs_out_tuning_begins_again_with_half_the_batch(problem, monkeypatch):
    found, tried = objectives(problem, TUNING.model_copy(update={"epochs": 1})), []

    def full(activations, *arguments, **options):
        tried.append(activations.batch_size)
        if activations.batch_size > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fine_tune(activations, *arguments, **options)

    monkeypatch.setattr(evaluator, "fine_tune", full)
    candidate = found.evaluate(early(problem))
    assert tried == [64, 32, 16]
    assert candidate.accuracy.sample_count == len(problem.search)


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_on_a_device_the_weights_learnt_are_those_of_the_cpu(problem, monkeypatch, penalty):
    tuning = Tuning(epochs=2, rate=5e-3, samples=200, penalty=penalty)
    spec = ["projection:rank=8"] if penalty else ["dropout:element:0.6"]
    options = dataclasses.replace(OPTIONS, defenses=spec, tuning=tuning)

    def learnt(stated):
        found = Evaluator(
            dataclasses.replace(stated, roles=lambda: Roles.divide(stated.search, stated.confirm)), options
        )
        point = next(each for each in found.space.points if each.defense.may_draw or each.defense.projection)
        return found.tuned(point)

    alone = learnt(problem)
    with fake_device(monkeypatch) as device:
        placed = on_device(problem.traced, DEVICE)
        there = learnt(dataclasses.replace(problem, traced=placed, cuts=tuple(candidate_cuts(placed)), device=DEVICE))
    assert device.ran
    assert alone is not None
    for name, value in there.items():
        assert value.device.type == "cpu"
        torch.testing.assert_close(value, alone[name], atol=1e-4, rtol=1e-3)
