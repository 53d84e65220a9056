"""The estimate never reassures falsely: its upper end beside what is known to be recoverable."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.estimators import Components, Secrets
from collabplan.estimators.combined import combined_index, unseen_share
from collabplan.estimators.inversion import InversionIndex
from collabplan.estimators.ridge import RidgeIndex
from collabplan.records import Interval
from defense_records import defense_record
from known_maps import MAPS, best_linear, cut_behind, estimated, images
from torch import Tensor, nn

SLACK = 0.02


def test_eighty_noise_images_do_not_hide_that_a_convolution_is_invertible(tmp_path: Path) -> None:
    """The `likelihood` attack reconstructs 0.999; a regression on 80 samples sees 0.01."""
    noise = torch.rand(80, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
    traced, cut = cut_behind(first, noise[:2])
    ((_, leakage),) = estimated(traced, cut, noise, [defense_record()], tmp_path)
    assert leakage.index.high > 0.98
    assert leakage.shown_index is not None
    assert leakage.shown_index.high < 0.1
    assert "80 samples, fewer than 500" in leakage.index_note


@pytest.mark.parametrize("kind", ["noise", "digits"])
@pytest.mark.parametrize("name", MAPS)
def test_the_upper_end_is_not_below_the_best_linear_reconstruction(name: str, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, every = MAPS[name](), images(kind)
    traced, cut = cut_behind(first, every[:2])
    dropped, noised = defense_record(dropout="element", rate=0.5), defense_record(noise="gaussian", noise_std=0.1)
    asked = [defense_record(), dropped, noised]
    for count in (20, 80, 350):
        for record, leakage in estimated(traced, cut, every[:count], asked, tmp_path):
            std = Defense(record, cut.crossing).private.floor.stds[0]
            known = best_linear(first, every, record.rate, std)
            assert leakage.index.high >= known - SLACK, (count, record.text, known)


class Rounded(nn.Module):
    """An invertible layer whose release has no derivative."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(200 * x.flatten(1))


def test_without_a_derivative_what_the_samples_cannot_show_is_added(tmp_path: Path) -> None:
    noise = torch.rand(80, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    traced, cut = cut_behind(Rounded(), noise[:2])
    ((_, leakage),) = estimated(traced, cut, noise, [defense_record()], tmp_path)
    assert leakage.index.value < 0.4
    assert leakage.index.high > 0.95
    assert leakage.inverted_index is None
    assert "no bound from the edge half" in leakage.index_note
    assert "aten.round" in leakage.index_note


def ridge(value: float, *, varies: bool = True) -> RidgeIndex:
    return RidgeIndex(Interval(value=value, low=value, high=value), (), 0.0, varies)


def test_the_upper_end_is_the_greater_of_both_and_the_value_is_what_data_shows() -> None:
    more = combined_index(ridge(0.2), InversionIndex(0.7, 0.8), 1000, lambda: 0.0)
    assert (more.index.low, more.index.value, more.index.high) == (0.2, 0.2, 0.8)
    less = combined_index(ridge(0.9), InversionIndex(0.7, 0.8), 1000, lambda: 0.0)
    assert (less.index.low, less.index.value, less.index.high) == (0.9, 0.9, 0.9)
    assert more.note == less.note == ""


def test_a_release_that_never_varies_stays_at_zero() -> None:
    found = combined_index(ridge(0.0, varies=False), "no edge half", 60, lambda: 0.5)
    assert found.index.high == 0
    assert combined_index(ridge(0.0), "no edge half", 60, lambda: 0.5).index.high == 0.5


def test_what_a_regression_misses_of_the_inputs_themselves_falls_with_the_samples() -> None:
    noise, digits = images("noise").flatten(1), images("digits").flatten(1)
    few, many = (unseen_share(Components.of(noise[:count])) for count in (40, 700))
    assert few > 0.35
    assert many < 0.1
    assert unseen_share(Secrets(Components.of(digits[:40])).numbers) < few  # type: ignore[arg-type]
