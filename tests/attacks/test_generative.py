"""Generators as priors: a network that died is replaced, and a trained generator is made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attack_views import BRIEF, SIDE, attacked, audit_target, first_layer, view_of
from collabplan.attacks import ArtifactCache, attack_named, generative
from collabplan.attacks.generators import Generator
from collabplan.attacks.release_law import ReleaseLoss
from collabplan.attacks.similarity import ssim
from collabplan.attacks.training import seeded, train
from torch import Tensor


def test_a_network_that_died_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two of eight begin all black, where no gradient moves them."""
    begun: list[Generator] = []

    def dying(make: Callable[[], Generator], generator: torch.Generator) -> Generator:
        network = seeded(make, generator)
        if len(begun) < 2:
            with torch.no_grad():
                network.base.fill_(-1000)
        begun.append(network)
        return network

    monkeypatch.setattr(generative, "seeded", dying)
    originals, images = attacked(attack_named("untrained"), audit_target(first_layer(), 6), 8)
    found = ssim(images, originals)
    assert found is not None
    assert len(begun) == 10
    assert float(found.min()) > 0.9


def test_a_network_that_is_stuck_far_from_the_others_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It explains its release better than the mean image does, and yet it found nothing."""
    counts: list[int] = []

    def found(_: object, loss: ReleaseLoss, __: torch.Generator) -> tuple[Tensor, Tensor, list[float]]:
        counts.append(len(loss.released))
        losses = torch.full((len(loss.released),), 0.02)
        losses[0] = 0.5 if len(counts) == 1 else 0.02
        return torch.zeros(len(losses), 1, SIDE, SIDE), losses, [0.02]

    monkeypatch.setattr(generative._UntrainedAttacker, "_descended", found)
    attacked(attack_named("untrained"), audit_target(first_layer(), 6), 8)
    assert counts == [8, 1]


def test_the_generator_is_trained_once_for_all_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[object] = []

    def counted(*given: object, **more: object) -> object:
        trained.append(given)
        return train(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(generative, "train", counted)
    artifacts = ArtifactCache(0)
    for cut in (1, 2):
        view = view_of(audit_target(first_layer(), 6, cut=cut), artifacts=artifacts)
        attack_named("latent").fit(view, BRIEF, torch.Generator().manual_seed(cut))
    assert len(trained) == 1
