"""What leaves the device, and what the cloud half makes of it."""

import pytest
import torch
from collabplan.estimators import Defense, Quantizer
from collabplan.records import CollabplanError, CutError, DefenseSpec, Layout
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
    defense = Defense(DefenseSpec(dropout="element", rate=0.9), crossed).calibrate(tensors)
    public, integers, raw = defense.simulate(tensors, generator)
    assert torch.equal(public, tensors[0])
    assert torch.equal(integers, tensors[1])
    assert (raw > 0.9).all()
    assert len(defense.observed(defense.release(tensors, generator))) == 2


def test_the_graph_layout_is_kept_and_masks_go_by_sample(crossing, generator):
    groups_minor = Layout(batch_dim=1, groups=2, batch_major=False)
    h = torch.ones(5, 12, 3)
    crossed = crossing(h).model_copy(update={"layout": groups_minor, "sample_shape": (2, 5, 3)})
    defense = Defense(DefenseSpec(dropout="channel", rate=0.5), (crossed,)).calibrate([h])
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
        Defense(DefenseSpec(), (crossing(h).model_copy(update={"layout": None}),))
    with pytest.raises(CollabplanError, match="no range"):
        Defense(DefenseSpec(), (crossing(h),)).release([h], generator)
    with pytest.raises(CollabplanError, match="NaN"):
        defend(h * float("nan"))
    with pytest.raises(CollabplanError, match="expected 1 tensors"):
        defend(h).release([h, h], generator)
