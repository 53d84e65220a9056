"""The `.collabplan` folder of the working directory: profiles, the study, caches.

It ignores itself in git (by a `.gitignore` of its own), so that nothing measured here is committed by chance, and other
users of the machine cannot look into it, since it keeps pictures of private inputs and what was computed from them.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..records import CollabplanError, Profile, RecordError, TargetError, hash_file, load, save, write_text
from ..records.atomic import WORK_FOLDER
from ..records.leftovers import clear_leftovers_below
from ..records.memory import MemoryBudget
from ..records.ownership import belongs_to_others, may_be_read_by_others

log = logging.getLogger(__name__)

_LAST, _PROFILES = "last-profile", "profiles"


@dataclass(frozen=True, slots=True)
class Workspace:
    """One `.collabplan` folder, which need not exist yet."""

    folder: Path

    @classmethod
    def here(cls) -> Workspace:
        """The workspace of the working directory, closed to other users if it exists.

        Raises:
            CollabplanError: it belongs to another user, whose profiles name code to run.
        """
        workspace = cls(Path(WORK_FOLDER))
        if workspace.folder.is_dir():
            workspace._close_to_others()
        return workspace

    def prepare(self) -> Path:
        """Make the folder with its `.gitignore`, close it to other users, and clear what killed processes left in it.

        Raises:
            CollabplanError: it cannot be written, or belongs to another user.
        """
        ignore = self.folder / ".gitignore"
        if self.folder.exists() and not self.folder.is_dir():
            raise CollabplanError(f"{self.folder} is a file; collabplan keeps its work in a folder of that name")
        if not ignore.exists():
            write_text(ignore, "# Made by collabplan; everything here can be made again.\n*\n")
        self._close_to_others()
        clear_leftovers_below(self.folder)
        return self.folder

    def memory(self, most_bytes: int) -> MemoryBudget:
        """The memory of this process, as `MemoryBudget.of_process`; what does not fit is spilled to this folder."""
        return MemoryBudget.of_process(most_bytes, self.prepare() / "scratch")

    def _close_to_others(self) -> None:
        state = self.folder.stat()
        if belongs_to_others(state):
            raise CollabplanError(
                f"{self.folder} belongs to another user, who could read what is kept there; work in another folder"
            )
        if may_be_read_by_others(state):
            try:
                self.folder.chmod(0o700)
            except OSError as error:  # a file system without permissions, as on memory cards
                log.warning("other users may read %s, which cannot be closed to them: %s", self.folder, error.strerror)

    def save_profile(self, profile: Profile) -> Path:
        """Keep a profile and remember it as the last one."""
        self.prepare()
        device = profile.device.device.replace(":", "")
        name = f"{profile.model.name}-{profile.model.structure_hash[:8]}-{device}-{profile.dtype}-{profile.role}.json"
        path = self.folder / _PROFILES / name
        save(profile, path)
        self.remember(path)
        return path

    def remember(self, path: Path) -> None:
        """Let a profile of this workspace be the last one."""
        write_text(self.folder / _LAST, f"{_PROFILES}/{path.name}\n")

    def kept_profiles(self) -> Iterator[tuple[Profile, Path]]:
        """Every profile that can be read: the last one, then the others, the latest first."""
        last = None
        with contextlib.suppress(RecordError):
            profile, last = self.last_profile()
            yield profile, last
        for path in sorted((self.folder / _PROFILES).glob("[!.]*.json"), key=lambda each: -each.stat().st_mtime_ns):
            with contextlib.suppress(RecordError):
                if path != last:
                    yield load(Profile, path), path

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
        again = f"collabplan profile {shlex.quote(target.spec)}"
        raise TargetError(f"{file} has changed since it was profiled ({path}); run `{again}` again")
