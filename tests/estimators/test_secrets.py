"""Private inputs in [0, 1]: pixels by their declared range, token ids by the model's own embedding."""

import pytest
import torch
from collabplan.estimators import Components, private_inputs
from collabplan.graph import trace
from collabplan.records import CollabplanError
from collabplan.targets import Data, InputScaling
from torch import nn

UNIT = InputScaling.from_range(0, 1)


class Tokens(nn.Module):
    """Looks ids up, as GPT-2 does: flattened first, with positions added."""

    def __init__(self, lookup=True):
        super().__init__()
        self.embed = nn.Embedding(50, 6)
        self.positions = nn.Embedding(5, 6)
        self.head = nn.Linear(6, 4)
        self.lookup = lookup

    def forward(self, ids):
        if not self.lookup:
            return self.head(ids[..., None].float().expand(-1, -1, 6))
        ids = ids.view(-1, ids.shape[-1])
        return self.head(torch.tanh(self.embed(ids) + self.positions(torch.arange(ids.shape[-1]))))


class Captioned(nn.Module):
    """An image and a caption; the caption's mask is looked up nowhere."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 6)
        self.head = nn.Linear(3, 6)

    def forward(self, image, ids, mask):
        return self.head(image) + (self.embed(ids.to(torch.int64)) * mask[..., None]).sum(1)


def ids(count=30, length=5, top=50):
    return torch.randint(0, top, (count, length), generator=torch.Generator().manual_seed(0))


def test_token_ids_are_measured_in_the_embedding_space():
    model = Tokens()
    traced = trace(model, ids(2))
    data = Data((ids(),))
    (rows,) = private_inputs(data, traced, UNIT)
    expected = model.embed.weight.detach()[ids()].reshape(30, 30)
    low, high = expected.aminmax()
    assert torch.allclose(rows, (expected - low) / (high - low), atol=1e-6)
    assert (float(rows.min()), float(rows.max())) == (0, 1)
    assert len(Components.of([rows])) == 30


def test_equal_ids_have_equal_rows_and_others_do_not():
    traced = trace(Tokens(), ids(2))
    pair = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 6]])
    (rows,) = private_inputs(Data((pair,)), traced, UNIT)
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[1, :24], rows[2, :24])
    assert not torch.equal(rows[1, 24:], rows[2, 24:])


def test_images_and_captions_are_both_measured_and_masks_left_out():
    model = Captioned()
    mask = torch.ones(30, 5, dtype=torch.int64)
    data = Data((torch.rand(30, 3), ids().int(), mask))
    traced = trace(model, tuple(tensor[:2] for tensor in data.inputs))
    image, caption = private_inputs(data, traced, InputScaling.from_range(0, 2))
    assert torch.equal(image, data.inputs[0] / 2)
    assert caption.shape == (30, 30)
    public = trace(model, tuple(tensor[:2] for tensor in data.inputs), public_inputs=["ids"])
    assert len(private_inputs(data, public, UNIT)) == 1


def test_integers_that_are_never_looked_up_are_numbers():
    traced = trace(Tokens(lookup=False), ids(2))
    (rows,) = private_inputs(Data((ids(),)), traced, UNIT)
    low, high = int(ids().min()), int(ids().max())
    assert torch.allclose(rows, (ids().float() - low) / (high - low))


def test_what_integers_are_only_the_graph_says():
    traced = trace(Tokens(), ids(2))
    with pytest.raises(CollabplanError, match="give the traced graph"):
        private_inputs(Data((ids(),)), traced.tensor_inputs, UNIT)


def test_data_without_anything_private_are_refused():
    traced = trace(Tokens(), ids(2), public_inputs=["ids"])
    with pytest.raises(CollabplanError, match="remove the input to protect from public_inputs"):
        private_inputs(Data((ids(),)), traced, UNIT)


def test_ids_beyond_the_table_are_refused():
    traced = trace(Tokens(), ids(2))
    with pytest.raises(CollabplanError, match="from 0 to 60, its embedding has 50 rows"):
        private_inputs(Data((torch.arange(61).reshape(61, 1).expand(61, 5),)), traced, UNIT)


def test_data_of_another_number_of_inputs_are_refused():
    with pytest.raises(CollabplanError, match="1 tensor inputs, the data 2"):
        private_inputs(Data((ids(), ids())), trace(Tokens(), ids(2)), UNIT)
