"""Rows in another order than the tokens, or mixed: the index is no lower than what one who knows the order reads."""

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.defenses.interface import NO_RANDOMNESS
from collabplan.estimators import CutLeakage, EdgeActivations, Secrets
from collabplan.estimators.token_traces import traced_places
from collabplan.estimators.tokens import token_inputs
from collabplan.graph import candidate_cuts, trace
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from torch import nn

V, L, E, COUNT = 60, 24, 16, 100
ORDER = torch.randperm(L, generator=torch.Generator().manual_seed(5))
MIX = torch.linalg.qr(torch.randn(L, L, generator=torch.Generator().manual_seed(6)))[0]
PROMPT = torch.randn(1, 16, E, generator=torch.Generator().manual_seed(7))
DENSE = torch.randn(L * E, L * E, generator=torch.Generator().manual_seed(8)) / (L * E) ** 0.5


def text(count=COUNT, seed=0):
    weights = 1 / torch.arange(1.0, V + 1)
    source = torch.Generator().manual_seed(seed)
    return torch.multinomial(weights.expand(count, -1), L, replacement=True, generator=source)


class Arranged(nn.Module):
    """Embedded tokens, something done with their places, then a head that sees them all."""

    def __init__(self, arrange):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.arrange, self.head = nn.Embedding(V, E), arrange, nn.Linear(1, 2)
        self.lstm = nn.LSTM(E, E, batch_first=True)
        self.merge = nn.Linear(2 * E, 2 * E)

    def forward(self, ids):
        crossing = self.arrange(self, self.table(ids))
        return self.head(torch.tanh(crossing).flatten(1).mean(1, keepdim=True))


def prompted(rows, before):
    prompt = PROMPT.expand(len(rows), -1, -1)
    return torch.cat([rows[:, :before], prompt, rows[:, before:]], 1)


def crossing_of(arrange, ids):
    """The traced model, the cut before its tanh, the crossings there and what computes them."""
    traced = trace(Arranged(arrange).eval(), (ids[:2],))
    cuts = [cut for cut in candidate_cuts(traced) if not cut.sends_raw_input and cut.kind != "edge-only"]
    cut = cuts[next(at for at, each in enumerate(cuts) if "tanh" in each.name) - 1]
    activations = EdgeActivations(traced)
    return traced, cut, activations, activations.rows(cut, Data((ids,)))


def recovered(arrange, count=COUNT, **spec):
    ids = text(count)
    traced, cut, activations, rows = crossing_of(arrange, ids)
    defense = Defense.for_cut(defense_record(**spec), cut).calibrate(activations.to_graph(cut, rows))
    shared = CutLeakage(
        rows,
        Secrets.of(Data((ids,)), traced, InputScaling.from_range(0, 1)),
        cut,
        rates=(0.0, defense.rate),
        edge=lambda data: defense.transforms.apply_rows(activations.computed(cut, data), NO_RANDOMNESS),
    )
    found = shared.under(defense, generator=torch.Generator().manual_seed(1))
    released = defense.observed(defense.release(rows, torch.Generator().manual_seed(2)))[0].float()
    return found, released, ids


def read_by(undo, released, ids):
    """The share of tokens that are nearest to what is left when the arrangement is undone."""
    table = Arranged(None).table.weight.detach()
    answered = torch.cdist(undo(released).reshape(-1, E), table).argmin(1).reshape(ids.shape)
    return float((answered == ids).double().mean())


def unordered(rows):
    back = torch.empty_like(rows)
    back[:, ORDER] = rows
    return back


