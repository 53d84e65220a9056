"""Several machines at one audit: each attack is carried out once, and all of them end with the figures of one alone."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from functools import partial

import pytest
from blended import EFFORT, Blend, growing
from collabplan.attacks import Attack, attack_named, claims, run_audit
from collabplan.attacks.conformance import toy_request
from collabplan.planner.artifacts import open_artifacts
from collabplan.planner.claims import Claims
from forked import Forked

PAUSE_S = 0.1
"""Of every fit: long enough that the machines meet."""


class Told(Blend):
    """It says each fit, and takes its time."""

    def fit(self, view, effort, generator):
        print(f"{self.name} {effort.train_steps}", flush=True)
        time.sleep(PAUSE_S)
        return super().fit(view, effort, generator)


SUITE: tuple[Attack, ...] = (
    *(attack_named(name) for name in ("prior", "ridge")),
    *(Told(f"strong {at}", growing(0.9, 0.03 + at / 1000)) for at in range(2)),
    *(Told(f"weak {at}", growing(0.1, 0.05)) for at in range(3)),
)


def audited(racing, **options):
    return run_audit(toy_request(), SUITE, EFFORT, seed=0, racing=racing, **options).record


def figures(record):
    kept = [result.model_dump(mode="json", exclude={"seconds"}) for result in record.attacks]
    return json.dumps([kept, [tier.model_dump(mode="json") for tier in record.tiers]])


def machine(place, own, racing):
    """It says what it fits, and its figures at last."""
    claims.POLL_S = 0.02
    quicker = partial(Claims, heartbeat_s=0.2, grace_s=2.0)
    pytest.MonkeyPatch().setattr("collabplan.planner.artifacts.Claims", quicker)
    shared = open_artifacts(str(place / "shared"))
    print(figures(audited(racing, folder=place / own / "audits", exchange=shared)))


@pytest.mark.parametrize(("racing", "killed"), [(True, True), (False, False)])
def test_each_attack_is_fitted_once_and_all_machines_agree(tmp_path, racing, killed, capsys):
    alone = figures(audited(racing))
    fitted = capsys.readouterr().out.splitlines()
    with ExitStack() as stack:
        others = [stack.enter_context(Forked(machine, tmp_path, f"machine{at}", racing)) for at in range(2)]
        lost = []
        if killed:
            victim = stack.enter_context(Forked(machine, tmp_path, "victim", racing))
            lost = [victim.stdout.readline().strip()]
            victim.kill()
        outputs = [other.output() for other in others]
    assert {lines[-1] for lines in outputs} == {alone}
    made = [line for lines in outputs for line in lines[:-1]]
    assert sorted(made) == sorted(fitted) or sorted([*made, *lost]) == sorted(fitted)
    assert all(lines[:-1] for lines in outputs), "both had something to do"
