"""Task-aligned release: what the cloud half uses leaves the device, in fewer numbers, and the rest stays."""

import pytest
import torch
from collabplan.estimators import Data, Defense, Directions, EdgeActivations, fit_directions
from collabplan.estimators.directions import axis_of, can_narrow, code_of
from collabplan.graph import candidate_cuts, trace
from collabplan.records import CollabplanError, CutError, DefenseSpec, Layout, MismatchError
from torch import nn

CHANNELS, USED = 12, 3


class Planes(nn.Module):
    """A map of 12 channels, of which a head reads 3 directions at every position."""

    def __init__(self):
        super().__init__()
        self.edge = nn.Conv2d(2, CHANNELS, 3, padding=1)
        self.read = nn.Conv2d(CHANNELS, USED, 1, bias=False)

    def forward(self, x):
        return self.read(torch.relu(self.edge(x))).flatten(2)


class Vectors(nn.Module):
    """A vector that a wide linear head reads; `dead` reads nothing at all."""

    def __init__(self, dead=False):
        super().__init__()
        self.edge, self.read, self.dead = nn.Linear(7, CHANNELS), nn.Linear(CHANNELS, 9, bias=False), dead

    def forward(self, x):
        h = torch.tanh(self.edge(x))
        return (h > 0).float() if self.dead else self.read(h)


def cut_of(model, example):
    """The traced model's cut between `edge`'s activation and `read`."""
    traced = trace(model.eval(), (example,))
    return traced, [cut for cut in candidate_cuts(traced) if cut.kind == "proper" and len(cut.crossing) == 1][-1]


def fitted(model, inputs, seed=0):
    traced, cut = cut_of(model, inputs[:2])
    activations = EdgeActivations(traced)
    return activations, cut, fit_directions(activations, cut, Data((inputs,)), torch.Generator().manual_seed(seed))


