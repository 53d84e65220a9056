"""Fisher information leakage against explicit Jacobians and closed forms."""

import math

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.estimators import EdgeActivations, Sensitivity, fisher_leakage
from collabplan.graph import candidate_cuts, trace
from collabplan.records import CollabplanError
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from torch import nn

UNIT = InputScaling.from_range(0, 1)
NOISE = defense_record(noise="gaussian", noise_std=0.1, bits=None)


def images(count=24):
    return Data((torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(2)),))


def defended(activations, cut, data, spec=NOISE):
    return Defense.for_cut(spec, cut).calibrate(activations.to_graph(cut, activations.rows(cut, data)))


def measured(traced, cut, data, scaling=UNIT, spec=NOISE, **options):
    activations = EdgeActivations(traced, batch_size=7)
    defense = defended(activations, cut, data, spec)
    generator = torch.Generator().manual_seed(0)
    return fisher_leakage(activations, cut, defense, data, scaling, generator=generator, **options), defense


def jacobian_trace(function, inputs, stds):
    """tr(J^T J / s^2) averaged over samples, by explicit Jacobians."""
    total = 0.0
    for x in inputs:
        for part, std in zip(torch.func.jacrev(function)(x[None]), stds, strict=True):
            total += float(part.detach().double().square().sum()) / std**2
    return total / len(inputs)


def proper(traced, crossings):
    return [c for c in candidate_cuts(traced) if c.kind == "proper" and len(c.crossing) == crossings]


@pytest.mark.parametrize("crossings", [1, 2])
def test_it_is_the_trace_of_the_explicit_jacobian(traced, crossings):
    data, scaling = images(), InputScaling.from_range(-1, 2)
    cut = proper(traced, crossings)[-1]
    edge = EdgeActivations(traced).halves(cut).edge
    found, defense = measured(traced, cut, data, scaling, probes=60)
    expected = jacobian_trace(edge, data.inputs[0], defense.floor.stds) * 9 / 64  # the range spans 3 in each number
    assert found.value == pytest.approx(expected, rel=0.03)
    assert found.low < expected < found.high


def test_a_linear_map_has_its_exact_trace():
    layer = nn.Linear(6, 40)
    traced = trace(layer, torch.rand(2, 6))
    data = Data((torch.rand(30, 6),))
    cut = candidate_cuts(traced)[-1]
    spec = defense_record(noise="laplace", noise_std=0.2)
    activations = EdgeActivations(traced)
    defense = Defense(spec, cut.crossing).calibrate(activations.rows(cut, data))
    low, high = [0.0, -1, -2, 0, 0, 0], [1.0, 1, 1, 2, 3, 0.5]
    scaling = InputScaling(tuple(low), tuple(high))
    sensitivity = Sensitivity.of(
        activations, cut, data, scaling, generator=torch.Generator().manual_seed(1), probes=400
    )
    spans = torch.tensor(high) - torch.tensor(low)
    exact = float((layer.weight.detach() * spans).square().sum())
    assert float(sensitivity.traces[0].mean()) == pytest.approx(exact, rel=0.01)
    std = defense.noise(cut.crossing[0]).std / math.sqrt(2)
    assert sensitivity.leakage(defense).value == pytest.approx(exact / std**2 / 6, rel=0.01)


def test_the_interval_covers_the_mean_over_draws_and_samples(traced):
    cut = proper(traced, 1)[0]
    data = images(400)
    activations = EdgeActivations(traced)
    defense = defended(activations, cut, data)
    generator = torch.Generator().manual_seed(0)
    whole = fisher_leakage(activations, cut, defense, data, UNIT, generator=generator, samples=400, probes=8)
    covered = 0
    for start in range(0, 400, 20):
        part = data.take(range(start, start + 20))
        found = fisher_leakage(activations, cut, defense, part, UNIT, generator=generator)
        covered += found.low <= whole.value <= found.high
    assert covered >= 16


@pytest.mark.parametrize("dropout", ["element", "channel"])
def test_dropout_keeps_its_share_as_explicit_masks_do(traced, dropout):
    cut = proper(traced, 1)[0]
    data = images(12)
    spec = defense_record(dropout=dropout, rate=0.6, noise="gaussian", noise_std=0.1, bits=None)
    activations = EdgeActivations(traced)
    defense = defended(activations, cut, data, spec)
    sensitivity = Sensitivity.of(activations, cut, data, UNIT, generator=torch.Generator().manual_seed(0), probes=60)
    assert sensitivity.leakage(defense).value == pytest.approx(
        0.4 * sensitivity.leakage(defended(activations, cut, data)).value
    )
    edge, generator = activations.halves(cut).edge, torch.Generator().manual_seed(0)
    undropped = Defense(spec.without("noise"), cut.crossing).calibrate(edge(*data.inputs))

    def masked(seed):
        return lambda x: undropped.release(edge(x), torch.Generator().manual_seed(seed))

    draws = [jacobian_trace(masked(seed), data.inputs[0][:3], defense.floor.stds) / 64 for seed in range(60)]
    first = Sensitivity.of(activations, cut, data.take(range(3)), UNIT, generator=generator, probes=300)
    assert sum(draws) / 60 == pytest.approx(first.leakage(defense).value, rel=0.1)


