"""Token recovery against what is known: nothing, everything, and what a network of our own reads."""

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.defenses.interface import NO_RANDOMNESS
from collabplan.estimators import CutLeakage, EdgeActivations, Secrets
from collabplan.graph import candidate_cuts, trace
from collabplan.records import CollabplanError
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from torch import nn

UNIT = InputScaling.from_range(0, 1)
V, L, D = 30, 8, 16


def text(count=120, tokens=V, length=L, seed=0):
    """Independent tokens, the first ones common, as words are."""
    weights = 1 / torch.arange(1.0, tokens + 1)
    source = torch.Generator().manual_seed(seed)
    return torch.multinomial(weights.expand(count, -1), length, replacement=True, generator=source)


class At:
    """Recovery at one cut of a model, by the name of the cut."""

    def __init__(self, model, inputs, cut=None, public=()):
        torch.manual_seed(0)
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.data = Data(inputs)
        self.traced = trace(model.eval(), tuple(tensor[:2] for tensor in inputs), public_inputs=public)
        cuts = [each for each in candidate_cuts(self.traced) if not each.sends_raw_input and each.kind != "edge-only"]
        self.cut = next(each for each in cuts if cut is None or each.name == cut)
        self.activations = EdgeActivations(self.traced)
        self.rows = self.activations.rows(self.cut, self.data)

    def under(self, rows=None, **spec):
        rows = self.rows if rows is None else rows
        defense = Defense.for_cut(defense_record(**spec), self.cut).calibrate(self.activations.to_graph(self.cut, rows))
        shared = CutLeakage(
            rows,
            Secrets.of(self.data, self.traced, UNIT),
            self.cut,
            rates=(0.0, defense.rate),
            edge=lambda data: defense.transforms.apply_rows(self.activations.computed(self.cut, data), NO_RANDOMNESS),
        )
        return shared.under(defense, generator=torch.Generator().manual_seed(1))


class Embedded(nn.Module):
    """Embedding, positions and normalisation, then a mean."""

    def __init__(self, tokens=V):
        super().__init__()
        self.table = nn.Embedding(tokens, D)
        self.places = nn.Parameter(torch.randn(L, D))
        self.norm = nn.LayerNorm(D)

    def forward(self, ids):
        return self.norm(self.table(ids) + self.places).mean(1)


@pytest.mark.parametrize("bits", [8, 3, None])
def test_the_embedding_is_the_tokens_themselves(bits):
    found = At(Embedded(), text()).under(bits=bits)
    assert (found.index.low, found.index.value, found.index.high) == (1, 1, 1)
    assert (found.index_of, found.token_attacker, found.token_input) == ("token recovery", "nearest", "ids")
    assert found.index_name == "token recovery"


@pytest.mark.parametrize("cut", ["table", "norm"])
@pytest.mark.parametrize("kind", ["element", "channel"])
def test_dropout_hides_a_token_no_better_than_its_last_elements(cut, kind):
    found = At(Embedded(), text(), cut).under(dropout=kind, rate=0.6)
    if kind == "element":  # at 0.6, one in 3,500 tokens loses all but none of its sixteen numbers
        assert found.index.value > 0.98
    else:  # a channel is a token here: four of ten are left
        assert 0.3 < found.index.value < 0.5


def test_a_constant_release_tells_exactly_nothing():
    at = At(Embedded(), text())
    found = at.under(rows=[torch.full_like(at.rows[0], 3.0)])
    assert (found.index.low, found.index.value, found.index.high) == (0, 0, 0)


def test_rows_of_other_sequences_tell_nothing_but_never_exactly_nothing():
    at = At(Embedded(), text(), "norm")
    order = torch.randperm(120, generator=torch.Generator().manual_seed(3))
    found = at.under(rows=[at.rows[0][order]])
    assert found.index.value <= 0.05
    assert 0.03 < found.index.high < 0.3


