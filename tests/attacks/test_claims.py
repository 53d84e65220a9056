"""Several machines at one audit: each attack is carried out once, and all of them end with the figures of one alone."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import pytest
import torch
from collabplan.attacks import Attack, Attacker, Effort, Reconstruction, Training, attack_named, claims, run_audit
from collabplan.attacks.conformance import toy_request
from collabplan.planner.artifacts import open_artifacts
from collabplan.planner.claims import Claims
from collabplan.records import Threat
from forked import Forked

EFFORT = Effort("standard", 24, 80, 6400, 3200, 8, 8, until_converged=True)
PAUSE_S = 0.1
"""Of every fit: long enough that the machines meet."""


@dataclass(frozen=True)
class Blend:
    """The linear reconstruction, as far from the mean image as `start` and `gain` for every fourfold steps say."""

    name: str
    start: float
    gain: float
    threat: Threat = "black-box"
    revision: ClassVar[int] = 1
    iterated: ClassVar[bool] = True
    per_image: bool = False

    def fit(self, view, effort, generator):
        print(f"{self.name} {effort.train_steps}", flush=True)
        time.sleep(PAUSE_S)
        inner = attack_named("ridge").fit(view, effort, generator)
        gains = {100: 0, 400: 1, 1600: 2, 6400: 3}[effort.train_steps]
        return Blended(inner, view.pixels(view.training).mean(dim=0), self.start + self.gain * gains)


@dataclass(frozen=True, eq=False)
class Blended:
    inner: Attacker
    mean: torch.Tensor
    factor: float
    training: Training = field(default_factory=lambda: Training(10))

    def reconstruct(self, released, generator):
        images = self.inner.reconstruct(released, generator).images
        return Reconstruction((self.mean + self.factor * (images - self.mean)).clamp(0, 1))


SUITE: tuple[Attack, ...] = (
    *(attack_named(name) for name in ("prior", "ridge")),
    *(Blend(f"strong {at}", 0.9, 0.03 + at / 1000) for at in range(2)),
    *(Blend(f"weak {at}", 0.1, 0.05) for at in range(3)),
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
