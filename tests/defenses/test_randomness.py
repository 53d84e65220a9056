"""Masks and noise: the right laws, fresh or a function of the key, and no secret to be seen."""

import pickle
import time

import pytest
import torch
from collabplan.defenses.randomness import Fresh, Keyed, Simulated
from collabplan.records import CollabplanError
from scipy import stats

SECRET = bytes(range(32))


def images(count, seed=0):
    levels = torch.randint(0, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return levels.float() / 255


def keyed(inputs, secret=SECRET, context=b"plan"):
    return Keyed(secret, context, inputs)


SOURCES = {
    "simulated": lambda: Simulated(torch.Generator().manual_seed(5)),
    "fresh": Fresh,
    "keyed": lambda: keyed(images(40)),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_uniform_and_normal_have_their_laws(source):
    uniform, normal = source().uniform("t", [40, 500]), source().normal("t", [40, 500])
    assert uniform.shape == normal.shape == (40, 500)
    assert uniform.dtype == normal.dtype == torch.float32
    assert uniform.min() >= 0
    assert uniform.max() < 1
    # A false alarm once in 10^5 runs: fresh numbers cannot be seeded.
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-5
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 1e-5
    assert abs(float(normal.mean())) < 5 / 20000**0.5
    assert abs(float(normal.var()) - 1) < 5 * (2 / 20000) ** 0.5


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_rows_and_elements_are_independent(source):
    normal = source().normal("t", [40, 2000]).double()
    between = torch.corrcoef(normal) - torch.eye(40)
    assert between.abs().max() < 6 / 2000**0.5
    neighbours = (normal[:, 1:] * normal[:, :-1]).mean()
    assert abs(float(neighbours)) < 5 / (40 * 1999) ** 0.5


def test_fresh_numbers_never_come_again():
    source = Fresh()
    assert not torch.equal(source.uniform("t", [4, 50]), source.uniform("t", [4, 50]))


def test_the_same_generator_state_draws_the_same():
    first, again = (Simulated(torch.Generator().manual_seed(1)).normal("t", [3, 5]) for _ in range(2))
    assert torch.equal(first, again)


def test_a_key_gives_one_input_the_same_numbers_wherever_it_stands():
    inputs = images(6)
    whole = keyed(inputs)
    order = torch.tensor([4, 0, 5, 1])
    part = keyed(inputs[order])
    assert torch.equal(part.uniform("t", [4, 70]), whole.uniform("t", [6, 70])[order])
    assert torch.equal(part.normal("t", [4, 7, 10]), whole.normal("t", [6, 7, 10])[order])
    assert torch.equal(whole.uniform("t", [6, 70]), whole.uniform("t", [6, 70]))


def test_digits_below_a_level_do_not_change_the_mask():
    inputs = images(5)
    noisy = (inputs + (torch.rand(inputs.shape) - 0.5) * 0.9 / 255).clamp(0, 1)
    levels = (inputs * 255).round().to(torch.uint8)
    expected = keyed(inputs).uniform("t", [5, 40])
    for same in (noisy, noisy.double(), levels):
        assert torch.equal(keyed(same).uniform("t", [5, 40]), expected)


def test_input_secret_context_name_and_law_each_change_everything():
    inputs = images(2)
    base = keyed(inputs).uniform("t", [2, 4000])
    one_level = inputs.clone()
    one_level[:, 0, 0, 0] = torch.where(one_level[:, 0, 0, 0] > 0.5, 0.25, 0.75)
    others = [
        keyed(one_level).uniform("t", [2, 4000]),
        keyed(inputs, secret=SECRET[::-1]).uniform("t", [2, 4000]),
        keyed(inputs, context=b"another plan").uniform("t", [2, 4000]),
        keyed(inputs).uniform("u", [2, 4000]),
        keyed([inputs, inputs]).uniform("t", [2, 4000]),
        keyed(inputs.flatten(1)).uniform("t", [2, 4000]),
        keyed(inputs).normal("t", [2, 4000]),
    ]
    for other in others:
        for row in range(2):
            correlation = torch.corrcoef(torch.stack([base[row], other[row]]))[0, 1]
            assert abs(float(correlation)) < 6 / 4000**0.5


def test_token_ids_are_read_as_they_are():
    ids = torch.tensor([[5, 70000], [5, 4464]])  # equal modulo 2^16
    numbers = keyed(ids).uniform("t", [2, 30])
    assert not torch.equal(numbers[0], numbers[1])
    assert torch.equal(keyed(ids.int()).uniform("t", [2, 30]), numbers)


def test_the_secret_is_long_and_never_seen():
    with pytest.raises(CollabplanError, match="at least 16 bytes, got 5"):
        keyed(images(2), secret=b"hello")
    with pytest.raises(CollabplanError, match="got str"):
        keyed(images(2), secret="x" * 40)
    source = keyed(images(2))
    assert repr(source) == str(source) == "Keyed(2 samples, secret hidden)"
    assert SECRET not in vars(source).values()
    with pytest.raises(CollabplanError, match="never stored"):
        pickle.dumps(source)


def test_inputs_that_have_no_canonical_form_are_refused():
    with pytest.raises(CollabplanError, match=r"\[0, 1\]"):
        keyed(images(2) * 255)
    with pytest.raises(CollabplanError, match="NaN"):
        keyed(images(2) * float("nan"))
    with pytest.raises(CollabplanError, match="same number of rows"):
        keyed([images(2), images(3)])
    with pytest.raises(CollabplanError, match="keyed for 2 samples, asked for masks of 3"):
        keyed(images(2)).uniform("t", [3, 4])


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_wide_sample_takes_milliseconds(source):
    made, shape = source(), [40, 16384]
    made.uniform("t", shape)
    start = time.perf_counter()
    made.uniform("t", shape)
    made.normal("t", shape)
    assert (time.perf_counter() - start) / 40 < 0.01  # about 0.7 ms; the machine may be busy
