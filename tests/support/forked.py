"""Children of the test's own process, to be killed: they begin at once, since what they need is imported already.

A child must open its databases itself, and must not run torch's backward pass: its threads are not there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn


class Forked:
    """Runs `function(*args)`, and reads what it prints. On leaving it is killed, if it still runs."""

    def __init__(self, function: Callable[..., object], *args: Any) -> None:
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _run(function, args, writing)
        os.close(writing)
        self.stdout = os.fdopen(reading, encoding="utf-8")
        self.code: int | None = None

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def output(self) -> list[str]:
        """The lines that were not read yet, once it has ended well."""
        lines = self.stdout.read().splitlines()
        assert self.wait() == 0
        return lines

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.stdout.close()


def _run(function: Callable[..., object], args: tuple[Any, ...], writing: int) -> NoReturn:
    code = 1
    try:
        sys.stdout = os.fdopen(writing, "w", encoding="utf-8")
        function(*args)
        sys.stdout.flush()
        code = 0
    except BaseException as error:
        os.write(2, f"a forked child failed: {error!r}\n".encode())
    finally:
        os._exit(code)
