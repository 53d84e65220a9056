"""Two machines profiled apart, joined at planning: the edge's prefixes with the cloud's suffixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..records import CutProfile, MismatchError, Profile, Timing


@dataclass(frozen=True, slots=True)
class JoinedCut:
    """One cut with the edge's prefix and the cloud's suffix, in milliseconds for the whole batch.

    `edge` is None at cloud-only, `cloud` at edge-only: there is nothing to run there. All else is
    the edge's record.
    """

    cut: CutProfile
    edge: Timing | None
    cloud: Timing | None
    interpolated: bool


@dataclass(frozen=True)
class JoinedProfile:
    """An edge profile and a cloud profile of one model; the same profile twice where one machine has both roles."""

    edge: Profile
    cloud: Profile
    cuts: dict[str, JoinedCut]

    def __iter__(self) -> Iterator[JoinedCut]:
        """The cuts from the input to the output."""
        return iter(self.cuts.values())

    def with_cut(self, cut: JoinedCut) -> JoinedProfile:
        """With one cut more, as the last."""
        return replace(self, cuts={**self.cuts, cut.cut.id: cut})

    @property
    def batch(self) -> int:
        """Samples per run, the same in both profiles."""
        return self.edge.batch


def join(edge: Profile, cloud: Profile | None = None) -> JoinedProfile:
    """The profiles of two machines as one; `cloud` None takes one profile of role *both* for both sides.

    The weights may differ (two devices may profile in two dtypes), the structure may not.

    Raises:
        MismatchError: another structure or torch, another batch, other candidate cuts, or a profile
            whose role lacks what is asked of it.
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
