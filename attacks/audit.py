"""The suite against one (cut, defense): every attack that a threat model permits. The worst of them counts.

Each finished attack is kept, named by everything that made it, so an interrupted audit repeats none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..records import ALONE, Audit, Exchange
from .artifact_cache import ArtifactCache
from .audit_data import AuditData
from .audit_request import AuditRequest, attack_variants
from .audit_run import AuditRun, Made
from .excess import over_class_mean
from .interface import Attack, Effort
from .invariants import failed, less_from_more_releases
from .judgement import PICTURED
from .race import RACED, Runner
from .relay import raced
from .tiers import tier_figures


@dataclass(frozen=True, eq=False)
class AuditOutcome:
    """An audit with its pictures.

    Attributes:
        record: all figures.
        originals: the first target images, `[n, *image_shape]` in [0, 1].
        pictures: by attack, its reconstructions of these.
    """

    record: Audit
    originals: Tensor
    pictures: Mapping[str, Tensor]


def run_audit(
    request: AuditRequest,
    attacks: Sequence[Attack],
    effort: Effort,
    *,
    seed: int,
    folder: Path | None = None,
    artifacts: ArtifactCache | None = None,
    strongest: bool = False,
    naive: bool = True,
    racing: bool = True,
    raced_for: Sequence[str] = RACED,
    exchange: Exchange = ALONE,
    step: Callable[[str], None] = lambda _: None,
) -> AuditOutcome:
    """Run the suite of attacks against one (cut, defense), and judge it.

    Args:
        request: the device, the images to recover, and what attackers have.
        attacks: which to run. `ALWAYS` names those that should be among them.
        effort: how much work each may spend.
        seed: of all draws; the same seed gives the same figures.
        folder: where finished attacks are kept; None keeps nothing.
        artifacts: given to several audits of one model, it saves what they have in common.
        strongest: only the variant of each attack that knows most: a third of the cost, for a search to steer by.
        naive: also attackers who do not know the defense.
        racing: attacks that cannot lead are not run to their end (`race.py`), unless the audit steers a search.
        raced_for: the figures that they race for; others may be higher once everybody is run to the end.
        exchange: shares the finished attacks in `folder` with other machines.
        step: called with the name of each step as it begins.

    Raises:
        CollabplanError: too little data, or a model that attacks do not apply to.
        TimeUp: a deadline has passed (`attacks.time_limit`). Finished attacks are kept, the one at hand is not.

    Examples:
        >>> from collabplan.attacks import attack_named, run_audit
        >>> from collabplan.attacks.conformance import EFFORT, toy_request
        >>> outcome = run_audit(toy_request(), [attack_named("prior"), attack_named("ridge")], EFFORT, seed=0)
        >>> [tier.threat for tier in outcome.record.tiers]
        ['query-free', 'black-box']
    """
    data = AuditData(request, effort, seed, artifacts or ArtifactCache(seed))
    run = AuditRun(data, folder, exchange, steering=strongest)
    variants = attack_variants(request, attacks, effort, strongest=strongest, naive=naive)
    runners = [runner for variant in variants for runner in run.runners(variant)]
    # A device that was captured may differ from the one that the race would be run on.
    if racing and not strongest and not request.captured:
        made = raced(run, runners, step, raced_for)
    else:
        whole = [(runner, data.effort) for runner in runners]
        found_by = {runner: _carried_out(run, runner, step) for runner, _ in run.free(whole)}
        made = [found_by[runner] for runner in runners]
    made = run.trained_on(made, step)
    found = [each.result for each in made]
    under_trained = less_from_more_releases(found)
    results = failed(found, under_trained)
    run.data.artifacts.leave_defense()  # fitted attacks may be large, and no other audit asks for them
    step("linkage")
    linkage = run.linkage()
    step("attributes")
    attributes = run.attributes()
    step("floors")
    floors = run.floors()
    target, cut = request.target, request.target.cut
    record = Audit(
        cut_id=cut.id,
        cut_name=cut.name,
        cut_kind=cut.kind,
        depth=cut.depth,
        payload_bytes=target.payload_bytes,
        defense=target.record,
        effort=effort.name,
        accuracy=request.accuracy,
        attacks=results,
        linkage=linkage,
        attributes=attributes,
        tiers=over_class_mean(tier_figures(results, linkage, attributes, lower_bound=effort.name == "quick"), floors),
        floors=floors,
        chance=1 / run.data.gallery_count,
        notes=(*run.notes, *(f"{each.attack} is {each.reason}" for each in under_trained)),
    )
    run.keep_gallery(record, made)
    pictures = {each.result.attack: each.pictures for each in made if each.pictures is not None}
    return AuditOutcome(record, run.data.images[:PICTURED], pictures)


def _carried_out(run: AuditRun, runner: Runner, step: Callable[[str], None]) -> Made:
    step(runner.label)
    return run.made(runner)
