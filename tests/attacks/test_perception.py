"""What the undefended network sees: its own classes and features, whatever is attacked."""

from __future__ import annotations

import pytest
import torch
from collabplan.attacks import AuditTarget
from collabplan.attacks.perception import MOST_FEATURES, Look, Sight, distances, feature_halves, look
from collabplan.defenses import Defense
from collabplan.graph import candidate_cuts, trace
from collabplan.records import DefenseRecord
from collabplan.targets import Data, InputScaling
from torch import Tensor, nn

COUNT = 11


def images(channels: int = 1, side: int = 8) -> Tensor:
    return torch.rand(COUNT, channels, side, side, generator=torch.Generator().manual_seed(3))


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 6), nn.Tanh(), nn.Linear(6, 3)
    )


def device(model: nn.Module, example: Tensor, batch_size: int = 64) -> AuditTarget:
    traced = trace(model.eval(), (example,))
    cut = candidate_cuts(traced, 1)[1]
    return AuditTarget(
        traced, cut, Defense.for_cut(DefenseRecord(), cut), InputScaling.from_range(0, 1), batch_size=batch_size
    )


@pytest.mark.parametrize("batch_size", [4, 64])
def test_features_are_what_crosses_before_the_last_layer_and_classes_are_the_models(batch_size: int) -> None:
    model = classifier().eval()
    target = device(model, images()[:2], batch_size)
    seen = look(target, Data((images(),)), feature_halves(target.traced))
    assert seen.features is not None
    assert seen.classes is not None
    with torch.no_grad():
        assert torch.allclose(seen.features, model[:5](images()), atol=1e-6)
        assert torch.equal(seen.classes, model(images()).argmax(dim=1))


def test_without_a_cut_or_class_scores_there_is_nothing_to_see() -> None:
    single = trace(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(), (images()[:2],))
    assert feature_halves(single) is None
    blurring = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))
    target = device(blurring, images()[:2])
    seen = look(target, Data((images(),)), feature_halves(target.traced))
    assert seen.classes is None
    assert seen.features is not None
    assert seen.features.shape == (COUNT, 128)
    assert look(target, Data((images(),)), None).features is None


def test_crossings_that_are_too_large_are_passed_over() -> None:
    side = 1 + int((MOST_FEATURES / 2) ** 0.5)
    wide = nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        nn.ReLU(),
        nn.Upsample((side, side)),
        nn.Conv2d(1, 2, 1),
        nn.Flatten(),
        nn.Linear(2 * side**2, 2),
    )
    halves = feature_halves(trace(wide.eval(), (images()[:2],)))
    assert halves is not None
    assert halves.cut.crossing[0].sample_elements <= MOST_FEATURES


def test_reconstructions_of_the_first_targets_are_compared_with_these() -> None:
    target = device(classifier(), images()[:2])
    halves = feature_halves(target.traced)

    def seen(shown: Tensor) -> Look:
        return look(target, Data((shown,)), halves)

    known, mean = seen(images()), seen(images().mean(dim=0).expand_as(images()))
    assert known.features is not None
    assert mean.features is not None
    sight = Sight(known, distances(mean.features, known.features), seen)
    again = sight.look(images()[:4])
    assert torch.equal(sight.kept(again), torch.ones(4, dtype=torch.float64))  # type: ignore[arg-type]
    found, prior = sight.apart(again)
    assert found.tolist() == pytest.approx([0.0] * 4, abs=1e-5)
    assert torch.equal(prior, sight.from_mean[:4])  # type: ignore[index]
    assert sight.kept(Look(None, None)) is None
    assert sight.apart(Look(None, None)) is None
