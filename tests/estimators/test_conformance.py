"""Every estimator does what estimators do; and the suite notices one that does not."""

import dataclasses
import inspect

import outside_estimator
import pytest
import torch
from collabplan.estimators import ESTIMATORS, Components, CutLeakage, check_estimator, estimator_named
from collabplan.estimators.conformance import CHECKS
from collabplan.estimators.interface import Estimate
from collabplan.estimators.mine import Mine
from collabplan.estimators.sandwich import Sandwich
from outside_estimator import PlainGaussian


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_conforms(name, check):
    check(Mine(seeds=1, steps=100) if name == "mine" else estimator_named(name))


def test_an_estimator_of_forty_lines_conforms_and_is_reported_beside_the_leakage_index(defend, cut_of):
    assert len(inspect.getsource(outside_estimator).splitlines()) <= 40
    check_estimator(PlainGaussian())
    inputs = torch.rand(100, 6, generator=torch.Generator().manual_seed(0))
    defense = defend(inputs, bits=None, noise="gaussian", noise_std=0.5)
    shared = CutLeakage([inputs], Components.of(inputs), cut_of(defense))
    found = shared.under(defense, generator=torch.Generator().manual_seed(0), estimators=[PlainGaussian()])
    assert [each.estimator for each in found.estimates] == ["plain-gaussian"]
    assert 0 < found.estimates[0].value_nats < 3


class Flawed:
    """The sandwich, but for one flaw."""

    name, revision = "flawed", 1

    def __init__(self, flaw):
        self.flaw = flaw

    def estimate(self, channel, generator):
        return self.flaw(Sandwich().estimate(channel, generator), channel)


def _too_low(found, _):
    return dataclasses.replace(found, value=found.value / 3, lower=found.value / 3, upper=found.value / 2)


def _disordered(found, _):
    return dataclasses.replace(found, lower=found.upper, upper=found.lower)


def _never_quite_zero(found, _):
    return dataclasses.replace(found, value=found.value + 1e-9, upper=found.upper + 1e-9)


def _random(found, _):
    return dataclasses.replace(found, value=found.value + 1e-9 * torch.rand(()).item() * (found.value > 0))


def _meddling(found, channel):
    channel.inputs.mul_(2)
    return found


FLAWS = {
    _too_low: "where the truth is 1",
    _disordered: "above the value",
    _never_quite_zero: "exactly 0",
    _random: "the same seed",
    _meddling: "changed the channel",
    lambda found, _: dataclasses.replace(found, samples=7): "says 7 samples of 300",
    lambda found, _: dataclasses.replace(found, units="bits"): "expected nats",
    lambda found, _: dataclasses.replace(found, meaning="bound"): "there is no bound",
    lambda found, _: dataclasses.replace(found, saturated=True): "says saturated",
}


@pytest.mark.parametrize(("flaw", "message"), FLAWS.items(), ids=FLAWS.values())
def test_a_flaw_is_noticed(flaw, message):
    with pytest.raises(AssertionError, match=f"flawed: .*{message}"):
        check_estimator(Flawed(flaw))


class Undaunted:
    """Answers whatever it is given."""

    name, revision = "undaunted", 1

    def estimate(self, channel, generator):
        few = Estimate(0.0, None, None, meaning="surrogate", saturated=False, samples=1, assumes="nothing")
        return few if len(channel) < 2 else Sandwich().estimate(channel, generator)


@pytest.mark.parametrize("declared", [{"revision": None}, {"revision": "1"}, {"name": ""}])
def test_a_missing_name_or_revision_is_noticed(declared):
    with pytest.raises(AssertionError, match=r"name|revision"):
        check_estimator(type("Undeclared", (Flawed,), declared)(lambda found, _: found))


def test_an_estimate_from_one_sample_is_noticed():
    with pytest.raises(AssertionError, match="one sample must be refused"):
        check_estimator(Undaunted())
