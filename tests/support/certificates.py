"""Certificates for tests, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")


def authority(folder: Path, name: str) -> Path:
    """A new authority; returns its certificate `NAME.pem`, beside which its key `NAME.key` lies."""
    _openssl(
        *f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}".split(),
        *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")),
    )
    return folder / f"{name}.pem"


def signed(
    folder: Path, name: str, by: str, days: int = 2, *, common_name: str | None = None, san: bool = True,
    usage: str | None = None,
) -> tuple[Path, Path]:  # fmt: skip
    """Certificate and key for 127.0.0.1, signed by an authority; with negative days long expired.

    `san` False leaves the subject alternative name out, and `usage` is an extended key usage: serverAuth, clientAuth.
    """
    extensions = ["subjectAltName=IP:127.0.0.1,DNS:localhost"] if san else []
    extensions += [] if usage is None else [f"extendedKeyUsage={usage}"]
    key, request, made = (folder / f"{name}.{ending}" for ending in ("key", "csr", "pem"))
    _openssl(
        *["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"],
        *(f"/CN={common_name or name}", "-keyout", str(key), "-out", str(request)),
        *(word for extension in extensions for word in ("-addext", extension)),
    )
    _openssl(
        *("x509", "-req", "-in", str(request), "-copy_extensions", "copy", "-days", str(days), "-out", str(made)),
        *("-CA", str(folder / f"{by}.pem"), "-CAkey", str(folder / f"{by}.key"), "-CAcreateserial"),
    )
    return made, key


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
