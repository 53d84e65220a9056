"""Matrices in training: gradients pass through rounding, and codes keep the size that the ranges are for."""

from __future__ import annotations

import pytest
import torch
from collabplan.defenses import Defense, ProjectionMatrices, defense_of
from collabplan.estimators import EdgeActivations
from collabplan.estimators.projection_fit import ProjectionFits
from collabplan.graph import Cut, candidate_cuts, trace
from collabplan.planner.trained_projection import DECODER_PACE, ENCODER_PACE, TrainedProjection
from collabplan.targets import Data
from torch import Tensor, nn

COARSE, EXACT = "projection:share=0.5 quantizer:bits=2", "projection:share=0.5 quantizer:none"


@pytest.fixture(scope="module")
def activations() -> EdgeActivations:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 4))
    return EdgeActivations(trace(model.eval(), (torch.rand(2, 1, 6, 6),)))


@pytest.fixture(scope="module")
def data() -> Data:
    return Data((torch.rand(80, 1, 6, 6, generator=torch.Generator().manual_seed(1)),))


@pytest.fixture(scope="module")
def cut(activations: EdgeActivations) -> Cut:
    cuts = candidate_cuts(activations.traced)
    return next(cut for cut in cuts if cut.kind == "proper" and cut.crossing[0].sample_shape == (6, 4, 4))


@pytest.fixture(scope="module")
def rows(activations: EdgeActivations, cut: Cut, data: Data) -> tuple[Tensor, ...]:
    return activations.rows(cut, data)


def in_training(activations: EdgeActivations, cut: Cut, data: Data, text: str) -> TrainedProjection:
    defense, note = ProjectionFits.of(activations, data, [defense_of(text)], seed=0).bound(defense_of(text), cut)
    assert not note
    calibrated: Defense = defense.calibrate(activations.rows(cut, data))
    assert calibrated.matrices is not None
    return TrainedProjection(calibrated, calibrated.matrices)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def assert_same(found: ProjectionMatrices, wanted: ProjectionMatrices) -> None:
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor)


def test_training_starts_from_the_fitted_matrices(activations, cut, data):
    training = in_training(activations, cut, data, COARSE)
    fitted = training.defense.matrices
    assert fitted is not None
    assert_same(training.matrices, fitted)


def test_encoder_and_decoder_learn_at_rates_of_their_own(activations, cut, data):
    training = in_training(activations, cut, data, COARSE)
    encoder, decoder = training.groups(0.01)
    assert (encoder["lr"], decoder["lr"]) == (0.01 * ENCODER_PACE, 0.01 * DECODER_PACE)
    assert [list(each.shape) for each in encoder["params"] + decoder["params"]] == [[3, 6], [6, 3]]
    assert all(each.requires_grad for each in encoder["params"] + decoder["params"])
    for given in encoder["params"] + decoder["params"]:
        assert float(given.detach().square().mean()) == pytest.approx(1), "in units of their own size"


def test_without_rounding_a_tensor_is_only_projected(activations, cut, data, rows):
    training = in_training(activations, cut, data, EXACT)
    (given,), _ = training.simulate(rows, draws())
    matrices, crossing = training.matrices, training.defense.crossing
    (wanted,) = matrices.decoded_in_graph(crossing, matrices.encoded_in_graph(crossing, rows))
    torch.testing.assert_close(given, wanted)


def test_rounding_changes_what_is_received_and_no_gradient_of_the_encoder(activations, cut, data, rows):
    weights = torch.rand(rows[0].shape, generator=draws())
    received, gradients = [], []
    for text in (COARSE, EXACT):
        training = in_training(activations, cut, data, text)
        (given,), (clean,) = training.simulate(rows, draws())
        assert clean.shape == (len(rows[0]), 3, 4, 4)
        (given * weights).sum().backward()
        received.append(given.detach())
        gradients.append(next(iter(training.trained["encode"].values())).grad)
    assert not torch.allclose(received[0], received[1], atol=1e-3)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients)


def test_the_same_seed_draws_the_same_masks(activations, cut, data, rows):
    text = "projection:share=0.5 dropout:element:0.5 quantizer:bits=4"
    found = [in_training(activations, cut, data, text).simulate(rows, draws())[0][0] for _ in range(2)]
    assert torch.equal(*found)


def test_codes_are_brought_to_the_size_of_the_ranges_whatever_the_encoder_has_become(activations, cut, data, rows):
    training = in_training(activations, cut, data, COARSE)
    with torch.no_grad():
        for each in training.trained["encode"].values():
            each *= 40
    for _ in range(60):
        _, (clean,) = training.simulate(rows, draws())
    torch.testing.assert_close(clean.detach().square().mean(dim=(0, 2, 3)), torch.ones(3), rtol=1e-3, atol=1e-3)


def test_finished_codes_have_unit_size_over_all_batches_and_decode_as_before(activations, cut, data, rows):
    training = in_training(activations, cut, data, COARSE)
    with torch.no_grad():
        for each in training.trained["encode"].values():
            each *= torch.tensor([0.1, 1.0, 7.0])[:, None]
    before, crossing = training.matrices, training.defense.crossing
    finished = training.finished((tensor,) for tensor in rows[0].split(20))
    (codes,) = finished.encoded_in_graph(crossing, rows)
    torch.testing.assert_close(codes.square().mean(dim=(0, 2, 3)), torch.ones(3), rtol=1e-4, atol=1e-4)
    (decoded,) = finished.decoded_in_graph(crossing, (codes,))
    (wanted,) = before.decoded_in_graph(crossing, before.encoded_in_graph(crossing, rows))
    torch.testing.assert_close(decoded, wanted, rtol=1e-4, atol=1e-4)
    assert not any(tensor.requires_grad for tensor in finished.tensors.values())
