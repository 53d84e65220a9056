"""Task-aligned release: what the cloud half uses leaves the device, in fewer numbers, and the rest stays."""

import pytest
import torch
from collabplan.defenses import Defense, ProjectionMatrices
from collabplan.defenses.projection import LOADING, MOST_ELEMENTS, axis_of, can_narrow, code_of
from collabplan.defenses.quantizer import Quantizer
from collabplan.estimators import EdgeActivations, fit_projection
from collabplan.graph import candidate_cuts, trace
from collabplan.records import CollabplanError, CutError, Layout, MismatchError, ProjectionRecord
from collabplan.targets import Data
from defense_records import defense_record
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


def fitted(model, inputs, seed=0, whole=0):
    traced, cut = cut_of(model, inputs[:2])
    activations, generator = EdgeActivations(traced), torch.Generator().manual_seed(seed)
    return activations, cut, fit_projection(activations, cut, Data((inputs,)), generator, whole=whole)


def bound(cut, every, kept, **update):
    matrices = every.narrowed(kept_as(kept))
    record = defense_record(**named(kept), matrices=matrices.sha256, **update)
    return Defense(record, cut.crossing, matrices)


def named(kept):
    """A share as it is, whole numbers as a rank."""
    return {"rank": kept} if isinstance(kept, int) else {"share": kept}


def kept_as(kept):
    return ProjectionRecord(**named(kept))


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
    assert (codes == defense.tail.quantizers[0].quantize(torch.zeros(1))).double().mean() > 0.49
    assert [tuple(row.shape) for row in defense.observed([codes])] == [(300, 3, 6, 6)]
    assert defense.receive([codes])[0].shape == h.shape
    assert defense.changes
    assert not bound(cut, every, 0.25, bits=None).randomizes


