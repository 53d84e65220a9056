"""Which private inputs are tokens: by what the graph looks up by them, not by their dtype."""

import pytest
import torch
from collabplan.attacks.audit_target import attacked_input
from collabplan.estimators import Secrets, private_inputs
from collabplan.estimators.tokens import token_inputs
from collabplan.graph import trace
from collabplan.records import CollabplanError
from collabplan.targets import Data, InputScaling
from torch import nn

UNIT = InputScaling.from_range(0, 1)
V, L, D = 20, 6, 8


def ids(count=30, seed=0, low=0):
    return torch.randint(low, V, (count, L), generator=torch.Generator().manual_seed(seed))


class Looked(nn.Module):
    """One input, looked up in one of many ways."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.table = nn.Embedding(2 * V, D)

    def forward(self, x):
        weight = self.table.weight
        found = {
            "embedding": lambda: self.table(x),
            "int32": lambda: self.table(x.to(torch.int64)),
            "flattened": lambda: self.table(x.reshape(-1)).reshape(-1, L, D),
            "rows of a weight": lambda: weight[x],
            "one-hot": lambda: nn.functional.one_hot(x, 2 * V).float() @ weight,
            "index_select": lambda: torch.index_select(weight, 0, x.reshape(-1)).reshape(-1, L, D),
            "shifted": lambda: self.table(x + 3),
            "hashed": lambda: self.table((x * 7 + 1) % (2 * V)),
            "float ids": lambda: self.table(x.long()),
        }[self.way]()
        return found.mean(1)


WAYS = ["embedding", "int32", "flattened", "rows of a weight", "one-hot", "index_select", "shifted", "hashed"]


@pytest.mark.parametrize("way", [*WAYS, "float ids"])
def test_whatever_the_model_looks_something_up_by_is_tokens(way):
    data = ids().float() if way == "float ids" else ids().int() if way == "int32" else ids()
    model = Looked(way)
    (found,) = token_inputs(Data((data,)), trace(model, data[:2]))
    assert torch.equal(found.ids, ids())
    assert found.counted.all()
    if way in ("embedding", "int32", "flattened"):
        assert found.table is not None
        assert torch.equal(found.table, model.table.weight.detach())
    if way in ("shifted", "hashed"):
        assert found.table is None  # row 5 is not that of id 5


class Picture(nn.Module):
    """A picture in bytes, normalised by the model."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)

    def forward(self, x):
        return self.conv(x.float() / 255 - 0.5).mean((2, 3))


def test_a_picture_in_bytes_is_numbers_to_be_reconstructed():
    bytes_ = torch.randint(0, 256, (30, 1, 5, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    traced = trace(Picture(), bytes_[:2])
    assert token_inputs(Data((bytes_,)), traced) == ()
    (rows,) = private_inputs(Data((bytes_,)), traced, UNIT)
    low, high = int(bytes_.min()), int(bytes_.max())
    assert torch.allclose(rows, (bytes_.reshape(30, -1).float() - low) / (high - low))
    secrets = Secrets.of(Data((bytes_,)), traced, UNIT)
    assert secrets.numbers is not None
    assert secrets.tokens == ()


class Encoder(nn.Module):
    """Tokens with their mask and types, as BERT has them."""

    def __init__(self, padding=None):
        super().__init__()
        self.words = nn.Embedding(V, D, padding_idx=padding)
        self.types = nn.Embedding(2, D)

    def forward(self, input_ids, attention_mask, token_type_ids):
        h = self.words(input_ids) + self.types(token_type_ids)
        return (h * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)


def padded(count=30):
    words = ids(count, low=1)
    lengths = torch.randint(2, L + 1, (count, 1), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(L)[None] < lengths).long()
    return words * mask, mask


def test_padding_is_what_the_mask_or_the_embedding_says_and_does_not_count():
    words, mask = padded()
    for model, mask_given in ((Encoder(), mask), (Encoder(padding=0), torch.ones_like(mask))):
        data = Data((words, mask_given, torch.zeros_like(words)))
        traced = trace(model, tuple(tensor[:2] for tensor in data.inputs))
        found = {each.name: each for each in token_inputs(data, traced)}
        assert set(found) == {"input_ids", "token_type_ids"}
        assert torch.equal(found["input_ids"].counted, mask.bool())
        secrets = Secrets.of(data, traced, UNIT)
        # The mask tells nothing that the tokens do not, and types that never vary nothing at all.
        assert [each.name for each in secrets.tokens] == ["input_ids"]
        assert secrets.numbers is None
        assert secrets.one is not None
        assert int((secrets.one.inputs[0] != 0).sum()) == int(mask.sum(1).max())


def test_a_mask_that_does_not_follow_from_the_tokens_is_a_secret_of_its_own():
    words = ids()
    mask = torch.randint(0, 2, words.shape, generator=torch.Generator().manual_seed(2))
    mask[:, 0] = 1
    data = Data((words, mask, torch.zeros_like(words)))
    traced = trace(Encoder(), tuple(tensor[:2] for tensor in data.inputs))
    secrets = Secrets.of(data, traced, UNIT)
    assert secrets.numbers is not None
    assert [each.name for each in secrets.tokens] == ["input_ids"]


def test_tokens_that_are_the_same_in_all_samples_are_no_secret():
    words = ids()[:1].expand(30, -1).contiguous()
    traced = trace(Looked("embedding"), words[:2])
    with pytest.raises(CollabplanError, match="same private input"):
        Secrets.of(Data((words,)), traced, UNIT)


def test_ids_that_are_no_whole_numbers_or_beyond_the_table_are_refused():
    traced = trace(Looked("float ids"), ids()[:2].float())
    with pytest.raises(CollabplanError, match="whole numbers"):
        token_inputs(Data((ids().float() + 0.5,)), traced)
    traced = trace(Looked("embedding"), ids()[:2])
    with pytest.raises(CollabplanError, match="from 40 to 59, its embedding has 40 rows"):
        token_inputs(Data((ids() + 40,)), traced)


class Sum(nn.Module):
    def forward(self, left, right):
        return (left + right).relu()


def test_no_message_advises_to_make_a_secret_public():
    cases = [
        (Looked("embedding"), (ids(2),), "no attack on token inputs yet.*token recovery"),
        (Picture(), (torch.zeros(2, 1, 5, 5, dtype=torch.uint8),), "is torch.uint8; let the model take floating"),
        (Sum(), (torch.rand(2, 3), torch.rand(2, 3)), "attacks reconstruct one private input"),
    ]
    for model, inputs, said in cases:
        with pytest.raises(CollabplanError, match=said) as raised:
            attacked_input(trace(model, inputs))
        assert "in public_inputs" not in str(raised.value)
