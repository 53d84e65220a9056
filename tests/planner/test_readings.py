"""Models that are no classifiers of many classes, planned: what a defense costs them is what it really costs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from collabplan.graph import candidate_cuts, split, trace
from collabplan.planner import Problem, SearchOptions, optimize
from collabplan.planner.evaluator import Evaluator
from collabplan.profilers import profile_model
from collabplan.records import Budgets, Link, MismatchError, TargetError, TargetIdentity, Tuning
from collabplan.targets import Data, InputScaling
from defense_records import grid, point_at
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

OPTIONS = SearchOptions(defenses=grid(["element"], [0.1, 0.9]), draws=4, leakage_samples=60)


def rows(seed, count):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def planned(loss, labels, last=None):
    """A small network that learnt `labels` of its inputs by `loss`, as a problem."""
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)]
        net, images = nn.Sequential(*layers), rows(0, 800)
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            loss(net(images), labels(images)).backward()
            optimizer.step()
    model = net if last is None else nn.Sequential(net, last)
    traced = trace(model.eval(), (images[:2],))
    target = TargetIdentity(spec="tests")
    profile = profile_model(traced, target=target, seconds=0.2)
    search, confirm = Data((rows(1, 600),), labels(rows(1, 600))).splits(0)
    return Problem(
        traced=traced,
        cuts=tuple(candidate_cuts(traced)),
        edge_profile=profile,
        cloud_profile=profile,
        link=Link(bandwidth_bps=20e6, rtt_ms=15.0),
        search=search,
        confirm=confirm,
        scaling=InputScaling.from_range(-4, 4),
        budgets=Budgets(max_accuracy_drop=0.05, max_edge_parameters=400),
        target=target,
        train=Data((images,), labels(images)),
    )


def positive(images):
    return (images[:, :4].sum(1, keepdim=True) > 0).float()


def summed(images):
    return images[:, :4].sum(1) + 5


@pytest.fixture(scope="module")
def one_logit():
    return planned(binary_cross_entropy_with_logits, positive)


def after_relu(problem):
    return next(cut for cut in problem.cuts if cut.kind == "proper" and cut.name.endswith("1"))


def dropped(problem, half, share=0.9, draws=40):
    """Outputs of the halves around `after_relu` under dropout as torch has it: `[draws, n]`."""
    halves = split(problem.traced, after_relu(problem))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        (crossed,) = halves.edge(half.inputs[0])
        return torch.stack([halves.cloud(nn.functional.dropout(crossed, share))[:, 0] for _ in range(draws)])


def test_what_dropout_costs_a_classifier_with_one_logit_is_measured(one_logit):
    found = Evaluator(one_logit, OPTIONS).accuracy(point_at(after_relu(one_logit).id, "element", 0.9), "search")
    right = one_logit.search.labels[:, 0] > 0
    undefended = ((one_logit.traced.flat(one_logit.search.inputs[0])[0][:, 0] > 0) == right).float().mean()
    defended = ((dropped(one_logit, one_logit.search) > 0) == right).float().mean()
    assert found.metric == "accuracy at logit 0"
    assert found.undefended == pytest.approx(float(undefended))
    assert found.undefended > 0.9
    assert found.accuracy.value == pytest.approx(float(defended), abs=0.03)
    assert found.drop.value > 0.15


def test_the_plan_of_a_classifier_with_one_logit_keeps_its_budget(one_logit, tmp_path):
    made = optimize(one_logit, OPTIONS, tmp_path)
    assert not [note for note in made.notes if "no better" in note]
    assert made.plan is None or made.plan.chosen.defense.rate < 0.9
    strong = [each for each in made.front if each.defense.rate == 0.9]
    assert all(each.accuracy.drop.value > 0.1 for each in strong)


def test_fine_tuning_wins_back_what_dropout_cost_a_classifier_with_one_logit(one_logit):
    point = point_at(after_relu(one_logit).id, "element", 0.9)
    before = Evaluator(one_logit, OPTIONS).accuracy(point, "confirm").accuracy.value
    for loss in ("distillation", "cross-entropy"):
        tuned = Evaluator(one_logit, dataclasses.replace(OPTIONS, tuning=Tuning(epochs=10, rate=5e-3, loss=loss)))
        assert tuned.accuracy(point, "confirm").accuracy.value > before + 0.02


def test_a_probability_is_measured_as_its_logit_is(one_logit):
    point = point_at(after_relu(one_logit).id, "element", 0.9)
    probability = planned(binary_cross_entropy_with_logits, positive, nn.Sigmoid())
    wanted = Evaluator(one_logit, OPTIONS).accuracy(point, "search")
    nested = next(cut for cut in probability.cuts if cut.name.endswith("0.1"))
    found = Evaluator(probability, OPTIONS).accuracy(point_at(nested.id, "element", 0.9), "search")
    assert found.metric == "accuracy at probability 0.5"
    assert found.undefended == wanted.undefended
    assert found.drop.value == pytest.approx(wanted.drop.value, abs=0.04)


def test_a_regression_is_measured_by_what_it_explains():
    problem = planned(lambda out, labels: mse_loss(out[:, 0], labels), summed)
    found = Evaluator(problem, OPTIONS).accuracy(point_at(after_relu(problem).id, "element", 0.1), "search")
    labels = torch.cat([problem.search.labels, problem.confirm.labels]).double()
    error = (dropped(problem, problem.search, 0.1) - problem.search.labels).double().square().mean()
    assert found.metric == "R2"
    assert found.undefended > 0.8
    assert found.accuracy.value == pytest.approx(1 - float(error / labels.var(correction=0)), abs=0.1)
    assert found.drop.low > 0


def test_a_model_that_answers_at_random_is_told(one_logit, tmp_path):
    shuffled = one_logit.search.labels[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    useless = dataclasses.replace(one_logit, search=Data(one_logit.search.inputs, shuffled))
    cheap = dataclasses.replace(OPTIONS, defenses=grid(["element"], [0.1]), trials=1, draws=1)
    notes = optimize(dataclasses.replace(useless, budgets=Budgets()), cheap, tmp_path).notes
    assert any("is no better than always answering" in note for note in notes)


def test_labels_that_fit_nothing_are_refused_before_the_search(one_logit, tmp_path):
    halves = {"search": one_logit.search, "confirm": one_logit.confirm}
    wrong = {name: Data(half.inputs, (half.labels * 7).long()) for name, half in halves.items()}
    with pytest.raises(TargetError, match="def evaluate"):
        optimize(dataclasses.replace(one_logit, **wrong), OPTIONS, tmp_path)


def test_a_study_of_another_metric_is_not_gone_on_with(one_logit, tmp_path):
    cheap = dataclasses.replace(OPTIONS, defenses=grid(["element"], [0.1]), trials=1, draws=1)
    study = optimize(dataclasses.replace(one_logit, budgets=Budgets()), cheap, tmp_path).study
    own = dataclasses.replace(one_logit, budgets=Budgets(), evaluate=lambda outputs, _labels: -outputs[:, 0].abs())
    with pytest.raises(MismatchError, match="metric"):
        optimize(own, dataclasses.replace(cheap, study=study), tmp_path)
