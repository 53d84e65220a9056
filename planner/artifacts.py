"""Audits and fine-tuned weights in a store that all machines of a search reach: Optuna's artifact stores.

Files are named by the hash of everything that they depend on, so that a name says what it must hold, whoever made it.
They are safetensors and JSON: what comes from the store is parsed and never executed, and a damaged file counts for
nothing. Who may write to the store can still forge a result, as with the study's database.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from ..records import CollabplanError, write_bytes
from ..records.atomic import make_folder
from ..records.extras import require_modules
from .claims import BucketClaims, Claims, FolderClaims

S3 = "s3://"
CLAIMS = "claims"
"""The folder within a store where machines say what they are at."""


class Store(Protocol):
    """What is used of Optuna's artifact stores."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Raises ArtifactNotFound."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep a file under that name."""


class Artifacts:
    """An `Exchange` through a store.

    Args:
        store: of Optuna's kind.
        where: the store's address, for messages.
        prefix: of every name.
        claims: says which machine makes which file; None: each makes what it does not find.
    """

    def __init__(self, store: Store, where: str, prefix: str = "", claims: Claims | None = None) -> None:
        self._store, self._where, self._prefix, self._claims = store, where, prefix, claims

    def fetch(self, place: Path) -> None:
        """Bring a file here that another machine has finished. Raises CollabplanError where the store fails."""
        if place.is_file():
            return
        try:
            with self._store.open_reader(self._name(place)) as source:
                data = source.read()
        except ArtifactNotFound:
            return
        except Exception as error:  # a store may raise whatever its client does
            raise self._unusable("read", error) from error
        write_bytes(place, data)

    def offer(self, place: Path) -> None:
        """Let other machines have a file. Raises CollabplanError where the store fails; the file stays here."""
        try:
            self._store.write(self._name(place), io.BytesIO(place.read_bytes()))
        except Exception as error:  # a store may raise whatever its client does
            raise self._unusable("written", error) from error

    def reserve(self, place: Path) -> bool:
        """Claim that a file is made here; False while another machine makes it. Raises CollabplanError as `offer`."""
        try:
            return self._claims is None or self._claims.claim(_entry(place))
        except Exception as error:  # as above
            raise self._unusable("written", error) from error

    def release(self, place: Path) -> None:
        """Give a claim up. A store that fails here costs the other machines some waiting, and nothing else."""
        if self._claims is not None:
            with suppress(Exception):
                self._claims.give_up(_entry(place))

    def _name(self, place: Path) -> str:
        return f"{self._prefix}{_entry(place)}"

    def _unusable(self, what: str, error: Exception) -> CollabplanError:
        return CollabplanError(
            f"the artifact store {self._where} cannot be {what} ({type(error).__name__}: {error}); what is finished is "
            "kept in .collabplan, so run the command again"
        )


def _entry(place: Path) -> str:
    """What a file is called in the store."""
    return f"{place.parent.name}-{place.name}"


def open_artifacts(where: str) -> Artifacts:
    """The store at `where`: a folder that all machines see, or `s3://bucket/prefix`.

    Raises:
        CollabplanError: it cannot be used.
    """
    if not where.startswith(S3):
        folder = Path(where)
        try:
            make_folder(folder)
        except OSError as error:
            raise CollabplanError(
                f"the artifact store {where} is no folder that can be used: {error.strerror}"
            ) from error
        return Artifacts(FileSystemArtifactStore(folder), where, claims=Claims(FolderClaims(folder / CLAIMS)))
    bucket, _, prefix = where.removeprefix(S3).partition("/")
    if not bucket:
        raise CollabplanError(f"the artifact store {where} names no bucket; give s3://bucket or s3://bucket/prefix")
    require_modules("boto3")
    store, within = Boto3ArtifactStore(bucket), f"{prefix.rstrip('/')}/" if prefix else ""
    return Artifacts(store, where, within, Claims(BucketClaims(store.client, bucket, f"{within}{CLAIMS}/")))