def test_it_falls_with_the_noise_and_names_no_floor_real_that_is_not(traced):
    cut = proper(traced, 1)[0]
    values = [
        measured(traced, cut, images(), spec=defense_record(noise="gaussian", noise_std=s))[0] for s in (0.1, 0.2)
    ]
    assert values[0].value == pytest.approx(4 * values[1].value, rel=1e-6)
    assert measured(traced, cut, images(), spec=defense_record())[0].value > values[0].value


def test_a_fixed_batch_counts_each_sample_once():
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.tanh(x.reshape(3, 4) * 2)

    traced = trace(Fixed(), torch.rand(3, 4))
    assert not traced.dynamic_batch
    cut = candidate_cuts(traced)[-1]
    data = Data((torch.rand(7, 4),))
    found = Sensitivity.of(EdgeActivations(traced), cut, data, UNIT, generator=torch.Generator().manual_seed(0))
    expected = (2 * (1 - torch.tanh(2 * data.inputs[0]).square())).square().sum(1)
    assert torch.allclose(found.traces[0], expected.double(), rtol=1e-5)


class Rounded(nn.Module):
    def forward(self, x):
        h = torch.tanh(x)
        values, positions = torch.relu(h * 3).max(1)
        return values, positions * 2, (h * 4).long().float() * 2


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 3)

    def forward(self, ids):
        return torch.tanh(self.embed(ids))


def test_what_has_no_derivative_is_refused_and_token_ids_have_none():
    traced = trace(Rounded(), torch.rand(2, 5))
    data, activations = Data((torch.rand(8, 5),)), EdgeActivations(traced)
    cuts = candidate_cuts(traced)
    generator = torch.Generator().manual_seed(0)
    integers = next(cut for cut in cuts if not all(crossing.is_floating for crossing in cut.crossing))
    with pytest.raises(CollabplanError, match="int64 and has no derivative"):
        Sensitivity.of(activations, integers, data, UNIT, generator=generator)
    stuck = trace(nn.Sequential(nn.Linear(5, 4), _ToInteger()), torch.rand(2, 5))
    with pytest.raises(CollabplanError, match=r"end at aten\.to.* dFIL is not computable here"):
        Sensitivity.of(EdgeActivations(stuck), candidate_cuts(stuck)[-1], data, UNIT, generator=generator)
    with pytest.raises(CollabplanError, match="at least 2 samples"):
        Sensitivity.of(activations, cuts[0], data.take([0]), UNIT, generator=generator)
    tokens = trace(Tokens(), torch.zeros(2, 4, dtype=torch.int64))
    ids = Data((torch.zeros(8, 4, dtype=torch.int64),))
    cut = candidate_cuts(tokens)[-1]
    assert Sensitivity.of(EdgeActivations(tokens), cut, ids, UNIT, generator=generator) is None


@pytest.mark.parametrize("kind", ["straight-through", "custom backward", "codebook", "steep"])
def test_where_gradients_mislead_there_is_no_figure_though_they_are_finite(kind):
    torch.manual_seed(0)
    traced = trace(nn.Sequential(nn.Linear(5, 6), Step(kind), nn.Linear(6, 4)), torch.rand(2, 5))
    data, activations = Data((torch.rand(40, 5),)), EdgeActivations(traced)
    first, *_, last = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"]
    with pytest.raises(CollabplanError, match="dFIL is not computable here; that is no privacy"):
        Sensitivity.of(activations, last, data, UNIT, generator=torch.Generator().manual_seed(0))
    before = Sensitivity.of(activations, first, data, UNIT, generator=torch.Generator().manual_seed(0), probes=200)
    exact = float(traced.flat.get_parameter("0.weight").detach().square().sum())
    assert float(before.traces[0].mean()) == pytest.approx(exact, rel=0.05)  # ahead of the step nothing is lost


class Step(nn.Module):
    """Ways to quantize whose own backward is a surrogate."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.codes = kind, nn.Parameter(torch.randn(16, 6) / 2)

    def forward(self, x):
        if self.kind == "straight-through":
            return x + ((x * 8).round() / 8 - x).detach()
        if self.kind == "custom backward":
            return Sign.apply(x)
        if self.kind == "codebook":
            return x + (self.codes[torch.cdist(x, self.codes).argmin(-1)] - x).detach()
        return torch.sigmoid(3000 * x)


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.sign()

    @staticmethod
    def backward(_, gradient):
        return gradient


class _ToInteger(nn.Module):
    def forward(self, x):
        return (x * 4).long().float() * 2
