"""What went wrong, in one line with an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

INTERNAL_FAULT = 70
INTERRUPTED = 130
_KEPT = "what was completed is kept, and the same command goes on from here"


class Interrupted(Exception):
    """The user pressed Ctrl-C; the text says how things stand."""


_pressed = False


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Remember Ctrl-C: code that it interrupts may turn KeyboardInterrupt into an error of its own."""
    global _pressed
    _pressed = False

    def press(number: int, frame: Any) -> None:
        global _pressed
        _pressed = True
        signal.default_int_handler(number, frame)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupted(error: BaseException) -> bool:
    """True if the user pressed Ctrl-C, whatever error came of it."""
    return _pressed or isinstance(error, KeyboardInterrupt | Interrupted)


def explained(error: BaseException) -> tuple[str, int]:
    """One line for whatever went wrong, and the exit code."""
    from ..records.errors import CollabplanError
    from ..records.extras import missing_package

    if interrupted(error):
        stands = str(error) if isinstance(error, Interrupted) and str(error) else _KEPT
        return _one_line(f"interrupted; {stands}"), INTERRUPTED
    if isinstance(error, CollabplanError):
        return _one_line(str(error)), error.exit_code
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's errors, vendored or not
        return _usage(error), int(error.exit_code)
    if isinstance(error, BrokenPipeError):
        _close_stdout()
        return "", 1
    if isinstance(error, ModuleNotFoundError):
        missing = missing_package(error)
        if missing is not None:
            return _one_line(str(missing)), missing.exit_code
    if _is_no_space(error):
        return "no space left on the device; free some space and run the command again", 2
    if _is_no_memory(error):
        return "out of memory; give a smaller --batch or --memory, less data, or a smaller model", 2
    if isinstance(error, OSError):
        return _one_line(f"{error.strerror or error}: {error.filename}" if error.filename else str(error)), 2
    said = _one_line(str(error))
    return (
        f"internal fault: {type(error).__name__}: {said}; run again with --debug and report it with `collabplan env`",
        INTERNAL_FAULT,
    )


def _usage(error: Any) -> str:
    """A usage error with the command that explains the options."""
    message = _one_line(error.format_message())
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "collabplan"
    if type(error).__name__ == "NoArgsIsHelpError":
        return ""
    return f"{message} (see `{command} --help`)"


def _one_line(text: str) -> str:
    from ..records.printable import printable

    return printable(text, len(text))


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what caused it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _is_no_space(error: BaseException) -> bool:
    """ENOSPC, or SQLite's words for it."""
    return any(
        (isinstance(cause, OSError) and cause.errno == errno.ENOSPC) or "database or disk is full" in str(cause)
        for cause in _causes(error)
    )


def _is_no_memory(error: BaseException) -> bool:
    """Python's lack of memory, or a device's."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    from ..graph.batch_size import out_of_memory

    return out_of_memory(error)


def _close_stdout() -> None:
    """Whoever read our output is gone: keep the interpreter from complaining on the way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
