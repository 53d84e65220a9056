"""Which profiles a search plans with: files given, the last one made here, or one made now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..records import CollabplanError, MismatchError, Profile, load
from ..targets.input_options import InputOptions
from .session import Session
from .workspace import Workspace, require_unchanged


@dataclass(frozen=True, slots=True)
class Profiles:
    """The edge's and the cloud's profile (one profile twice for a single machine), and where they lie."""

    edge: Profile
    cloud: Profile
    said: str

    @property
    def single(self) -> bool:
        """True where one profile stands for both machines."""
        return self.edge is self.cloud


def given_profiles(edge: Path | None, cloud: Path | None) -> Profiles | None:
    """The profiles of `--edge-profile` and `--cloud-profile`; None where neither is given.

    Raises:
        RecordError: a file is not a profile.
        CollabplanError: a single file that is of one role.
    """
    if edge is not None and cloud is not None:
        return Profiles(load(Profile, edge), load(Profile, cloud), f"profiles {edge} (edge) and {cloud} (cloud)")
    path = edge or cloud
    if path is None:
        return None
    profile = load(Profile, path)
    require_both_roles(profile, path)
    return Profiles(profile, profile, f"profile {path}")


def last_profile(workspace: Workspace) -> Profiles:
    """The profile made last here, if its target's file has not changed since.

    Raises:
        RecordError: there is none, or it is damaged.
        TargetError: the target's file is gone or another.
    """
    profile, path = workspace.last_profile()
    require_both_roles(profile, path)
    require_unchanged(profile, path)
    return Profiles(profile, profile, f"last profile {path} of {profile.target.spec}")


def fitting_profile(workspace: Workspace, session: Session) -> Profiles | None:
    """The last profile made here that is of this very target and of both roles; None if there is none."""
    for profile, path in workspace.kept_profiles():
        if _fits(profile, session):
            workspace.remember(path)  # whoever made it may have been killed before
            return Profiles(profile, profile, f"last profile {path} (the target has not changed since)")
    return None


def _fits(profile: Profile, session: Session) -> bool:
    """Whether a profile is of a session's target. One without a file is known by its model's structure."""
    target, structure = session.target, session.traced.identity.structure_hash
    if target.file is None and profile.model.structure_hash != structure:
        return False
    before, now = profile.target, target.identity
    same_file = before.file_sha256 == now.file_sha256 and before.spec == now.spec
    old, new = (InputOptions.kept_in(options) for options in (before.options, now.options))
    same_inputs = (old.inputs, old.batch_dim) == (new.inputs, new.batch_dim)  # data change no latency
    return profile.role == "both" and same_file and same_inputs


def require_both_roles(profile: Profile, path: Path) -> None:
    """Refuse one profile for two machines if it measured only one half."""
    if profile.role == "both":
        return
    other = "cloud" if profile.role == "edge" else "edge"
    raise MismatchError(
        f"profile {path} is only of role {profile.role}; give --{profile.role}-profile and --{other}-profile"
    )


def require_alone(profile: Path, edge: Path | None, cloud: Path | None) -> Path:
    """The profile of both machines. Raises CollabplanError where one of them is given again."""
    if edge is not None or cloud is not None:
        raise CollabplanError("--profile is for both machines; leave it out beside --edge-profile and --cloud-profile")
    return profile