ARRANGEMENTS = {
    "a reversal": (lambda _, e: e.flip(1) * 2, lambda y: y.flip(1) / 2),
    "a permutation": (lambda _, e: e[:, ORDER] * 2, lambda y: unordered(y) / 2),
    "an orthogonal mixture": (lambda _, e: (MIX @ e) * 2, lambda y: MIX.T @ y / 2),
    "a prompt before": (lambda _, e: prompted(e, 0) * 2, lambda y: y[:, 16:] / 2),
    "a prompt behind": (lambda _, e: prompted(e, L) * 2, lambda y: y[:, :-16] / 2),
    "a prompt in the middle": (lambda _, e: prompted(e, 9) * 2, lambda y: torch.cat([y[:, :9], y[:, 25:]], 1) / 2),
    "every fourth": (
        lambda _, e: torch.cat([e[:, at::4] for at in range(4)], 1) * 2,
        lambda y: y.reshape(-1, 4, L // 4, E).transpose(1, 2) / 2,
    ),
    "a running sum": (lambda _, e: e.cumsum(1), lambda y: torch.diff(y, dim=1, prepend=torch.zeros_like(y[:, :1]))),
    "a reversal inside windows": (
        lambda _, e: e.reshape(-1, L // 8, 8, E).flip(2).reshape(-1, L, E) * 2,
        lambda y: y.reshape(-1, L // 8, 8, E).flip(2) / 2,
    ),
    "two tokens to a row": (
        lambda model, e: model.merge(e.flip(1).reshape(-1, L // 2, 2 * E)),
        lambda y: unmerged(y).reshape(-1, L, E).flip(1),
    ),
    "a reversal side by side": (lambda _, e: e.flip(1).flatten(1) * 2, lambda y: y.reshape(-1, L, E).flip(1) / 2),
    "a dense layer over all": (lambda _, e: e.flatten(1) @ DENSE, lambda y: y @ torch.linalg.inv(DENSE)),
}


def unmerged(rows):
    merge = Arranged(None).merge
    return ((rows - merge.bias) @ torch.linalg.inv(merge.weight).T).detach()


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_no_arrangement_hides_what_its_inverse_reads(name):
    arrange, undo = ARRANGEMENTS[name]
    found, released, ids = recovered(arrange, bits=8)
    read = read_by(undo, released, ids)
    assert read > 0.95
    assert found.index.high >= read - 0.02
    assert found.index.value >= read - 0.03


def test_a_backward_recurrence_is_read_as_well_as_a_forward_one():
    backward, _, _ = recovered(lambda model, e: model.lstm(e.flip(1))[0], 48, bits=8)
    forward, _, _ = recovered(lambda model, e: model.lstm(e)[0], 48, bits=8)
    assert forward.index.value > 0.6
    assert backward.index.high >= forward.index.value - 0.02


@pytest.mark.parametrize("name", ["a reversal", "a running sum"])
def test_dropout_is_made_up_for_by_the_numbers_that_are_left(name):
    found, _, _ = recovered(ARRANGEMENTS[name][0], dropout="element", rate=0.3)
    assert found.index.value > 0.95


def test_of_a_coarse_running_sum_each_token_is_read_with_those_before_it_known():
    found, released, ids = recovered(ARRANGEMENTS["a running sum"][0], bits=4)
    table = Arranged(None).table.weight.detach()
    total, right = torch.zeros(COUNT, E), 0.0
    for at in range(L):
        answered = torch.cdist(released[:, at] - total, table).argmin(1)
        total = total + table[answered]
        right += float((answered == ids[:, at]).double().mean()) / L
    prior = float((ids == ids.mode(0).values).double().mean())
    assert found.index.high >= (right - prior) / (1 - prior) - 0.02
    assert found.index.value > 0.5


def test_rows_that_hold_nothing_are_not_read_as_tokens():
    found, _, _ = recovered(lambda _, e: e.flip(1) * 0 + PROMPT[:, :1], bits=8)
    assert found.index.value == 0


def places_of(arrange):
    ids = text()
    traced, cut, activations, rows = crossing_of(arrange, ids)
    own = token_inputs(Data((ids,)), traced)[0]
    return traced_places(rows, own, ids.unique(), lambda made: activations.computed(cut, Data((made[0],))), 0)[0]


def test_the_row_of_each_token_is_the_one_that_moves_when_it_changes():
    permuted = [places.taken for places in places_of(lambda _, e: e[:, ORDER] * 2) if places.taken]
    assert permuted == [tuple(ORDER.argsort().tolist())]
    parted = [places.taken for places in places_of(lambda _, e: prompted(e, 9) * 2) if places.taken]
    assert parted == [(*range(9), *range(25, L + 16))]


def test_a_mixture_is_the_inverse_of_how_a_change_spreads():
    unmixed = next(places.unmixed for places in places_of(lambda _, e: e.cumsum(1)) if places.unmixed is not None)
    differences = torch.eye(L) - torch.diag(torch.ones(L - 1), -1)
    assert torch.allclose(unmixed / unmixed[0, 0], differences, atol=1e-3)


def test_rows_in_order_are_neither_taken_in_another_one_nor_unmixed():
    assert all(places.taken is None and places.unmixed is None for places in places_of(lambda _, e: e * 2))
