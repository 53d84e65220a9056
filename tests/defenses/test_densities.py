"""The exact law of a release: it adds up to one, it agrees with torch's own, and information follows from it."""

import itertools
import math

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.records import CollabplanError
from defense_records import defense_record
from torch import distributions

LAWS = {
    "gaussian": lambda mean, std: distributions.Normal(mean, std),
    "laplace": lambda mean, std: distributions.Laplace(mean, std / math.sqrt(2)),
}
HOLDS = torch.tensor([[-1.0, 0.5], [0.25, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize("kind", LAWS)
def test_plain_noise_is_torchs_own_density(defend, generator, kind):
    h = torch.randn(7, 3, 5)
    defense = defend(h, noise=kind, noise_std=0.2, bits=None)
    released = defense.release([h], generator)
    law = LAWS[kind](h.double(), defense.noise(defense.crossing[0]).std)
    expected = law.log_prob(released[0].double()[:, None]).flatten(2).sum(2)
    assert torch.allclose(defense.log_likelihood(released, [h]), expected, atol=1e-9)


@pytest.mark.parametrize("kind", LAWS)
def test_hidden_element_masks_mix_the_density_with_that_of_zero(defend, generator, kind):
    h = torch.randn(6, 4)
    defense = defend(h, noise=kind, noise_std=0.2, bits=None, dropout="element", rate=0.3)
    (released,) = defense.release([h], generator)
    std = defense.noise(defense.crossing[0]).std
    sent = released.double()[:, None]
    kept = LAWS[kind](h.double(), std).log_prob(sent).exp()
    dropped = LAWS[kind](torch.zeros(()).double(), std).log_prob(sent).exp()
    expected = (0.7 * kept + 0.3 * dropped).log().sum(2)
    assert torch.allclose(defense.log_likelihood([released], [h]), expected, atol=1e-9)


def test_hidden_channel_masks_mix_whole_channels(defend, generator):
    h = torch.randn(5, 3, 2, 2)
    defense = defend(h, noise="gaussian", noise_std=0.2, bits=None, dropout="channel", rate=0.4)
    (released,) = defense.release([h], generator)
    std = defense.noise(defense.crossing[0]).std
    expected = torch.zeros(5, 5).double()
    for mask in itertools.product([0.0, 1.0], repeat=3):
        kept = torch.tensor(mask).reshape(3, 1, 1)
        law = distributions.Normal((h * kept).double(), std)
        weight = 0.6 ** sum(mask) * 0.4 ** (3 - sum(mask))
        expected += weight * law.log_prob(released.double()[:, None]).flatten(2).sum(2).exp()
    assert torch.allclose(defense.log_likelihood([released], [h]), expected.log(), atol=1e-8)


@pytest.mark.parametrize("dropout", ["none", "element", "channel"])
@pytest.mark.parametrize(
    "spec",
    [
        {"noise": "gaussian", "noise_std": 0.2},
        {"noise": "laplace", "noise_std": 0.2},
        {"noise": "gaussian", "noise_std": 0.001},
        {"rounding": "stochastic"},
    ],
    ids=lambda spec: " ".join(map(str, spec.values())),
)
def test_masses_of_all_codes_add_up_to_one(defend, spec, dropout):
    defense = defend(HOLDS, bits=3, dropout=dropout, rate=0.35, **spec)
    codes = torch.cartesian_prod(torch.arange(8), torch.arange(8)).to(torch.uint8)
    mass = defense.log_likelihood([codes], [HOLDS])
    assert mass.shape == (64, 3)
    assert (mass <= 1e-12).all()
    assert torch.allclose(mass.exp().sum(0), torch.ones(3).double(), atol=1e-10)


@pytest.mark.parametrize(
    "spec",
    [
        {"noise": "gaussian", "noise_std": 0.2},
        {"noise": "laplace", "noise_std": 0.2},
        {"rounding": "stochastic"},
        {"noise": "gaussian", "noise_std": 0.2, "dropout": "element", "rate": 0.3},
        {"rounding": "stochastic", "dropout": "channel", "rate": 0.3},
    ],
    ids=lambda spec: " ".join(map(str, spec.values())),
)
def test_masses_are_the_shares_that_releases_show(defend, generator, spec):
    defense = defend(HOLDS, bits=2, **spec)
    for position in range(len(HOLDS)):
        row = HOLDS[position : position + 1]
        (released,) = defense.release([row.expand(20000, 2).contiguous()], generator)
        codes = torch.cartesian_prod(torch.arange(4), torch.arange(4)).to(torch.uint8)
        shares = (released[None] == codes[:, None]).all(2).double().mean(1)
        mass = defense.log_likelihood([codes], [row])[:, 0].exp()
        assert (shares - mass).abs().max() < 5 * 0.5 / 20000**0.5
        assert ((mass > 0) | (shares == 0)).all()


@pytest.mark.parametrize("kind", LAWS)
def test_the_mass_of_a_code_is_that_of_its_interval(defend, kind):
    h = torch.linspace(-1, 1, 21)[:, None]
    defense = defend(h, noise=kind, noise_std=0.05)
    quantizer, std = defense.quantizers[0], defense.noise(defense.crossing[0]).std
    codes = torch.arange(256)
    edges = (torch.arange(1, 256) - 0.5 - quantizer.zero_point).double() * quantizer.step
    below = LAWS[kind](h.double(), std).cdf(edges)
    below = torch.cat([torch.zeros(21, 1), below, torch.ones(21, 1)], dim=1)
    mass = defense.log_likelihood([codes.to(torch.uint8)[:, None]], [h])
    assert torch.allclose(mass.exp().T, below.diff(dim=1), rtol=1e-6, atol=1e-14)


def test_far_codes_keep_a_finite_mass(defend):
    h = torch.tensor([[-1.0], [1.0]])
    codes = torch.arange(256).to(torch.uint8)[:, None]
    mass = defend(h, noise="gaussian", noise_std=0.01).log_likelihood([codes], [h])
    assert torch.isfinite(mass).all()
    assert mass.min() < -1000


def test_own_input_is_never_impossible_under_stochastic_rounding(defend, generator):
    h = torch.randn(40, 5000)
    defense = defend(h, rounding="stochastic")
    own = defense.log_likelihood(defense.release([h], generator), [h])
    assert torch.isfinite(own.diagonal()).all()
    assert torch.isinf(own).sum() == 40 * 39


@pytest.mark.parametrize("kind", LAWS)
def test_information_of_two_points_is_that_of_numeric_integration(defend, generator, kind):
    h = torch.tensor([[0.0], [1.0]])
    defense = defend(h, noise=kind, noise_std=0.7, bits=None)
    grid = torch.linspace(-15, 16, 200001).double()
    density = LAWS[kind](h.double(), 0.7).log_prob(grid).exp()
    mixture = density.mean(0)
    exact = float(torch.trapezoid(torch.special.xlogy(density, density / mixture), grid, dim=1).mean())
    labels = torch.arange(40000) % 2
    table = defense.log_likelihood(defense.release([h[labels]], generator), [h])
    own = table[torch.arange(40000), labels]
    assert float((own - table.logsumexp(1) + math.log(2)).mean()) == pytest.approx(exact, abs=0.01)


def test_tensors_add_and_blocks_do_not_matter(defend, generator, monkeypatch):
    a, b = torch.randn(9, 6), torch.randn(9, 2, 3)
    spec = {"noise": "laplace", "noise_std": 0.1, "dropout": "channel", "rate": 0.2}
    both, first, second = defend(a, b, **spec), defend(a, **spec), defend(b, **spec)
    released = both.release([a, b], generator)
    whole = both.log_likelihood(released, [a, b])
    assert torch.allclose(
        whole, first.log_likelihood(released[:1], [a]) + second.log_likelihood(released[1:], [b]), atol=1e-9
    )
    monkeypatch.setattr("collabplan.defenses.densities.BLOCK", 7)
    assert torch.allclose(both.log_likelihood(released, [a, b]), whole, atol=1e-9)


def test_a_deterministic_release_has_no_density(defend, crossing):
    h = torch.randn(4, 3)
    codes = torch.zeros(4, 3, dtype=torch.uint8)
    for spec in ({}, {"dropout": "element", "rate": 0.5}, {"bits": None}, {"noise": "gaussian"}):
        defense = defend(h, **spec)
        assert not defense.has_density
        with pytest.raises(CollabplanError, match="without noise or random rounding, which has no density"):
            defense.log_likelihood([codes], [h])
    unknown = defend(h, noise="gaussian", noise_std=0.1, rounding="stochastic")
    with pytest.raises(CollabplanError, match="no closed form"):
        unknown.log_likelihood([codes], [h])
    ids = torch.arange(12).reshape(4, 3)
    mixed = Defense(defense_record(noise="gaussian", noise_std=0.1), (crossing(h, "h"), crossing(ids, "ids")))
    assert not mixed.calibrate([h, ids]).has_density
    assert defend(h, noise="gaussian", noise_std=0.1).has_density
    assert defend(h, rounding="stochastic").has_density
