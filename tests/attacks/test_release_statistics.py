"""Statistics of releases tell one edge half from another."""

from __future__ import annotations

import pytest
import torch
from attack_views import audit_target, digits, first_layer, seeded
from collabplan.attacks import AuditTarget, ObservedReleases
from collabplan.attacks.release_statistics import ReleaseStatistics, neighbourhoods


def seen(device: AuditTarget) -> ObservedReleases:
    """What was intercepted."""
    return device.release(digits()[1], torch.Generator().manual_seed(3))


def test_releases_are_nearer_to_their_own_statistics_than_another_edges() -> None:
    device, other = (
        audit_target(first_layer(), 6),
        audit_target(seeded(lambda: torch.nn.Conv2d(1, 6, 3, padding=1), 1), 6),
    )
    statistics = ReleaseStatistics.of(seen(device).rows, torch.Generator().manual_seed(0))
    own, strange = (
        float(statistics.distance(each.clean_rows(digits()[0]), torch.Generator().manual_seed(0), 1e-3))
        for each in (device, other)
    )
    assert own < 0.3
    assert strange > 3 * own


@pytest.mark.parametrize(
    ("shape", "samples"),
    [((2, 3, 16, 16), (2 * 49, 27)), ((2, 5, 7), (10, 7)), ((2, 9), (2, 9)), ((2, 3, 2, 2), (2, 12))],
)
def test_a_sample_is_a_neighbourhood_a_token_or_a_row(shape: tuple[int, ...], samples: tuple[int, ...]) -> None:
    assert tuple(neighbourhoods(torch.zeros(shape)).shape) == samples


def test_rows_too_wide_to_whiten_are_sketched() -> None:
    rows = torch.randn(64, 3000, generator=torch.Generator().manual_seed(0))
    statistics = ReleaseStatistics.of([rows], torch.Generator().manual_seed(1))
    assert statistics.covariances[0].shape == (256, 256)
    distance = statistics.distance([rows], torch.Generator().manual_seed(2), 1e-3)
    assert float(distance) < 0.5
