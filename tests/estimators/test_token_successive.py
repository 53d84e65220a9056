"""Decided tokens tell the errors of the rows that share them."""

from __future__ import annotations

import torch
from collabplan.estimators.token_attackers import nearest
from collabplan.estimators.token_successive import successive


def test_correlated_errors_are_undone_where_each_row_alone_is_not_read() -> None:
    """The differences of a noisy running sum have the errors of two rows each."""
    generator = torch.Generator().manual_seed(0)
    count, places, tokens = 60, 8, 12
    values = torch.randn(tokens, 4, generator=generator)
    truth = torch.randint(tokens, (count, places), generator=generator)
    noise = torch.randn(count, places, 4, generator=generator)
    differences = torch.eye(places) - torch.diag(torch.ones(places - 1), -1)
    seen = values[truth] + torch.einsum("pq,nqf->npf", differences, noise)
    references = values[:, None].expand(-1, places, -1)
    log_prior = torch.zeros(places, tokens)
    found = successive(seen, references, differences @ differences.T, log_prior)
    alone = torch.stack([nearest(seen[:, at], None, values, log_prior[at]) for at in range(places)], dim=1)
    assert float((found == truth).float().mean()) > float((alone == truth).float().mean()) + 0.05


def test_without_errors_every_token_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    values, truth = torch.randn(9, 3, 5, generator=generator), torch.randint(9, (7, 3), generator=generator)
    seen = values[truth, torch.arange(3)]
    found = successive(seen, values, torch.eye(3) * 1e-4, torch.zeros(3, 9))
    assert torch.equal(found, truth)
