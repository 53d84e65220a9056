"""The names of kept audit results: everything that a result depends on, and the revisions of the code that made it."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

from ..defenses.catalogue import stage_revisions
from ..defenses.pipeline import Defense, seed_marks
from ..records import hash_json, hash_rows
from ..records.revisions import Part, revisions_of, settings_of
from ..targets.data import Data
from .attributes import ATTRIBUTES
from .audit_data import SHIFTS, AuditData
from .floors import FLOORS
from .interface import Attack, Effort, iterated
from .linkage import LINKAGE
from .metrics import JUDGE
from .near_copies import COPIES
from .race import RACE
from .releases import RELEASES

PARTS = (RELEASES, COPIES, JUDGE, LINKAGE, ATTRIBUTES, FLOORS, SHIFTS, RACE)
"""What an audit computes beside its attacks."""


def audit_key(data: AuditData) -> list[Any]:
    """What every result of one audit depends on: the device, the data, the effort and the seeds."""
    request, target = data.request, data.request.target
    return [
        target.traced.identity.model_dump(mode="json"),
        target.cut.id,
        target.record.model_dump(mode="json"),
        stage_revisions(target.record),
        target.tuned_hash,
        target.secret_hash,
        target.device.type,
        [target.scaling.low, target.scaling.high],
        data.targets.content_hash,
        data.gallery.content_hash,
        request.auxiliary.content_hash,
        None if request.intercepted is None else request.intercepted.content_hash,
        None if request.region is None else hash_rows(request.region),
        [[queries, each.content_hash] for queries, each in sorted((request.captured or {}).items())],
        asdict(data.effort),
        data.seed,
        data.artifacts.seed,
    ]


def attack_revisions(attack: Attack) -> dict[str, int]:
    """The revisions behind the figures of one attack."""
    return {**revisions_of("attack", [attack]), **part_revisions(RELEASES, JUDGE, SHIFTS)}


def part_revisions(*parts: Part) -> dict[str, int]:
    """The revisions behind figures that need no attack."""
    return revisions_of("audit", parts)


def attack_key(attack: Attack) -> list[Any]:
    """What tells one attack's results from another's: its name, its class and its settings."""
    return [attack.name, type(attack).__qualname__, settings_of(attack)]


def fit_key(attack: Attack, believed: Defense, auxiliary: Data, effort: Effort) -> str:
    """What a fitted attack depends on beside the cut, where the defense that it believes in draws nothing."""
    return hash_json(
        [
            attack_key(attack),
            attack_revisions(attack),
            believed.record.model_dump(mode="json"),
            None if believed.matrices is None else believed.matrices.sha256,
            stage_revisions(believed.record),
            auxiliary.content_hash,
            asdict(
                effort
                if iterated(attack) is not False
                else replace(effort, train_steps=0, iterations=0, until_converged=False)
            ),
        ]
    )


def fit_seed(attack: Attack, believed: Defense, auxiliary: Data) -> str:
    """What seeds the draws of that fit.

    The wording is fixed: another one would draw other weights, and every figure of such an attack would change.
    """
    return hash_json([_seed_text(attack), seed_marks(believed), auxiliary.content_hash])


def _seed_text(attack: Attack) -> str:
    """`LinearRidge(name='ridge', ...)` of a dataclass; of another class its name, since a `repr` may differ by run."""
    if not is_dataclass(attack):
        return f"{type(attack).__qualname__}({attack.name})"
    shown = ", ".join(f"{field.name}={getattr(attack, field.name)!r}" for field in fields(attack) if field.repr)
    return f"{type(attack).__qualname__}({shown})"
