"""Signatures of a bundle's parts: who wrote them, which no hash in a folder can say.

`manifest.sig` in a part is an Ed25519 signature over the bytes of `manifest.json`. The manifest holds the hash of every
other file and of the other part, so one signature covers the whole folder. The format is plain: `openssl pkeyutl
-verify -rawin` checks it too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ..records import CollabplanError, RecordError
from ..records.bundle import SIGNATURE_FILE
from ..records.extras import optional_imports
from ..records.private_file import read_private, read_trusted

with optional_imports():
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

SIGNATURE_BYTES = 64

_MAKE = "make one with `(umask 077; openssl genpkey -algorithm ed25519 -out sign.key)`"
_EXTRACT = "make one with `(umask 022; openssl pkey -in sign.key -pubout -out sign.pub)`"


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that signs bundles: an Ed25519 key in PEM, readable by its owner alone, without a passphrase.

    Raises:
        CollabplanError: it is missing, others may read it, or it is no such key.
    """
    data = read_private(Path(path), "signing key", forbidden=0o077, advice=_MAKE)
    key: object = None
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
        key = load_pem_private_key(data, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise CollabplanError(f"{path} is no Ed25519 key in PEM without a passphrase; {_MAKE}")
    return key


def trusted_key(path: Path) -> Ed25519PublicKey:
    """Read the public half of a key that signs bundles.

    Raises:
        CollabplanError: it is missing, others may change it, or it is no Ed25519 public key in PEM.
    """
    data = read_trusted(Path(path), "trusted key", advice=_EXTRACT)
    key: object = None
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = load_pem_public_key(data)
    if not isinstance(key, Ed25519PublicKey):
        raise CollabplanError(f"{path} is no Ed25519 public key in PEM; {_EXTRACT}")
    return key


def require_trusted(folder: Path, manifest: bytes, trust: Sequence[Path]) -> None:
    """Refuse a part that none of the trusted keys signed.

    Args:
        folder: of the part.
        manifest: the bytes of its `manifest.json`.
        trust: files of public keys. With none, every part is refused.

    Raises:
        RecordError: the part holds a symbolic link, is not signed, or none of the keys signed this manifest.
        CollabplanError: a file of `trust` is no public key.
    """
    keys = [trusted_key(path) for path in trust]
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise RecordError(f"bundle part {folder} holds the symbolic link {path.name}; copy the part's own files")
    if not (folder / SIGNATURE_FILE).is_file():  # a pipe would never end
        raise RecordError(
            f"bundle part {folder} is not signed; make the bundle again with `collabplan bundle --sign KEY`"
        )
    try:
        with (folder / SIGNATURE_FILE).open("rb") as file:
            signature = file.read(SIGNATURE_BYTES + 1)
    except OSError as error:
        raise RecordError(f"{folder / SIGNATURE_FILE} cannot be read ({error.strerror}); copy the part again") from None
    if not any(_signed(key, signature, manifest) for key in keys):
        raise RecordError(
            f"bundle part {folder} is signed by none of the trusted keys, or was changed after it was signed; do not "
            "run it: get it again from whoever made it, or trust their key"
        )


def _signed(key: Ed25519PublicKey, signature: bytes, manifest: bytes) -> bool:
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        return False
    return True
