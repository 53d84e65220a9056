"""What every attack must do. Call `check_attack` on your own.

The checks attack two toy devices: one whose release determines the input, and one whose release is always the same.
An attack may fail where it cannot be carried out, but it must say so with `AttackFailed`: a figure that is worse than
the prior's would read as privacy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from ..defenses.pipeline import Defense
from ..graph import candidate_cuts, trace
from ..records import DefenseRecord, Threat
from ..records.revisions import check_declared
from ..targets.data import Data, InputScaling
from .adversary_view import AdversaryView
from .audit import run_audit
from .audit_request import AuditRequest
from .audit_target import AuditTarget
from .interface import Attack, Effort
from .judgement import BELOW_PRIOR, NOTHING
from .queries import random_queries
from .releases import ObservedReleases
from .threat import TIERS, AttackFailed

EFFORT = Effort(
    "quick", targets=24, fit_samples=80, train_steps=24, iterations=20, optimised_targets=8, width=8,
    until_converged=False,
)  # fmt: skip
SIDE = 8
COUNTS = (24, 40, 80)
"""Target images, intercepted images and images of the attacker."""

BLIND = 0.97
"""Share of the prior's error that must be left where every release is the same."""


def check_attack(attack: Attack) -> None:
    """Run every check on one attack. It takes seconds.

    Args:
        attack: an instance of your class.

    Raises:
        AssertionError: the first check that fails; the message says what was expected and what came.

    Examples:
        >>> from collabplan.attacks import attack_named, check_attack
        >>> check_attack(attack_named("prior"))
    """
    for check in CHECKS:
        check(attack)


class _Constant(nn.Module):
    """Depends on the input by name only."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0 + 1


@cache
def toy_data() -> tuple[Data, Data, Data]:
    """Target images, intercepted images and images of the attacker, each `[n, 1, 8, 8]` with labels `[n]`."""
    images = random_queries(sum(COUNTS), (1, SIDE, SIDE), torch.Generator().manual_seed(17))
    data = Data((images,), (images.mean(dim=(1, 2, 3)) * 3).long().clamp(0, 2))
    targets, intercepted, auxiliary = (data.take(part) for part in torch.split(torch.arange(sum(COUNTS)), list(COUNTS)))
    return targets, intercepted, auxiliary


@cache
def toy_device(*, constant: bool = False) -> AuditTarget:
    """A device without any defense that releases four filtered copies of its input, or always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = _Constant() if constant else nn.Conv2d(1, 4, 3, padding=1)
        rest = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear((1 if constant else 4) * SIDE**2, 3))
    traced = trace(nn.Sequential(first, rest).eval(), (torch.zeros(2, 1, SIDE, SIDE),))
    cut = sorted(candidate_cuts(traced, 1), key=lambda each: each.depth)[1]
    return AuditTarget(traced, cut, Defense.for_cut(DefenseRecord(), cut), InputScaling.from_range(0, 1))


def toy_request() -> AuditRequest:
    """An audit of the toy device."""
    targets, intercepted, auxiliary = toy_data()
    return AuditRequest(toy_device(), targets, auxiliary, intercepted)


def toy_prior() -> Tensor:
    """The mean `[1, 8, 8]` of the attacker's training images."""
    return _view("black-box", toy_device()).training.inputs[0].mean(dim=0)


def _view(threat: Threat, device: AuditTarget) -> AdversaryView:
    _, intercepted, auxiliary = toy_data()
    seen = device.release(intercepted, torch.Generator().manual_seed(1)) if threat == "query-free" else None
    return AdversaryView(device, auxiliary, threat, intercepted=seen)


def _released(attack: Attack, device: AuditTarget) -> ObservedReleases:
    count = EFFORT.optimised_targets if attack.per_image else EFFORT.targets
    targets = toy_data()[0].take(torch.arange(count))
    return device.release(targets, torch.Generator().manual_seed(2))


def _attacked(attack: Attack, threat: Threat, *, constant: bool = False) -> Tensor | None:
    """Reconstructions `[n, 1, 8, 8]` of the first targets; None where the attack fails, as it may."""
    device = toy_device(constant=constant)
    try:
        attacker = attack.fit(_view(threat, device), EFFORT, torch.Generator().manual_seed(3))
        return attacker.reconstruct(_released(attack, device), torch.Generator().manual_seed(4)).images
    except AttackFailed:
        return None


