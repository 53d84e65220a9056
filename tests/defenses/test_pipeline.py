"""What leaves the device, what the cloud half makes of it, and what is known about it exactly."""

import math

import pytest
import torch
from collabplan.defenses import Defense, Fresh, Keyed, Quantizer, Simulated
from collabplan.records import CollabplanError, CutError, Layout
from defense_records import defense_record
from hypothesis import given
from hypothesis import strategies as some


@given(low=some.floats(-1e4, 1e4), width=some.floats(0, 1e4), bits=some.integers(2, 16))
def test_the_quantizer_holds_zero_and_covers_the_range(low, width, bits):
    high = low + width
    quantizer = Quantizer.from_range(low, high, bits)
    values = torch.linspace(low, high, 33, dtype=torch.float64)
    back = quantizer.dequantize(quantizer.quantize(values), torch.float64)
    assert quantizer.dequantize(quantizer.quantize(torch.zeros(1)), torch.float32).item() == 0.0
    assert (back - values).abs().max() <= quantizer.step * (0.5 + 1e-6)


def test_one_bit_keeps_the_side_that_reaches_further():
    quantizer = Quantizer.from_range(-1.0, 3.0, 1)
    values = quantizer.dequantize(quantizer.quantize(torch.tensor([-1.0, 0.0, 1.4, 3.0])), torch.float32)
    assert values.tolist() == [0, 0, 0, 3]
    assert Quantizer.from_range(-3.0, 1.0, 1).quantize(torch.tensor([-3.0, 0.0])).tolist() == [0, 1]


def test_values_out_of_range_are_clipped():
    quantizer = Quantizer.from_range(0.0, 1.0, 8)
    assert quantizer.quantize(torch.tensor([-5.0, 9.0])).tolist() == [0, 255]


@pytest.mark.parametrize("dropout", ["element", "channel"])
def test_released_unscaled_and_rescaled_in_the_cloud(defend, generator, dropout):
    h = torch.rand(200, 16, 4, 4) + 0.5
    defense = defend(h, dropout=dropout, rate=0.6, bits=None)
    released = defense.release([h], generator)
    kept = released[0] != 0
    assert torch.equal(released[0][kept], h[kept])
    assert kept.double().mean() == pytest.approx(0.4, abs=0.03)
    assert torch.allclose(defense.receive(released)[0], released[0] / 0.4)


def test_channels_fall_whole_and_independently_per_sample(defend, generator):
    h = torch.ones(50, 8, 3, 3)
    (released,) = defend(h, dropout="channel", rate=0.5, bits=None).release([h], generator)
    channels = released.flatten(2)
    assert torch.equal(channels.amin(2), channels.amax(2))
    assert len({tuple(row.tolist()) for row in channels[:, :, 0]}) > 30


def test_a_dropped_element_is_exactly_zero_after_the_quantizer(defend, generator):
    h = torch.randn(100, 30) - 0.3
    defense = defend(h, dropout="element", rate=0.5)
    (seen,) = defense.observed(defense.release([h], generator))
    assert (seen == 0).double().mean() > 0.49


def test_masks_are_fresh_and_follow_the_generator(defend):
    h = torch.ones(4, 40)
    defense = defend(h, dropout="element", rate=0.5)
    seeded = [torch.Generator().manual_seed(3) for _ in range(2)]
    first, again = (defense.release([h], source)[0] for source in seeded)
    assert torch.equal(first, again)
    assert not torch.equal(first, defense.release([h], seeded[0])[0])


def test_without_dropout_and_quantizer_nothing_changes(defend, generator):
    h = torch.randn(5, 3, 2)
    assert torch.equal(defend(h, bits=None).simulate([h], generator)[0], h)


def test_public_and_integer_tensors_pass_raw_ones_are_never_dropped(crossing, generator):
    tensors = [torch.randn(9, 4), torch.arange(36).reshape(9, 4), torch.rand(9, 4) + 1]
    crossed = (
        crossing(tensors[0], "mask", public=True),
        crossing(tensors[1], "ids"),
        crossing(tensors[2], "image", raw_input=True),
    )
    defense = Defense(defense_record(dropout="element", rate=0.9), crossed).calibrate(tensors)
    public, integers, raw = defense.simulate(tensors, generator)
    assert torch.equal(public, tensors[0])
    assert torch.equal(integers, tensors[1])
    assert (raw > 0.9).all()
    assert len(defense.observed(defense.release(tensors, generator))) == 2


def test_the_graph_layout_is_kept_and_masks_go_by_sample(crossing, generator):
    groups_minor = Layout(batch_dim=1, groups=2, batch_major=False)
    h = torch.ones(5, 12, 3)
    crossed = crossing(h).model_copy(update={"layout": groups_minor, "sample_shape": (2, 5, 3)})
    defense = Defense(defense_record(dropout="channel", rate=0.5), (crossed,)).calibrate([h])
    (received,) = defense.simulate([h], generator)
    assert received.shape == h.shape
    groups = received.permute(1, 0, 2).reshape(2, 6, 15)
    assert torch.equal(groups.amin(2), groups.amax(2))


