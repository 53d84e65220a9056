"""Every estimator does what estimators do; and the suite notices one that does not."""

import dataclasses

import pytest
from collabplan.estimators import ESTIMATORS, check_estimator, estimator_named
from collabplan.estimators.conformance import CHECKS
from collabplan.estimators.mine import Mine
from collabplan.estimators.sandwich import Sandwich
from collabplan.records import CollabplanError


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_conforms(name, check):
    check(Mine(seeds=1, steps=100) if name == "mine" else estimator_named(name))


class Optimist:
    """Half of the truth, whatever is asked."""

    name = "optimist"

    def estimate(self, channel, generator):
        found = Sandwich().estimate(channel, generator)
        return dataclasses.replace(found, value=found.value / 3, lower=found.value / 3, upper=found.value / 2)


def test_an_optimist_is_noticed():
    with pytest.raises(AssertionError, match="optimist"):
        check_estimator(Optimist())


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(CollabplanError, match="kde, sandwich, logdet, ksg, mine"):
        estimator_named("kd")
