"""Runs a module of collabplan in a second process that ends with the one that started it.

The child prints one line when it is ready, and ends when its standard input closes. So no child is left behind, however
the parent ends.
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


class ChildProcess:
    """Runs `python -m MODULE ARGUMENTS`. Also a context manager.

    Args:
        module: its full name.
        arguments: its command line.
        within_s: the seconds in which it must be ready.
        threads: OMP_NUM_THREADS of the child; None keeps the value of this process.

    Attributes:
        first_line: the line that the child printed when it was ready.

    Raises:
        CollabplanError: it ended, or was not ready in time. The message quotes its last line of output.
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
            self.first_line = self._line(within_s)
        except BaseException:
            self.close()
            raise

    def tell(self, line: str) -> None:
        """Write a line to the child. Raises CollabplanError if it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError:
            raise CollabplanError(f"{self._module} has ended: {self._last_line()}") from None

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

    def __enter__(self) -> ChildProcess:
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
                raise CollabplanError(f"{self._module} could not start: {self._last_line()}")
            found += piece
        return found.decode().strip()

    def _last_line(self) -> str:
        assert self._process.stderr is not None
        self._process.wait()
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"
