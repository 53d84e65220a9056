"""Attacks on an accelerator: every one runs there, finds what it finds on the CPU, and goes on if memory runs out."""

from __future__ import annotations

import gc

import pytest
import torch
from attack_views import EFFORT, digits, network
from collabplan.attacks import ATTACKS, AuditRequest, AuditTarget, Effort, attack_named, run_audit
from collabplan.attacks import training as trainings
from collabplan.attacks.likelihood import MaximumLikelihood
from collabplan.defenses import Defense
from collabplan.graph import candidate_cuts, trace
from collabplan.profilers.placement import on_device
from collabplan.records import CollabplanError
from collabplan.targets import InputScaling
from defense_records import defense_record
from fake_device import DEVICE, fake_device
from torch import nn

TINY = Effort("quick", 24, 60, 4, 2, 2, 8, False)
SUITE = {name: attack_named(name) for name in ATTACKS} | {"likelihood": MaximumLikelihood(priors=((1e-2, 1e-2),))}
"""Every attack; the likelihood with one prior, since each is tried with 50 steps at least."""

BY_DEVICE = {"latent"}
"""Attacks whose draws are named by the device, so that their figures differ from those on the CPU."""


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    return trace(network(nn.Conv2d(1, 6, 3, padding=1), 6).eval(), (digits()[0].inputs[0][:2],))


@pytest.fixture
def little_to_collect():
    """Each halving collects garbage: what was imported need not be searched for it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def audited(placed, attacks, device="cpu", effort=TINY):
    cut = sorted(candidate_cuts(placed, 1), key=lambda each: each.depth)[1]
    defense = Defense(defense_record(dropout="element", rate=0.3, bits=None), cut.crossing)
    targets, intercepted, auxiliary = digits()
    target = AuditTarget(placed, cut, defense, InputScaling.from_range(0, 1), device=device)
    request = AuditRequest(target, targets, auxiliary, intercepted)
    found = run_audit(request, [SUITE[name] for name in attacks], effort, seed=0, strongest=True).record
    return {result.attack: result for result in found.attacks}


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
def test_every_attack_runs_on_the_device_and_finds_what_it_finds_on_the_cpu(traced, monkeypatch):
    alone = audited(traced, SUITE)
    with fake_device(monkeypatch) as device:
        found = audited(on_device(traced, DEVICE), SUITE, DEVICE)
    assert device.ran
    assert found.keys() == alone.keys()
    for name, result in found.items():
        assert (result.figures is None) == (alone[name].figures is None), name
        if result.figures is not None and not any(name.startswith(each) for each in BY_DEVICE):
            assert result.figures.index.value == pytest.approx(alone[name].figures.index.value, abs=1e-5), name


@pytest.mark.usefixtures("little_to_collect")
def test_where_the_memory_runs_out_the_batch_is_halved_and_the_attacks_go_on(traced, monkeypatch):
    names = ("prior", "inverse", "recognition", "likelihood")
    alone = audited(traced, names)
    with fake_device(monkeypatch) as device:
        placed = on_device(traced, DEVICE)
        device.room = 20
        found = audited(placed, names, DEVICE)
    assert device.refused
    for name, result in found.items():
        assert result.figures is not None
        assert result.figures.index.value == pytest.approx(alone[name].figures.index.value, abs=0.15), name


def test_a_step_in_parts_is_the_same_step():
    torch.manual_seed(0)
    images, wanted = torch.randn(200, 5), torch.randn(200, 3)

    def trained(room):
        torch.manual_seed(1)
        net = nn.Linear(5, 3)

        def loss(network, positions, _):
            if len(positions) > room:
                raise torch.OutOfMemoryError("full")
            return nn.functional.mse_loss(network(images[positions]), wanted[positions])

        draws = torch.Generator().manual_seed(2)
        return trainings.train(net, loss, lambda _: 1.0, 200, EFFORT, draws)[0].weight

    assert torch.allclose(trained(64), trained(10), atol=1e-5)


@pytest.mark.usefixtures("little_to_collect")
def test_one_image_that_does_not_fit_ends_the_audit_in_one_line(traced, monkeypatch):
    with fake_device(monkeypatch) as device:
        placed = on_device(traced, DEVICE)
        device.room = 0
        with pytest.raises(CollabplanError, match="for one sample at a time"):
            audited(placed, ("prior",), DEVICE)
