"""Distances and masked Gram matrices against the plain computation."""

import pytest
import torch
from collabplan.defenses.pipeline import Defense
from collabplan.estimators.gram import NestedMasks, clean_rows, even_weights, squared_distances
from defense_records import defense_record


def private(defend, *rows, **kind):
    return defend(*rows, **kind).private


def test_distances_of_codes_are_those_of_the_dequantized_rows_in_floors(defend, generator):
    rows = torch.randn(40, 7, 9, generator=generator)
    defense = private(defend, rows)
    (found,) = squared_distances(clean_rows(defense, [rows]))
    (seen,) = defense.observed(defense.release([rows], generator))
    plain = torch.cdist(seen.flatten(1).double(), seen.flatten(1).double()).square() / defense.floor.stds[0] ** 2
    assert torch.allclose(found, plain.fill_diagonal_(0), rtol=1e-6)


def test_equal_rows_have_distance_exactly_zero_others_never(defend, generator):
    rows = torch.randn(30, 600, generator=generator) * 100
    rows[7] = rows[3]
    for bits in (8, None):
        (found,) = squared_distances(clean_rows(private(defend, rows, bits=bits), [rows]))
        assert found[3, 7] == 0
        assert int((found == 0).sum()) == 30 + 2


def test_with_noise_rows_are_not_rounded(defend, generator):
    rows = torch.randn(20, 5, generator=generator)
    defense = Defense(defense_record(noise="gaussian", noise_std=0.1), private(defend, rows).crossing).calibrate([rows])
    clean = clean_rows(defense, [rows])
    assert torch.equal(clean.parts[0], rows.T)
    assert clean.floors == defense.floor.stds


@pytest.mark.parametrize("dropout", ["element", "channel"])
def test_gram_matrices_under_nested_masks_are_the_plain_ones(defend, generator, dropout):
    rows = torch.randn(25, 12, 6, generator=generator)
    rows[:, 4] = 1.0
    defense = private(defend, rows, dropout=dropout, rate=0.5)
    clean = clean_rows(defense, [rows])
    weights = even_weights(clean, 0.1)
    masks = NestedMasks(clean, defense, weights, generator, rates=(0.0, 0.5, 0.9))
    features = (clean.features_of(0, slice(None)) - weights.mean[0][:, None]) * weights.weight[0][:, None]
    kept = [masks.thresholds[0] >= rate for rate in (0.0, 0.5, 0.7, 0.9)]
    assert bool(kept[0].all())
    assert not bool((kept[3] & ~kept[2]).any())
    for rate, keep in zip((0.0, 0.5, 0.7, 0.9), kept, strict=True):
        assert torch.allclose(masks.gram(rate), features[keep].T @ features[keep], atol=1e-3)
        assert torch.allclose(masks.cross(clean.take(torch.arange(5)), rate), masks.gram(rate)[:5], atol=1e-3)
        assert masks.survivors(rate).features == int(keep.sum())
    if dropout == "channel":
        by_channel = masks.thresholds[0].reshape(12, 6)
        assert torch.equal(by_channel.amin(1), by_channel.amax(1))


def test_constant_features_weigh_nothing(defend, generator):
    rows = torch.randn(25, 4, generator=generator)
    rows[:, 2] = 3.0
    clean = clean_rows(private(defend, rows), [rows])
    weights = even_weights(clean, 0.1)
    assert (weights.weight[0] == 0).tolist() == [False, False, True, False]


def test_what_cannot_be_dropped_always_survives(crossing, generator):
    tensors = [torch.randn(9, 4, generator=generator), torch.arange(36).reshape(9, 4)]
    crossed = (crossing(tensors[0], "a"), crossing(tensors[1], "ids"))
    defense = Defense(defense_record(dropout="element", rate=0.9), crossed).calibrate(tensors).private
    clean = clean_rows(defense, tensors)
    masks = NestedMasks(clean, defense, even_weights(clean, 0.1), generator, rates=(0.9,))
    assert masks.survivors(0.999999).parts[1].shape[0] == 4
