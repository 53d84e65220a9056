"""Samples and the way back to pixels."""

import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets import Data, InputScaling


def samples(count: int = 10) -> Data:
    values = torch.arange(count * 3, dtype=torch.float32).reshape(count, 3)
    return Data((values, torch.arange(count)), torch.arange(count))


def labels_of(data: Data) -> torch.Tensor:
    assert data.labels is not None
    return data.labels


def test_splits_are_disjoint_cover_everything_and_repeat():
    data = samples()
    search, confirm = data.splits(7)
    assert set(labels_of(search).tolist()) | set(labels_of(confirm).tolist()) == set(range(10))
    assert not set(search.sample_hashes()) & set(confirm.sample_hashes())
    assert labels_of(data.splits(7)[0]).equal(labels_of(search))
    assert not labels_of(data.splits(8)[0]).equal(labels_of(search))


def test_batches_keep_inputs_and_labels_together():
    batches = list(samples().batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert batches[1].inputs[0][0, 0] == 12
    assert labels_of(batches[1])[0] == 4


def test_sample_hashes_see_every_input():
    data = samples()
    other = Data((data.inputs[0], data.inputs[1] + 1))
    assert not set(data.sample_hashes()) & set(other.sample_hashes())


def test_content_hash_depends_on_order_and_labels():
    data = samples()
    assert data.content_hash == samples().content_hash
    assert data.content_hash != data.take([1, 0, *range(2, 10)]).content_hash
    assert data.content_hash != Data(data.inputs).content_hash


@pytest.mark.parametrize(
    ("inputs", "message"),
    [((), "without any"), ((torch.zeros(0, 3),), "empty"), ((torch.zeros(2), torch.zeros(3)), "disagree")],
)
def test_unusable_data_are_refused(inputs, message):
    with pytest.raises(TargetError, match=message):
        Data(inputs)


def test_nan_is_found_and_named():
    values = torch.zeros(4, 2)
    values[2, 1] = float("nan")
    with pytest.raises(TargetError, match="sample 2"):
        Data((values,)).require_finite()


def test_mean_and_std_are_undone_per_channel():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    pixels = torch.rand(5, 3, 4, 4)
    read = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(InputScaling.from_mean_std(mean, std).to_unit(read), pixels, atol=1e-6)
    with pytest.raises(TargetError, match="3 channels"):
        InputScaling.from_mean_std(mean, std).to_unit(pixels[:, :1])


def test_an_assumed_range_says_so_and_covers_the_data():
    values = torch.randn(20, 1, 3, 3) * 7
    scaling = InputScaling.from_data(values)
    unit = scaling.to_unit(values)
    assert scaling.assumed
    assert (float(unit.min()), float(unit.max())) == (0, 1)


def test_a_table_of_features_is_scaled_feature_by_feature():
    table = torch.rand(50, 3) * torch.tensor([1.0, 1e3, 0.0])
    unit = InputScaling.from_data(table).to_unit(table)
    assert unit[:, :2].amax(0).tolist() == [1, 1]
    assert unit[:, 2].tolist() == [0] * 50


def test_a_wrong_declared_range_can_be_noticed():
    assert InputScaling.from_range(0, 1).share_outside(torch.linspace(0, 255, 256)) > 0.9
    assert InputScaling.from_range(0, 1).share_outside(torch.rand(100)) == 0


def test_a_range_upside_down_is_refused():
    with pytest.raises(TargetError, match="low < high"):
        InputScaling.from_range(1, 0)
