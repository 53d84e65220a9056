"""Who owns which of a target's images when its cuts are attacked."""

from __future__ import annotations

from dataclasses import replace

from ..planner.roles import Roles
from ..targets import Data
from ..targets.target import SPLIT_SEED, Finding, TargetData

BATCH_OF_IMAGES = 4
"""Dimensions of a batch of images."""


def divide(data: TargetData) -> tuple[Roles, list[Finding]]:
    """The roles of the target's images, and findings about them; see `Roles.divide`."""
    sensitive = None
    if data.sensitive_labels is not None:
        search, confirm = Data(data.validation.inputs, data.sensitive_labels).splits(SPLIT_SEED)
        assert search.labels is not None
        assert confirm.labels is not None
        sensitive = (confirm.labels, search.labels)
    roles = Roles.divide(
        data.search,
        data.confirm,
        attacker=data.attacker,
        train=data.train,
        other=data.other_attacker,
        sensitive=sensitive,
        region=data.region,
        seed=SPLIT_SEED,
    )
    if data.attacker is not None:
        roles = replace(roles, source=data.attacker_source)
    what = "images" if any(tensor.ndim == BATCH_OF_IMAGES for tensor in roles.targets.inputs) else "samples"
    twins = len(set(roles.targets.sample_hashes()) & set(roles.auxiliary.sample_hashes()))
    apart = "none of them is a target"
    if twins:
        apart = f"{twins:,} of them occur among the targets too, so that attacks look stronger than they are"
    findings = [
        Finding("targets", f"{len(roles.targets):,} {what}, the confirm split of validation_data"),
        Finding(f"attacker's {what}", f"{len(roles.auxiliary):,}, from {roles.source}; {apart}"),
        *[finding for finding in data.findings if finding.what == "pixels"],
    ]
    return roles, findings
