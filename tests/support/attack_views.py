"""Small devices to attack: the embedded digits at 16 x 16, cut behind layers whose inverse is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from collabplan.attacks import AdversaryView, Attack, AuditTarget, Effort
from collabplan.defenses import Defense
from collabplan.estimators import EdgeActivations
from collabplan.graph import TracedGraph, candidate_cuts, trace
from collabplan.records import DefenseRecord, Threat, hash_tensors
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from torch import Tensor, nn
from torch.nn.functional import interpolate

SIDE = 16
EFFORT = Effort("quick", 100, 600, 125, 120, 8, 8, False)
SCALING = InputScaling.from_range(0, 1)


@cache
def digits() -> tuple[Data, Data, Data]:
    """Targets, intercepted and the attacker's images: 200, 200 and 600."""
    from sklearn.datasets import load_digits

    found = load_digits()
    small = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    images = interpolate(small, size=SIDE, mode="bilinear", align_corners=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    data = Data((images[order],), torch.tensor(found.target)[order])
    return tuple(data.take(part) for part in torch.arange(1000).split([200, 200, 600]))  # type: ignore[return-value]


class Constant(nn.Module):
    """What crosses is the same for every input, though it depends on it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0 + 1


def network(first: nn.Module, width: int) -> nn.Module:
    """`first`, whose output has `width` channels, and a classifier."""
    return nn.Sequential(first, nn.Conv2d(width, 8, 3, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10))


def first_layer() -> nn.Module:
    """A convolution to six channels, invertible in all but the rarest draws."""
    return seeded(lambda: nn.Conv2d(1, 6, 3, padding=1))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


TRACED: dict[tuple[str, str], TracedGraph] = {}


def traced_network(first: nn.Module, width: int) -> TracedGraph:
    """`network` traced, once per class and weights of `first`."""
    key = (repr(first), hash_tensors(first.state_dict()))
    if key not in TRACED:
        model = seeded(lambda: network(first, width)).eval()
        TRACED[key] = trace(model, (torch.zeros(2, 1, SIDE, SIDE),))
    return TRACED[key]


def audit_target(first: nn.Module, width: int, spec: DefenseRecord | None = None, *, cut: int = 1) -> AuditTarget:
    """The device whose `cut`-th cut (by depth, the raw input being the first) lies behind `first`."""
    return device_at(traced_network(first, width), cut, spec)


def device_at(traced: TracedGraph, cut: int, spec: DefenseRecord | None = None) -> AuditTarget:
    """The device with the `cut`-th cut (by depth, the raw input being the first) of a network for the digits."""
    chosen = sorted(candidate_cuts(traced, 1), key=lambda each: each.depth)[cut]
    defense = Defense.for_cut(spec or defense_record(), chosen)
    if defense.record.bits is not None or defense.record.noise is not None:
        activations = EdgeActivations(traced, cache_bytes=0)
        rows = activations.rows(chosen, digits()[1])
        defense = defense.calibrate(activations.to_graph(chosen, rows))
    return AuditTarget(traced, chosen, defense, SCALING)


def view_of(device: AuditTarget, threat: Threat = "white-box", **options: object) -> AdversaryView:
    """The device as an attacker of this tier meets it."""
    return AdversaryView(device, digits()[2], threat, **options)  # type: ignore[arg-type]


BRIEF = replace(EFFORT, fit_samples=200, train_steps=20, iterations=20, width=16)
"""Where what is found need not be good."""

SHORT = replace(EFFORT, train_steps=40)
"""Where the linear start of a decoder finds nearly all, or there is nothing to find."""


class PartlyRounded(nn.Module):
    """An edge half whose live gradient misses nearly all that crosses; the model's own passes straight through."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.01 * x + x + (torch.round(x * 8) / 8 - x).detach()


def attacked(
    attack: Attack, device: AuditTarget, count: int, effort: Effort = EFFORT, **options: object
) -> tuple[Tensor, Tensor]:
    """Originals and reconstructions of the first targets."""
    place = view_of(device, attack.threat, **options)
    if attack.threat == "query-free":
        place = view_of(
            device, attack.threat, intercepted=device.release(digits()[1], torch.Generator().manual_seed(3))
        )
    attacker = attack.fit(place, effort, torch.Generator().manual_seed(0))
    data = digits()[0].take(torch.arange(count))
    released = device.release(data, torch.Generator().manual_seed(1), queries=place.queries)
    return device.pixels(data), attacker.reconstruct(place.perceived(released), torch.Generator().manual_seed(2)).images


def error(pair: tuple[Tensor, Tensor]) -> float:
    """Mean squared error over that of the mean image."""
    originals, images = pair
    mean = digits()[2].inputs[0].mean(dim=0)
    return float((images - originals).square().mean() / (mean - originals).square().mean())
