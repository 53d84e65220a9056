"""Attackers of tokens: the nearest reference, a ridge and a small network."""

from __future__ import annotations

import torch
from collabplan.estimators.token_attackers import Examples, classifier, nearest, readable, ridge, ridges

TOKENS = 10
SLOTS = torch.arange(4)[:, None]
VECTORS = torch.randn(TOKENS, 6, generator=torch.Generator().manual_seed(0))
MIXING = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))


def examples(count: int, seed: int, noise: float = 0.05) -> Examples:
    """Four rows per sample, each a noisy linear map of its token's vector."""
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.randint(TOKENS, (count, 4, 1), generator=generator)
    rows = VECTORS[wanted[:, :, 0]] @ MIXING / 3
    return Examples(rows + noise * torch.randn(rows.shape, generator=generator), wanted)


def test_the_nearest_reference_weighs_distance_against_the_prior() -> None:
    references = torch.tensor([[0.0], [1.0]])
    even, skewed = torch.zeros(2), torch.tensor([0.0, -5.0])
    assert nearest(torch.tensor([[0.6]]), None, references, even).tolist() == [1]
    assert nearest(torch.tensor([[0.6]]), None, references, skewed).tolist() == [0]


def test_a_dropped_number_does_not_count() -> None:
    references = torch.tensor([[0.0, 5.0], [1.0, 0.0]])
    weights = torch.tensor([[9.0, 0.0]])
    assert nearest(torch.tensor([[0.1, 0.0]]), weights, references, torch.zeros(2)).tolist() == [0]


def test_a_ridge_reads_a_linear_map_of_the_tokens() -> None:
    unseen = examples(50, 3)
    log_prior = torch.zeros(4, TOKENS)
    predict = ridge(examples(200, 1), examples(30, 2), VECTORS, log_prior, SLOTS)
    assert float((predict(unseen.features) == unseen.wanted).float().mean()) > 0.97
    assert readable(examples(200, 1), examples(30, 2), VECTORS, SLOTS) > 0.9


def test_who_reads_nothing_answers_with_the_prior() -> None:
    def blank(count: int, seed: int) -> Examples:
        return Examples(torch.zeros(count, 4, 16), examples(count, seed).wanted)

    log_prior = torch.zeros(4, TOKENS)
    log_prior[:, 7] = 3.0
    predict = ridge(blank(200, 1), blank(30, 2), VECTORS, log_prior, SLOTS)
    assert bool((predict(blank(5, 3).features) == 7).all())


def test_a_network_reads_what_is_not_linear() -> None:
    def folded(count: int, seed: int) -> Examples:
        made = examples(count, seed)
        return Examples(made.features.abs(), made.wanted)

    train, unseen = folded(400, 1), folded(50, 3)
    predict = classifier(lambda: train, folded(50, 2), TOKENS, torch.Generator().manual_seed(0))
    assert float((predict(unseen.features) == unseen.wanted).float().mean()) > 0.9


def test_primal_and_dual_ridges_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(30, 20, generator=generator), torch.randn(30, 3, generator=generator)
    (primal,) = ridges(features, targets, [1.0])
    scale = float((features.T @ features).diagonal().mean())
    expected = torch.linalg.solve(features.T @ features + scale * torch.eye(20), features.T @ targets)
    torch.testing.assert_close(primal, expected, atol=1e-4, rtol=1e-3)
    (dual,) = ridges(features.T, torch.randn(20, 3, generator=generator), [1.0])
    assert dual.shape == (30, 3)