def test_payload_is_packed_codes_and_does_not_shrink_with_dropout(defend):
    h = torch.randn(3, 5, 7)
    assert defend(h).payload_bytes() == 35
    assert defend(h, bits=4, dropout="element", rate=0.9).payload_bytes() == 18
    assert defend(h, bits=None).payload_bytes() == 140


def test_what_cannot_be_defended_is_refused(crossing, defend, generator):
    h = torch.randn(3, 5)
    with pytest.raises(CutError, match="divided into samples"):
        Defense(defense_record(), (crossing(h).model_copy(update={"layout": None}),))
    with pytest.raises(CollabplanError, match="no range"):
        Defense(defense_record(), (crossing(h),)).release([h], generator)
    with pytest.raises(CollabplanError, match="NaN"):
        defend(h * float("nan"))
    with pytest.raises(CollabplanError, match="expected 1 tensors"):
        defend(h).release([h, h], generator)


@given(value=some.floats(-2, 2), bits=some.integers(2, 12))
def test_stochastic_rounding_keeps_the_mean_and_takes_neighbours(value, bits):
    quantizer = Quantizer.from_range(-2.0, 2.0, bits)
    uniform = (torch.arange(4096) + 0.5) / 4096
    values = torch.full((4096,), value)
    codes = quantizer.quantize(values, uniform)
    back = quantizer.dequantize(codes, torch.float64)
    assert int(codes.max()) - int(codes.min()) <= 1
    assert float(back.mean()) == pytest.approx(float(values[0]), abs=quantizer.step * 2e-4)


def test_grid_points_are_never_rounded_away():
    quantizer = Quantizer.from_range(0.0, 255.0, 8)
    points = torch.arange(256.0)
    for uniform in (torch.zeros(256), torch.full((256,), 1 - 2**-24)):
        assert torch.equal(quantizer.quantize(points, uniform).float(), points)


NOISES = {"gaussian": torch.distributions.Normal, "laplace": torch.distributions.Laplace}


@pytest.mark.parametrize("kind", NOISES)
def test_noise_has_its_size_and_law_on_every_element_after_dropout(defend, generator, kind):
    h = torch.rand(400, 200) * 3 - 1
    h[0, 0], h[0, 1] = -1.0, 2.0
    defense = defend(h, dropout="element", rate=0.5, noise=kind, noise_std=0.1, bits=None)
    (released,) = defense.release([h], generator)
    (masked,) = defend(h, dropout="element", rate=0.5, bits=None).release([h], torch.Generator().manual_seed(0))
    noise = (released - masked).double()
    assert (released != 0).all()
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)
    scale = 0.3 if kind == "gaussian" else 0.3 / math.sqrt(2)
    law = NOISES[kind](torch.tensor(0.0).double(), torch.tensor(scale).double())
    for quantile in (0.01, 0.3, 0.5, 0.9, 0.999):
        share = float((noise <= law.icdf(torch.tensor(quantile).double())).double().mean())
        assert share == pytest.approx(quantile, abs=5 * math.sqrt(quantile * (1 - quantile) / noise.numel()))


@pytest.mark.parametrize("kind", NOISES)
def test_with_noise_the_range_is_wider_and_little_is_clipped(defend, generator, kind):
    h = torch.rand(100, 100)
    defense = defend(h, noise=kind, noise_std=0.1)
    (quantizer,) = defense.quantizers
    assert quantizer.step * quantizer.last == pytest.approx(1.8, rel=0.02)
    (codes,) = defense.release([h], generator)
    assert float(((codes == 0) | (codes == 255)).double().mean()) < 1e-3
    (received,) = defense.receive([codes])
    assert float((received - h).std()) == pytest.approx(0.1, rel=0.05)
    assert defense.payload_bytes() == defend(h).payload_bytes()


def test_a_tensor_that_was_constant_when_calibrated_gets_noise_too(defend):
    assert defend(torch.full((4, 3), -2.0), noise="gaussian", noise_std=0.1).floor.stds == pytest.approx((0.2,))
    assert defend(torch.zeros(4, 3), noise="gaussian", noise_std=0.1).floor.stds == pytest.approx((0.1,))


def test_raw_inputs_get_the_quantizer_alone(crossing, generator):
    h = torch.rand(5, 6)
    spec = defense_record(dropout="element", rate=0.5, noise="gaussian", noise_std=0.5)
    raw = Defense(spec, (crossing(h, raw_input=True),)).calibrate([h])
    plain = Defense(defense_record(), (crossing(h),)).calibrate([h])
    assert torch.equal(raw.release([h], generator)[0], plain.release([h], generator)[0])
    assert not raw.floor.real
    assert not raw.randomizes


def test_the_edge_only_cut_is_released_as_it_is(crossing, cut_of, generator):
    h = torch.rand(5, 6)
    spec = defense_record(dropout="element", rate=0.5, noise="laplace", noise_std=0.5, rounding="stochastic")
    defense = Defense.for_cut(spec, cut_of(Defense(spec, (crossing(h),)), "edge-only"))
    assert torch.equal(defense.release([h], generator)[0], h)
    assert not defense.changes