def _error(images: Tensor) -> float:
    """Mean squared error over that of the mean of the attacker's training images."""
    originals = toy_data()[0].inputs[0][: len(images)]
    return float((images - originals).square().mean() / (toy_prior() - originals).square().mean())


def check_declaration(attack: Attack) -> None:
    """It says its name, its threat model and whether it optimises image by image; its class has a revision."""
    check_declared(attack, "an attack")
    threat, per_image = (getattr(attack, each, None) for each in ("threat", "per_image"))
    assert threat in TIERS, f"{attack.name}: `threat` is one of {', '.join(TIERS)}, got {threat!r}"
    assert isinstance(per_image, bool), f"{attack.name}: `per_image` is True or False, got {per_image!r}"


def check_images(attack: Attack) -> None:
    """Reconstructions are finite images of the input's shape in [0, 1], one for each release."""
    images = _attacked(attack, attack.threat)
    if images is None:
        return
    expected = (len(_released(attack, toy_device())), 1, SIDE, SIDE)
    assert tuple(images.shape) == expected, f"{attack.name}: images of shape {expected}, got {tuple(images.shape)}"
    assert images.is_floating_point(), f"{attack.name}: images are floating, got {images.dtype}"
    assert bool(torch.isfinite(images).all()), f"{attack.name}: images hold NaN or infinity; raise AttackFailed instead"
    low, high = (float(end) for end in images.aminmax())
    assert 0 <= low <= high <= 1, f"{attack.name}: images lie in [0, 1], got {low:.3g} to {high:.3g}"


def check_audited(attack: Attack) -> None:
    """Undefended and judged by an audit, it is no worse than the prior, or it is reported as failed with a reason."""
    found = run_audit(toy_request(), [attack], EFFORT, seed=0).record.attacks
    assert [each.attack for each in found] == [attack.name], f"{attack.name}: an audit names it {found[0].attack!r}"
    result = found[0]
    if result.status == "failed":
        assert result.reason, f"{attack.name}: failed without a reason"
        return
    assert result.figures is not None, f"{attack.name}: neither failed nor has figures"
    originals = toy_data()[0].inputs[0][: result.figures.target_count]
    error = result.figures.mse / float((toy_prior() - originals).square().mean())
    assert error <= BELOW_PRIOR or result.figures.index.value >= NOTHING, (
        f"{attack.name}: {error:.2f} times the prior's error on an undefended cut, and it is not reported as failed"
    )


def check_nothing(attack: Attack) -> None:
    """It recovers nothing where every release is the same."""
    images = _attacked(attack, attack.threat, constant=True)
    error = 1.0 if images is None else _error(images)
    assert error >= BLIND, (
        f"{attack.name}: {error:.2f} times the prior's error where every release is the same; it looks at what no "
        "attacker has"
    )


def check_repeatable(attack: Attack) -> None:
    """The same seeds give the same images, and the data are left as they were."""
    targets, intercepted, auxiliary = toy_data()
    released = _released(attack, toy_device())
    before = [part.inputs[0].clone() for part in (targets, intercepted, auxiliary)] + [released.rows[0].clone()]
    first, second = (_attacked(attack, attack.threat) for _ in range(2))
    same = first is None if second is None else first is not None and torch.equal(first, second)
    assert same, f"{attack.name}: the same seeds gave different images; draw from the generators that you are given"
    after = [part.inputs[0] for part in (targets, intercepted, auxiliary)] + [_released(attack, toy_device()).rows[0]]
    unchanged = all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert unchanged, f"{attack.name}: it changed the tensors that it was given"


def check_threat(attack: Attack) -> None:
    """A weaker attacker than it declares cannot carry it out."""
    for weaker in TIERS[: TIERS.index(attack.threat)]:
        images = _attacked(attack, weaker)
        assert images is None, (
            f"{attack.name}: declares {attack.threat} and works for a {weaker} attacker; declare {weaker}, and reach "
            "the device through the AdversaryView alone, which refuses what a tier does not permit"
        )


CHECKS: tuple[Callable[[Attack], None], ...] = (
    check_declaration, check_images, check_audited, check_nothing, check_repeatable, check_threat
)  # fmt: skip
"""The suite, for a test with a case for each check."""