def test_the_same_seed_gives_the_same_matrices_and_they_come_back_from_tensors(planes):
    first, again, other = (fitted(*planes, seed=seed)[2].narrowed(kept_as(0.5)) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    assert ProjectionMatrices.from_tensors(dict(first.tensors)).sha256 == first.sha256


def test_other_or_missing_matrices_are_refused(planes, generator):
    activations, cut, every = fitted(*planes)
    half = every.narrowed(kept_as(0.5))
    spec = defense_record(share=0.5, matrices=half.sha256)
    assert Defense.bound(spec, cut.crossing, half).matrices is half
    with pytest.raises(MismatchError, match="not the projection"):
        Defense.bound(spec, cut.crossing, every.narrowed(kept_as(0.25)))
    with pytest.raises(MismatchError, match="not the projection"):
        Defense.bound(spec, cut.crossing, None)
    (h,) = activations.halves(cut).edge(planes[1])
    bare = Defense(spec, cut.crossing)
    assert bare.payload_bytes() == 6 * 36
    with pytest.raises(CollabplanError, match="needs its matrices"):
        bare.release([h], generator)
    with pytest.raises(MismatchError, match="of other tensors"):
        Defense.bound(defense_record(share=0.25, matrices=half.sha256), cut.crossing, half)
    broken = {name: value for name, value in half.tensors.items() if not name.endswith("decode")}
    with pytest.raises(CollabplanError, match="do not fit together"):
        ProjectionMatrices.from_tensors(broken)
    with pytest.raises(CollabplanError, match="no matrix"):
        ProjectionMatrices.from_tensors({"relu": torch.ones(2)})


def test_where_no_gradient_crosses_nothing_is_guessed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, inputs = Vectors(dead=True), torch.randn(40, 7)
    traced = trace(model.eval(), (inputs[:2],))
    tanh = next(cut for cut in candidate_cuts(traced) if any("tanh" in c.name for c in cut.crossing))
    with pytest.raises(CutError, match="no gradient crosses"):
        fit_projection(EdgeActivations(traced), tanh, Data((inputs,)), torch.Generator())


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
    assert (axis_of(made), code_of(made, kept_as(0.25)).sample_shape) == (axis, code)
    assert code_of(made, kept_as(0.01)).sample_shape[axis] == 1


def test_raw_public_integer_and_undivided_tensors_stay_whole(crossing):
    h = torch.zeros(2, 8, 3, 3)
    for kept in (
        crossing(h, public=True), crossing(h, raw_input=True), crossing(h.long()), crossing(torch.zeros(2, 1)),
        crossing(h).model_copy(update={"layout": None}),
    ):  # fmt: skip
        for share in (0.25, 2):
            assert not can_narrow(kept, kept_as(share))
            assert code_of(kept, kept_as(share)) == kept


@pytest.mark.parametrize(
    ("shape", "code"), [((8, 5, 5), (3,)), ((10, 8), (3,)), ((8,), (3,)), ((8, 1, 1), (3, 1, 1)), ((3,), (3,))]
)
def test_directions_of_the_whole_take_the_place_of_the_tensor(crossing, shape, code):
    made = crossing(torch.zeros(2, *shape)).model_copy(update={"layout": Layout(batch_dim=len(shape))})
    found = code_of(made, kept_as(3))
    assert found.sample_shape == code
    assert found.layout == (made.layout if len(code) == len(shape) else Layout())
    wide = made.model_copy(update={"sample_shape": (MOST_ELEMENTS + 1, 2)})
    assert code_of(wide, kept_as(3)) == wide


class Pooled(nn.Module):
    """A head that reads the mean of every channel: 12 directions of the 432 numbers of a map."""

    def __init__(self):
        super().__init__()
        self.edge, self.read = nn.Conv2d(2, CHANNELS, 3, padding=1), nn.Linear(CHANNELS, 5, bias=False)

    def forward(self, x):
        return self.read(torch.tanh(self.edge(x)).mean((2, 3)))


@pytest.mark.parametrize("samples", [200, 900], ids=["fewer samples than numbers", "more samples than numbers"])
def test_directions_of_the_whole_are_those_that_the_cloud_half_reads(samples, generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, inputs = Pooled(), torch.rand(samples, 2, 6, 6, generator=generator)
    activations, cut, every = fitted(model, inputs, whole=8)
    halves = activations.halves(cut)
    (h,) = halves.edge(inputs)
    whole, errors = model(inputs), []
    for kept in (5, 4):
        defense = bound(cut, every, kept, bits=None)
        (codes,) = defense.release([h], generator)
        assert codes.shape == (samples, kept)
        assert codes.mean(0).abs().max() < 1e-3
        assert (codes.var(0, unbiased=False) - 1).abs().max() < 1e-3
        errors.append(float((halves.cloud(*defense.receive([codes])) - whole).square().mean() / whole.var()))
    assert errors[0] < 1e-8
    assert errors[1] > 1e-4


def test_codes_of_the_whole_are_few_bits_within_what_a_number_of_variance_1_needs(planes, generator):
    model, inputs = planes
    activations, cut, every = fitted(model, inputs, whole=9)
    (h,) = activations.halves(cut).edge(inputs)
    defense = bound(cut, every, 9, bits=2).calibrate([h])
    assert defense.payload_bytes() == 3
    (found,) = defense.record.ranges
    assert (found.low, found.high) == (-LOADING[2], LOADING[2])
    (codes,) = defense.release([h], generator)
    assert set(codes.unique().tolist()) == {0, 1, 2, 3}
    assert defense.receive([codes])[0].shape == h.shape
    assert [tuple(row.shape) for row in defense.observed([codes])] == [(300, 9)]
    unbounded = bound(cut, every, 9, bits=16).calibrate([h]).record.ranges[0]
    assert unbounded.high == float(bound(cut, every, 9, bits=None).release([h], generator)[0].max())


def test_the_ends_of_the_quantizer_are_where_a_gaussian_number_loses_least(generator):
    drawn = torch.randn(100_000, generator=generator, dtype=torch.float64)

    def lost(end, bits):
        quantizer = Quantizer.from_range(-end, end, bits)
        return float((quantizer.dequantize(quantizer.quantize(drawn), torch.float64) - drawn).square().mean())

    for bits in LOADING:
        best = lost(LOADING[bits], bits)
        assert best < min(lost(LOADING[bits] * 0.9, bits), lost(LOADING[bits] * 1.1, bits))


def test_the_leading_directions_are_the_same_however_many_are_asked_for(planes):
    few, many = (fitted(*planes, whole=count)[2].narrowed(kept_as(5)) for count in (5, 200))
    assert few.sha256 == many.sha256
    with pytest.raises(CollabplanError, match="keep fewer"):
        fitted(planes[0], planes[1][:40], whole=100)[2].narrowed(kept_as(100))