def bound(cut, every, kept, **update):
    directions = every.narrowed(kept)
    return Defense(DefenseSpec(kept=kept, directions=directions.sha256, **update), cut.crossing, directions)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def planes(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Planes(), torch.rand(300, 2, 6, 6, generator=generator)


@pytest.fixture
def vectors(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Vectors(), torch.randn(900, 7, generator=generator)


def test_the_directions_that_the_cloud_half_reads_are_all_it_needs(planes, generator):
    model, inputs = planes
    activations, cut, every = fitted(model, inputs)
    halves = activations.halves(cut)
    (h,) = halves.edge(inputs)
    whole, errors = model(inputs), []
    for kept in (USED / CHANNELS, (USED - 1) / CHANNELS):
        back = bound(cut, every, kept, bits=None).simulate([h], generator)
        errors.append(float((halves.cloud(*back) - whole).square().mean() / whole.var()))
    assert errors[0] < 1e-8
    assert errors[1] > 1e-3


def test_no_other_directions_lose_less_of_a_linear_head(vectors, generator):
    model, inputs = vectors
    activations, cut, every = fitted(model, inputs)
    halves = activations.halves(cut)
    (h,) = halves.edge(inputs)
    centred = (h - h.mean(0)).double()
    outputs = centred @ model.read.weight.double().T
    for count in (2, 4, 6):
        back = bound(cut, every, count / CHANNELS, bits=None).simulate([h], generator)
        lost = (halves.cloud(*back) - model(inputs)).double().square().sum(1).mean()
        least = torch.linalg.svdvals(outputs)[count:].square().sum() / len(h)
        assert float(lost) == pytest.approx(float(least), rel=0.05, abs=1e-9)


def test_codes_have_mean_0_and_variance_1_and_all_of_them_are_an_invertible_code(planes, generator):
    activations, cut, every = fitted(*planes)
    (h,) = activations.halves(cut).edge(planes[1])
    defense = bound(cut, every, 0.999, bits=None)
    (codes,) = defense.release([h], generator)
    flat = codes.movedim(1, -1).flatten(0, -2)
    assert flat.mean(0).abs().max() < 1e-3
    variance = flat.var(0)
    dead = (h.amax((0, 2, 3)) == h.amin((0, 2, 3))).sum()
    assert (variance < 1e-9).sum() == dead == 1, "one of the channels never fires, and takes no room"
    assert (variance[variance > 1e-9] - 1).abs().max() < 1e-3
    assert torch.allclose(defense.receive([codes])[0], h, atol=1e-3)


def test_fewer_directions_are_fewer_bytes_and_every_part_of_the_defense_acts_on_codes(planes, generator):
    activations, cut, every = fitted(*planes)
    (h,) = activations.halves(cut).edge(planes[1])
    defense = bound(cut, every, 0.25, dropout="element", rate=0.5, bits=4).calibrate([h])
    (codes,) = defense.release([h], generator)
    assert codes.shape == (300, 3, 6, 6)
    assert defense.payload_bytes() == 3 * 36 // 2
    assert (codes == defense.quantizers[0].quantize(torch.zeros(1))).double().mean() > 0.49
    assert [tuple(row.shape) for row in defense.observed([codes])] == [(300, 3, 6, 6)]
    assert defense.receive([codes])[0].shape == h.shape
    assert defense.changes
    assert not bound(cut, every, 0.25, bits=None).randomizes


def test_the_same_seed_gives_the_same_matrices_and_they_come_back_from_tensors(planes):
    first, again, other = (fitted(*planes, seed=seed)[2].narrowed(0.5) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    assert Directions.from_tensors(dict(first.tensors)).sha256 == first.sha256


def test_other_or_missing_matrices_are_refused(planes, generator):
    activations, cut, every = fitted(*planes)
    half = every.narrowed(0.5)
    spec = DefenseSpec(kept=0.5, directions=half.sha256)
    assert Defense.bound(spec, cut.crossing, half).directions is half
    with pytest.raises(MismatchError, match="not the directions"):
        Defense.bound(spec, cut.crossing, every.narrowed(0.25))
    with pytest.raises(MismatchError, match="not the directions"):
        Defense.bound(spec, cut.crossing, None)
    (h,) = activations.halves(cut).edge(planes[1])
    bare = Defense(spec, cut.crossing)
    assert bare.payload_bytes() == 6 * 36
    with pytest.raises(CollabplanError, match="needs their matrices"):
        bare.release([h], generator)
    with pytest.raises(MismatchError, match="of other tensors"):
        Defense.bound(spec.model_copy(update={"kept": 0.25}), cut.crossing, half)
    broken = {name: value for name, value in half.tensors.items() if not name.endswith("decode")}
    with pytest.raises(CollabplanError, match="do not fit together"):
        Directions.from_tensors(broken)
    with pytest.raises(CollabplanError, match="no matrix"):
        Directions.from_tensors({"relu": torch.ones(2)})


def test_where_no_gradient_crosses_nothing_is_guessed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, inputs = Vectors(dead=True), torch.randn(40, 7)
    traced = trace(model.eval(), (inputs[:2],))
    tanh = next(cut for cut in candidate_cuts(traced) if any("tanh" in c.name for c in cut.crossing))
    with pytest.raises(CutError, match="no gradient crosses"):
        fit_directions(EdgeActivations(traced), tanh, Data((inputs,)), torch.Generator())


@pytest.mark.parametrize(
    ("shape", "layout", "axis", "code"),
    [
        ((8, 5, 5), Layout(), 0, (2, 5, 5)),
        ((8,), Layout(), 0, (2,)),
        ((10, 8), Layout(), 1, (10, 2)),
        ((4, 10, 8), Layout(groups=4), 2, (4, 10, 2)),
    ],
)
def test_channels_are_found_in_maps_vectors_and_tokens(crossing, shape, layout, axis, code):
    made = crossing(torch.zeros(2, *shape)).model_copy(update={"layout": layout})
    assert (axis_of(made), code_of(made, 0.25).sample_shape) == (axis, code)
    assert code_of(made, 0.01).sample_shape[axis] == 1


def test_raw_public_integer_and_undivided_tensors_stay_whole(crossing):
    h = torch.zeros(2, 8, 3, 3)
    for kept in (
        crossing(h, public=True), crossing(h, raw_input=True), crossing(h.long()), crossing(torch.zeros(2, 1)),
        crossing(h).model_copy(update={"layout": None}),
    ):  # fmt: skip
        assert not can_narrow(kept)
        assert code_of(kept, 0.25) == kept
