"""Joins the profiles of two machines for planning: the edge's prefixes with the cloud's suffixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..records import CutProfile, MismatchError, Profile, Timing


@dataclass(frozen=True, slots=True)
class JoinedCut:
    """One cut with the edge's prefix and the cloud's suffix, in milliseconds for the whole batch.

    Attributes:
        cut: the edge's record.
        edge: None at cloud-only, where the edge runs nothing.
        cloud: None at edge-only, where the cloud runs nothing.
        interpolated: one of the timings was not measured at this cut.
    """

    cut: CutProfile
    edge: Timing | None
    cloud: Timing | None
    interpolated: bool


@dataclass(frozen=True)
class JoinedProfile:
    """An edge profile and a cloud profile of one model. Where one machine has both roles, they are the same profile."""

    edge: Profile
    cloud: Profile
    cuts: dict[str, JoinedCut]

    def __iter__(self) -> Iterator[JoinedCut]:
        """The cuts from the input to the output."""
        return iter(self.cuts.values())

    def with_cut(self, cut: JoinedCut) -> JoinedProfile:
        """A copy with one more cut, as the last."""
        return replace(self, cuts={**self.cuts, cut.cut.id: cut})

    @property
    def batch(self) -> int:
        """Samples per run, the same in both profiles."""
        return self.edge.batch


def join(edge: Profile, cloud: Profile | None = None) -> JoinedProfile:
    """The profiles of two machines as one.

    The weights may differ (two devices may profile in two dtypes), the structure may not.

    Args:
        edge: of role *edge* or *both*.
        cloud: of role *cloud* or *both*; None: `edge` serves for both sides.

    Raises:
        MismatchError: structures, torch versions, batches or candidate cuts differ, or a profile has the wrong role.

    Examples:
        >>> import torch
        >>> from collabplan.graph import trace
        >>> from collabplan.profilers import join, profile_model
        >>> from collabplan.records import TargetIdentity
        >>> traced = trace(torch.nn.Linear(3, 2), torch.ones(1, 3))
        >>> joined = join(profile_model(traced, target=TargetIdentity(spec="example"), seconds=0.05))
        >>> [each.cut.name for each in joined]
        ['cloud-only', 'edge-only']
    """
    cloud = edge if cloud is None else cloud
    _require_role(edge, "edge")
    _require_role(cloud, "cloud")
    cloud.model.require_same(edge.model, record="the cloud profile", weights=False)
    if edge.batch != cloud.batch:
        raise MismatchError(
            f"the edge profile is for batch {edge.batch}, the cloud profile for batch {cloud.batch}; profile both with "
            "the same --batch"
        )
    suffixes = {cut.id: cut for cut in cloud.cuts}
    common = sum(cut.id in suffixes for cut in edge.cuts)
    if common != len(edge.cuts) or common != len(suffixes):
        raise MismatchError(
            f"the edge profile has {len(edge.cuts)} cuts, the cloud profile {len(suffixes)}, {common} in common; "
            "profile both with the same --max-crossing"
        )
    return JoinedProfile(edge, cloud, {cut.id: _joined(cut, suffixes[cut.id]) for cut in edge.cuts})


def _joined(edge: CutProfile, cloud: CutProfile) -> JoinedCut:
    return JoinedCut(edge, edge.edge, cloud.cloud, edge.interpolated or cloud.interpolated)


def _require_role(profile: Profile, role: str) -> None:
    if profile.role not in ("both", role):
        raise MismatchError(
            f"a profile of role {profile.role} (made on {profile.device.name}) was given as the {role} profile; "
            f"profile that machine with --role {role} or --role both"
        )
