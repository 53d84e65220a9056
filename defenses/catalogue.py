"""Which stages there are: the built-in ones, and those that this process was given.

A plan names its custom stages, and a name never leads to an import: the class is registered by whoever passes it from
Python or by the target file that lists it in `defense_stages`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

from ..records import CustomRecord, DefenseRecord, RecordError, hash_json
from ..records.revisions import revisions_of
from .dropout import DropoutStage
from .interface import CustomStage
from .noise import NoiseStage
from .projection import ProjectionStage
from .quantizer import QuantizerStage

BUILT_IN: Mapping[str, type[ProjectionStage | DropoutStage | NoiseStage | QuantizerStage]] = {
    stage.name: stage for stage in (ProjectionStage, DropoutStage, NoiseStage, QuantizerStage)
}

_known: dict[str, type[CustomStage]] = {}


def register(*stages: type[CustomStage] | CustomStage) -> None:
    """Make custom stages known to this process, by their names; the latest class of a name counts.

    Raises:
        RecordError: a name that no custom stage can have.
    """
    for stage in stages:
        kind = stage if isinstance(stage, type) else type(stage)
        CustomRecord(name=kind.name, revision=kind.revision)
        _known[kind.name] = kind


def known_stages() -> dict[str, type[CustomStage]]:
    """The custom stages that this process was given, by name."""
    return dict(_known)


def custom_stage(record: CustomRecord) -> CustomStage:
    """The stage that a record names.

    Raises:
        RecordError: this process was not given its class, or has another revision of it.
    """
    kind = _known.get(record.name)
    if kind is None:
        there = ", ".join(sorted(_known)) or "none"
        raise RecordError(
            f"the defense stage {record.name!r} is not part of collabplan; list its class in the target file's "
            f"defense_stages, or pass it from Python (known here: {there})"
        )
    if kind.revision != record.revision:
        raise RecordError(
            f"the defense stage {record.name!r} is of revision {record.revision} there and {kind.revision} here; use "
            "the class that it was made with, or make it again"
        )
    return kind.with_parameters(record.parameters)


def stage_revisions(defense: DefenseRecord) -> dict[str, int]:
    """Which code a defense's figures depend on: each stage's revision, and a hash of a custom one's source.

    Examples:
        >>> stage_revisions(DefenseRecord())
        {}
    """
    customs = [type(custom_stage(record)) for record in defense.customs]
    built_in = [BUILT_IN[stage.stage] for stage in defense.stages if not isinstance(stage, CustomRecord)]
    return revisions_of("stage", [*built_in, *customs]) | _sources(customs)


def current_revisions() -> dict[str, int]:
    """The revision of every stage that is part of collabplan.

    Examples:
        >>> sorted(current_revisions())
        ['stage:dropout', 'stage:noise', 'stage:projection', 'stage:quantizer']
    """
    return revisions_of("stage", BUILT_IN.values())


def _sources(kinds: Iterable[type[CustomStage]]) -> dict[str, int]:
    """Whoever edits a custom stage may forget to raise its revision; its source then tells."""
    found = {}
    for kind in kinds:
        try:
            found[f"source:{kind.name}"] = int(hash_json(inspect.getsource(kind))[:8], 16)
        except (OSError, TypeError):
            continue
    return found
