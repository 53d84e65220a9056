"""The `.collabplan` folder of the working directory: profiles, the study, caches.

It ignores itself in git (by a `.gitignore` of its own), so that nothing measured here is committed by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..records import CollabplanError, Profile, RecordError, TargetError, hash_file, load, save, write_text

FOLDER = ".collabplan"
_LAST = "last-profile"


@dataclass(frozen=True, slots=True)
class Workspace:
    """One `.collabplan` folder, which need not exist yet."""

    folder: Path

    @classmethod
    def here(cls) -> Workspace:
        """The workspace of the working directory."""
        return cls(Path(FOLDER))

    def prepare(self) -> Path:
        """Make the folder with its `.gitignore`. Raises CollabplanError where it cannot be written."""
        ignore = self.folder / ".gitignore"
        if self.folder.exists() and not self.folder.is_dir():
            raise CollabplanError(f"{self.folder} is a file; collabplan keeps its work in a folder of that name")
        if not ignore.exists():
            write_text(ignore, "# Made by collabplan; everything here can be made again.\n*\n")
        return self.folder

    def save_profile(self, profile: Profile) -> Path:
        """Keep a profile and remember it as the last one."""
        self.prepare()
        device = profile.device.device.replace(":", "")
        name = f"{profile.model.name}-{profile.model.structure_hash[:8]}-{device}-{profile.dtype}-{profile.role}.json"
        path = self.folder / "profiles" / name
        save(profile, path)
        write_text(self.folder / _LAST, f"profiles/{name}\n")
        return path

    def last_profile(self) -> tuple[Profile, Path]:
        """The profile that was made last here.

        Raises:
            RecordError: none was made, or it is damaged.
        """
        try:
            name = (self.folder / _LAST).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise RecordError(
                f"no profile in {self.folder}; run `collabplan profile TARGET` here first, or give TARGET"
            ) from None
        path = self.folder / name
        return load(Profile, path), path


def require_unchanged(profile: Profile, path: Path) -> None:
    """Refuse a profile whose target file is another now.

    Raises:
        TargetError: the file is gone or has changed since.
    """
    target = profile.target
    if target.file is None or target.file_sha256 is None:
        return
    file = Path(target.file)
    if not file.is_file():
        raise TargetError(f"{file}, which {path} profiled, is gone; give TARGET")
    if hash_file(file) != target.file_sha256:
        raise TargetError(
            f"{file} has changed since it was profiled ({path}); run `collabplan profile {target.spec}` again"
        )