def test_what_randomizes_and_what_changes(defend):
    h = torch.rand(5, 6)
    for spec, randomizes, changes in (
        ({"bits": None}, False, False),
        ({}, False, True),
        ({"rounding": "stochastic"}, True, True),
        ({"rounding": "stochastic", "bits": None}, False, False),
        ({"noise": "gaussian"}, False, True),
        ({"noise": "gaussian", "noise_std": 0.1, "bits": None}, True, True),
        ({"dropout": "channel", "rate": 0.1, "bits": None}, True, True),
    ):
        defense = defend(h, **spec)
        assert (defense.randomizes, defense.changes) == (randomizes, changes), spec


def test_keyed_releases_are_the_same_each_time_and_fresh_ones_differ(defend):
    h, inputs = torch.rand(6, 30), torch.rand(6, 4)
    spec = {"dropout": "element", "rate": 0.5, "noise": "laplace", "noise_std": 0.1, "rounding": "stochastic"}
    keyed, fresh = defend(h, masks="keyed", **spec), defend(h, **spec)
    source = Keyed(b"k" * 32, b"plan", inputs)
    (first,), (again,) = keyed.release([h], source), keyed.release([h], source)
    (part,) = keyed.release([h[2:4]], Keyed(b"k" * 32, b"plan", inputs[2:4]))
    assert torch.equal(first, again)
    assert torch.equal(first[2:4], part)
    (first,), (again,) = (fresh.release([h], Fresh()) for _ in range(2))
    assert not torch.equal(first, again)
    with pytest.raises(CollabplanError, match=r"keyed masks, but .* is Fresh"):
        keyed.release([h], Fresh())
    with pytest.raises(CollabplanError, match=r"fresh masks, but .* is Keyed"):
        fresh.release([h], source)


def test_tensors_do_not_share_masks(defend):
    h, inputs = torch.ones(4, 400), torch.rand(4, 3)
    defense = defend(h, h, masks="keyed", dropout="element", rate=0.5, bits=None)
    first, second = defense.release([h, h], Keyed(b"k" * 32, b"plan", inputs))
    assert float((first == second).double().mean()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_dropout_multiplies_distances_by_its_factor(defend, generator, rate):
    h = torch.randn(2, 40000)
    defense = defend(h, dropout="element", rate=rate)
    mask = defense.dropout.mask(defense.crossing[0], 1, Simulated(generator))
    seen = ((h[0] - h[1]) * mask[0]).square().sum() / (h[0] - h[1]).square().sum()
    assert float(seen) == pytest.approx(defense.distance_factor, abs=0.02)
    assert defend(h, dropout="channel", rate=rate).distance_factor is None
    assert defend(h).distance_factor == 1.0


def test_floors_of_each_defense(defend):
    h = torch.rand(50, 8) * 4
    h[0, :2] = torch.tensor([0.0, 4.0])
    for spec, std, real, word in (
        ({}, 4 / 255 / math.sqrt(12), False, r"8-bit wire step / sqrt(12) (no real noise: surrogate)"),
        ({"bits": None}, 4 * 2.0**-23, False, "spacing of the model's own numbers"),
        ({"rounding": "stochastic"}, 4 / 255 / math.sqrt(12), False, "exact mass is known"),
        ({"noise": "gaussian", "noise_std": 0.05}, 0.2, True, "Gaussian noise of 5 % of each tensor's range (real)"),
        ({"noise": "gaussian", "noise_std": 0.05, "bits": None}, 0.2, True, "Gaussian noise of 5 %"),
        ({"noise": "laplace", "noise_std": 0.05}, 0.2 / math.sqrt(2), True, "Laplace noise of 5 %"),
        ({"noise": "gaussian", "noise_std": 0.0}, 4 / 255 / math.sqrt(12), False, "8-bit wire step"),
    ):
        floor = defend(h, **spec).floor
        assert floor.stds == pytest.approx((std,)), spec
        assert floor.real is real
        assert word in floor.text


def test_the_floor_is_real_only_where_every_private_tensor_has_noise(crossing):
    h, ids = torch.rand(9, 4), torch.arange(36).reshape(9, 4)
    crossed = (crossing(h, "mask", public=True), crossing(h, "h"), crossing(ids, "ids"))
    spec = defense_record(noise="gaussian", noise_std=0.1)
    defense = Defense(spec, crossed).calibrate([h, h, ids])
    assert defense.floor.stds[0] == 0.0
    assert defense.floor.stds[2] == pytest.approx(1 / math.sqrt(12))
    assert not defense.floor.real
    assert "ids without noise" in defense.floor.text
    assert len(defense.private.floor.stds) == 2
    assert Defense(spec, crossed[:2]).calibrate([h, h]).floor.real


@given(shift=some.floats(0, 50))
def test_laplace_noise_tells_no_more_than_gaussian_noise_at_its_floor(shift):
    assert shift + math.exp(-shift) - 1 <= shift**2 / 2 + 1e-12
