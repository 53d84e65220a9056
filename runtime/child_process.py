"""A second process of ours on this machine: started, asked, and ended with whoever started it.

The child prints one line once it is ready, and ends when its standard input does, so that none is left behind
whatever becomes of the parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from ..records import CollabplanError


class Child:
    """Runs `python -m MODULE ARGUMENTS`; `said` is its first line. Also a context manager.

    Args:
        module: by its full name.
        arguments: of its command line.
        within_s: how long it may take to be ready.
        threads: OMP_NUM_THREADS of the child; None: as here.

    Raises:
        CollabplanError: it ended, or was not ready in time; its last words are in the message.
    """

    def __init__(self, module: str, *arguments: str, within_s: float = 60.0, threads: int | None = None) -> None:
        environment = dict(os.environ)
        above = str(Path(__file__).resolve().parents[2])  # the child finds this collabplan, wherever it starts
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (above, environment.get("PYTHONPATH"))))
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        try:
            self.said = self._line(within_s)
        except BaseException:
            self.close()
            raise

    def tell(self, line: str) -> None:
        """Write a line to the child. Raises CollabplanError where it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError:
            raise CollabplanError(f"{self._module} has ended: {self._last_words()}") from None

    def close(self) -> None:
        """End the child."""
        process = self._process
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, within_s: float) -> str:
        stream, until = self._process.stdout, time.monotonic() + within_s
        assert stream is not None
        found = b""
        while not found.endswith(b"\n"):
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise CollabplanError(f"{self._module} was not ready within {within_s:g} s")
            piece = os.read(stream.fileno(), 4096)
            if not piece:
                self._process.wait()
                raise CollabplanError(f"{self._module} could not start: {self._last_words()}")
            found += piece
        return found.decode().strip()

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        self._process.wait()
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"
