"""Files and folders appear whole or not at all: written to a temporary name beside the target, then renamed.

What lies in `.collabplan` is its user's alone (files 0600, folders 0700), since it holds pictures of private inputs and
what was computed from them. Everything else follows the umask.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CollabplanError
from .leftovers import clear_leftovers, temporary_file

WORK_FOLDER = ".collabplan"
"""The folder of the working directory that keeps what commands made."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. The parent folder is made when absent.

    Args:
        path: the file.
        data: its new content.

    Raises:
        CollabplanError: no space is left, or the folder cannot be written. The file at `path` is untouched.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder) / "new" / "file", b"content")
        ...     (Path(folder) / "new" / "file").read_bytes()
        b'content'
    """
    path = Path(path)
    try:
        make_folder(path.parent)
        with temporary_file(path) as (file, temporary):
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_mask(path))
            os.replace(temporary, path)
    except OSError as error:
        raise CollabplanError(write_failure(path, error)) from error


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text, with the same errors.

    Args:
        path: the file.
        text: its new content.

    Raises:
        CollabplanError: as `write_bytes`.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder) / "file", "content")
        ...     (Path(folder) / "file").read_text()
        'content'
    """
    write_bytes(path, text.encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`, which replaces `path` at the end of the block.

    An older folder is moved aside first and removed last, so `path` is never a mixture of both.

    Args:
        path: the folder to make.

    Raises:
        CollabplanError: no space is left, or the folder cannot be written. What was at `path` is untouched.

    Examples:
        >>> with tempfile.TemporaryDirectory() as above:
        ...     with new_folder(Path(above) / "made") as folder:
        ...         write_text(folder / "file", "content")
        ...     [path.name for path in (Path(above) / "made").iterdir()]
        ['file']
    """
    path = Path(path).absolute()
    temporary: Path | None = None
    try:
        make_folder(path.parent)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        os.chmod(temporary, 0o777 & ~_mask(path))
        yield temporary
        _take_place(temporary, path)
    except OSError as error:
        raise CollabplanError(write_failure(path, error)) from error
    except CollabplanError as error:
        error.args = (str(error).replace(str(temporary), str(path)),)  # users know only the name that they gave
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(temporary, path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
    try:
        os.replace(path, aside / "old")
        try:
            os.replace(temporary, path)
        except OSError:
            os.replace(aside / "old", path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_failure(path: Path, error: OSError) -> str:
    """One sentence for a failed write: what failed, where, and what to do."""
    if error.errno == errno.ENOSPC:
        return f"no space left on the device for {path}; free some space and run again (no file was left half written)"
    return f"cannot write {path}: {error.strerror or error}; choose a writable place with -o"


def require_writable(path: Path, *, folder: bool = False) -> None:
    """Refuse a place where nothing can be written, before the work whose result is to lie there.

    What killed processes left there is removed.

    Args:
        path: the file. Folders above it that are absent will be made.
        folder: it is a folder, which will be replaced as a whole.

    Raises:
        CollabplanError: something of another kind lies there, or what would have to be changed above it cannot be.

    Examples:
        >>> require_writable(Path("."))
        Traceback (most recent call last):
        collabplan.records.errors.CollabplanError: cannot write .: it is a folder; choose a writable place with -o
    """
    place = path.absolute()
    try:
        if place.exists() and not (place.is_dir() if folder else place.is_file()):
            what = "a folder" if place.is_dir() else "a file" if folder else "no plain file"
            raise OSError(errno.EEXIST, f"it is {what}")
        above = next(each for each in place.parents if each.exists())
        if not above.is_dir():
            raise OSError(errno.ENOTDIR, f"{above} is no folder")
        made = tempfile.mkdtemp(dir=above, prefix=f".{place.name}.", suffix=".tmp")  # as it will be written
        with contextlib.suppress(FileNotFoundError):  # another process has cleared it
            os.rmdir(made)
    except OSError as error:
        raise CollabplanError(write_failure(path, error)) from None
    clear_leftovers(place)


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are absent.

    Args:
        path: the folder.

    Raises:
        OSError: it cannot be made.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_folder(Path(folder) / ".collabplan" / "audits")
        ...     [oct(each.stat().st_mode & 0o777) for each in sorted(Path(folder).rglob("*"))]
        ['0o700', '0o700']
    """
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            with contextlib.suppress(FileExistsError):  # another process was quicker
                folder.mkdir(mode=0o777 & ~_mask(folder))
    path.mkdir(exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file where there is none, for a library that would choose the mode by itself.

    Args:
        path: the file, in a folder that exists.

    Raises:
        OSError: it cannot be made.
    """
    path.touch(mode=0o666 & ~_mask(path))


def _mask(path: Path) -> int:
    """The permissions that a new file or folder does not get."""
    return 0o077 if WORK_FOLDER in path.absolute().parts else current_umask()


def current_umask() -> int:
    """The process's umask (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