def test_noise_hides_tokens_and_the_prior_is_the_zero():
    at = At(Embedded(), text(), "norm")
    recovered = [at.under(noise="gaussian", noise_std=std, bits=None).index.value for std in (0.01, 0.3, 30.0)]
    assert recovered[0] > 0.99
    assert recovered[0] > recovered[1] > recovered[2] + 0.1
    assert recovered[2] < 0.05


def test_places_that_always_hold_the_same_token_are_the_priors():
    ids = text()
    ids[:, 0] = 7
    at = At(Embedded(), ids, "norm")
    noise = at.under(noise="gaussian", noise_std=30.0, bits=None)
    assert noise.index.value < 0.05


class Mixing(nn.Module):
    """A recurrent network that each place's output depends on all others through."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, D)
        self.mix = nn.GRU(D, 12, batch_first=True, bidirectional=True)

    def forward(self, ids):
        mixed, _ = self.mix(self.table(ids))
        return torch.tanh(mixed).mean(1)


def network_reads(rows, ids, fresh_rows, fresh_ids, rate):
    """The share of fresh tokens that a small network of the test's own reads, beyond the commonest token."""
    mean, std = rows.mean((0, 1)), rows.std((0, 1))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(rows.shape[2], 64), nn.ReLU(), nn.Linear(64, V))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)

    def seen(values):
        return ((values - mean) / std * (torch.rand_like(values) >= rate)).flatten(0, 1)

    for _ in range(40):
        features = seen(rows)
        for chosen in torch.randperm(len(features)).split(64):
            loss = nn.functional.cross_entropy(net(features[chosen]), ids.flatten()[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    right = float((net(seen(fresh_rows)).argmax(1) == fresh_ids.flatten()).double().mean())
    prior = float((fresh_ids == ids.flatten().mode().values).double().mean())
    return (right - prior) / (1 - prior)


@pytest.mark.parametrize("rate", [0.0, 0.6])
def test_no_network_of_ones_own_reads_more_from_as_many_sequences(rate):
    ids, fresh = text(200), text(200, seed=9)
    at = At(Mixing(), ids, "tanh")
    fresh_rows = at.activations.computed(at.cut, Data((fresh,)))
    read = network_reads(at.rows[0], ids, fresh_rows[0], fresh, rate)
    found = at.under(dropout="element" if rate else "none", rate=rate)
    assert read > 0.2
    assert found.index.high >= read - 0.02


class Characters(nn.Module):
    """Embedding, then a strided convolution over channels x tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, D)
        self.conv = nn.Conv1d(D, 48, 4, stride=2, padding=1)

    def forward(self, ids):
        return self.conv(self.table(ids).transpose(1, 2)).relu().amax(2)


class OneHot(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(V, D))

    def forward(self, ids):
        return torch.tanh(nn.functional.one_hot(ids, V).float() @ self.weight).mean(1)


class Pair(nn.Module):
    """Two inputs of tokens, added before anything crosses."""

    def __init__(self):
        super().__init__()
        self.words, self.tags = nn.Embedding(V, D), nn.Embedding(5, D)

    def forward(self, words, tags):
        return torch.tanh(self.words(words) + self.tags(tags)).mean(1)


def test_a_character_network_is_read_through_its_stride():
    found = At(Characters(), text(200), "relu").under()
    assert found.index.value > 0.6


def test_one_hot_tokens_are_read_exactly():
    found = At(OneHot(), text(), "tanh").under(dropout="element", rate=0.3)
    assert found.index.value > 0.98


def test_of_two_inputs_the_one_that_is_read_best_counts_and_both_are_undone_together():
    words, tags = text(), text(tokens=5, seed=4)
    found = At(Pair(), (words, tags), "tanh").under()
    assert found.index.value == 1
    hidden = At(Pair(), (words, tags), "tanh", public=["tags"])
    assert hidden.under().token_input == "words"


class Wide(nn.Module):
    """All places side by side in one vector, in another basis."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, D)
        self.mix = nn.Linear(L * D, L * D)
        self.out = nn.Linear(L * D, 3)

    def forward(self, ids):
        return self.out(torch.tanh(0.5 * self.mix(self.table(ids).flatten(1))))


def test_a_vector_that_holds_all_places_is_read_place_by_place():
    found = At(Wide(), text(200), "tanh").under()
    assert found.token_attacker in ("ridge", "classifier")
    assert found.index.value > 0.6


class Bag(nn.Module):
    """The mean of the tokens' embeddings: no place is left of any."""

    def __init__(self, width):
        super().__init__()
        self.table, self.out = nn.Embedding(V, width), nn.Linear(width, 3)

    def forward(self, ids):
        return self.out(torch.relu(self.table(ids)).mean(1))


def test_a_mean_hides_the_places_of_the_tokens_and_not_the_tokens():
    found = At(Bag(24), text(), "mean").under()
    assert found.token_attacker == "bag"
    assert found.index.value > 0.9
    narrow = At(Bag(2), text(), "mean").under()
    assert narrow.index.value < 0.3


class Masked(nn.Module):
    """The mean over the tokens that a mask leaves."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(V, 24), nn.Linear(24, 3)

    def forward(self, ids, mask):
        kept = torch.relu(self.table(ids)) * mask[..., None]
        return self.out(kept.sum(1) / mask.sum(1, keepdim=True))


def test_a_mean_over_padded_sequences_of_different_length_hides_no_token():
    lengths = torch.randint(4, L + 1, (160, 1), generator=torch.Generator().manual_seed(6))
    mask = (torch.arange(L)[None] < lengths).long()
    ids = (text(160) % (V - 1) + 1) * mask
    assert At(Masked(), (ids, mask), "div").under().index.value > 0.8


def test_a_bag_of_other_sequences_tells_nothing():
    at = At(Bag(24), text(), "mean")
    order = torch.randperm(120, generator=torch.Generator().manual_seed(3))
    assert at.under(rows=[at.rows[0][order]]).index.value <= 0.06


class Captioned(nn.Module):
    """A picture and a caption."""

    def __init__(self):
        super().__init__()
        self.table, self.look = nn.Embedding(V, D), nn.Linear(12, D)

    def forward(self, picture, ids):
        return torch.tanh(self.look(picture)[:, None] + self.table(ids)).mean(1)


def test_beside_a_picture_the_input_that_leaks_most_counts():
    picture = torch.rand(120, 12, generator=torch.Generator().manual_seed(0))
    found = At(Captioned(), (picture, text()), "tanh").under()
    assert found.index.value > 0.5
    assert found.index_of in ("token recovery", "reconstruction")


def test_the_same_seed_gives_the_same_figure():
    at = At(Mixing(), text(), "tanh")
    assert at.under(dropout="element", rate=0.5) == at.under(dropout="element", rate=0.5)


def test_too_few_sequences_are_refused():
    with pytest.raises(CollabplanError, match="at least 20"):
        At(Mixing(), text(10), "tanh").under()


@pytest.mark.parametrize(
    "spec",
    [
        {"dropout": "element", "rate": 0.7},
        {"noise": "gaussian", "noise_std": 0.2},
        {"dropout": "element", "rate": 0.7, "masks": "keyed"},
    ],
)
def test_the_high_end_is_that_of_ten_releases(spec):
    """What one release hides of a mean of tokens, ten show; the value stays that of one."""
    at = At(Embedded(), text(), cut="norm")
    one = at.under(**spec)
    shown = {"noise": "gaussian", "noise_std": 0.2 / 10**0.5} if "noise" in spec else {}
    assert one.index.value < one.index.high
    assert one.index.high >= at.under(**shown).index.value - 0.02
    assert one.index_note.startswith("masks or noise are random")
    assert at.under().index_note == ""
