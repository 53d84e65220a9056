"""Rows of a tensor beside the places of a sequence: found whatever dimension counts them."""

import pytest
import torch
from collabplan.estimators.token_places import Places, TokenContext, beside, candidate_places


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((16, 5), torch.Size([2, 16, 5])),  # tokens x features
        ((5, 16), torch.Size([2, 16, 5])),  # channels x tokens
        ((4, 16, 3), torch.Size([2, 16, 12])),  # heads x tokens x features
        ((4, 4, 3), torch.Size([2, 16, 3])),  # lines x columns x features
        ((16,), torch.Size([2, 16, 1])),
    ],
)
def test_one_row_per_token_is_among_the_candidates(shape, expected):
    tensor = torch.randn(2, *shape)
    one_to_one = [places for places in candidate_places(shape, 16) if places.one_to_one]
    assert expected in [places.of(tensor).shape for places in one_to_one]


def test_the_whole_sample_is_always_one_of_them_with_all_positions_in_its_row():
    whole = candidate_places((7, 3, 2), 5)[-1]
    assert whole.of(torch.zeros(2, 7, 3, 2)).shape == (2, 1, 42)
    assert whole.slots.tolist() == [[0, 1, 2, 3, 4]]


def test_fewer_rows_than_tokens_hold_several_each():
    strided = next(places for places in candidate_places((8, 64), 16) if places.start == 0 and places.stop == 1)
    assert strided.slots.tolist() == [[2 * row, 2 * row + 1] for row in range(8)]


def test_a_row_more_at_an_end_is_tried_as_either_end():
    shifted = [places.row_of for places in candidate_places((17, 99), 16) if places.rows == 17]
    assert shifted == [tuple(range(16)), tuple(range(1, 17))]


def test_neighbours_are_read_with_each_row_and_zeros_beyond_the_ends():
    tensor = torch.arange(8.0).reshape(1, 4, 2)
    places = Places(0, 1, 4, (0, 1, 2, 3))
    read = TokenContext(0, places, radius=1).of([tensor])
    assert read[0, 0].tolist() == [0, 0, 0, 1, 2, 3]
    assert read[0, 2].tolist() == [2, 3, 4, 5, 6, 7]
    assert torch.equal(TokenContext(0, places, radius=1).of([tensor], torch.tensor([2])), read[:, 2:3])


def test_a_pooled_tensor_is_read_beside_each_row_of_another():
    shapes = [(4, 2), (3,)]
    places = [candidate_places(shape, 4) for shape in shapes]
    rows, whole = places[0][0], places[1][-1]
    reading = TokenContext(0, rows, 0, beside(shapes, 0, [rows, whole]))
    read = reading.of([torch.zeros(2, 4, 2), torch.ones(2, 3)])
    assert read.shape == (2, 4, reading.width(shapes)) == (2, 4, 5)
    assert read[0, 3].tolist() == [0, 0, 1, 1, 1]
