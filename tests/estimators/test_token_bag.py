"""Bags of tokens: overlap, the likeliest bag, and a pursuit of shares that add up."""

from __future__ import annotations

import torch
from collabplan.estimators.token_bag import by_counts, by_pursuit, counts_of, likeliest, overlap


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_counts_leave_out_padding() -> None:
    assert counts_of(torch.tensor([[0, 2, 2, -1]]), 3).tolist() == [[1.0, 0.0, 2.0]]


def test_the_overlap_counts_each_token_as_often_as_both_have_it() -> None:
    assert overlap(torch.tensor([[1, 1, 2]]), torch.tensor([[1, 2, 2]])).tolist() == [2.0]


def test_the_likeliest_bag_takes_the_greatest_expectations_one_by_one() -> None:
    found = likeliest(torch.tensor([[2.0, 0.4, 0.9]]), torch.tensor([3]))
    assert sorted(found[0].tolist()) == [0, 0, 2]
    padded = likeliest(torch.tensor([[2.0, 0.4], [2.0, 0.4]]), torch.tensor([1, 2]))
    assert padded.tolist()[0] == [0, -1]


def test_counts_are_read_from_features_that_are_linear_in_them() -> None:
    tokens = torch.randint(6, (300, 5), generator=draws())
    mixing = torch.randn(6, 20, generator=draws())
    features = counts_of(tokens, 6) @ mixing
    features = features - features.mean(dim=0)
    parts = (features[:200], features[200:250], features[250:])
    found = by_counts(parts, tokens[:200], tokens[200:250], torch.full((50,), 5), 6)
    assert float(overlap(found, tokens[250:]).mean()) > 4.9


def test_a_pursuit_finds_the_bag_whose_shares_add_up_from_a_wrong_start() -> None:
    shares = torch.randn(12, 30, generator=draws())
    truth = torch.randint(12, (40, 6), generator=draws())
    truth[:5, 4:] = -1
    seen = counts_of(truth, 12) @ shares
    start = torch.where(truth >= 0, 0, -1)
    log_prior = torch.full((12,), 1 / 12).log()
    found = by_pursuit(seen, torch.full_like(seen, 1e4), shares, start, log_prior, draws())
    assert torch.equal(found < 0, truth < 0)
    assert float(overlap(found, truth).sum() / (truth >= 0).sum()) > 0.97
