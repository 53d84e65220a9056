"""`collabplan`: the command line's entry. Fast to start: torch and the floors load inside the commands.

Exit codes: 0 done; 1 no plan meets the budgets, a verification or a control failed; 2 usage, configuration or bad
input; 70 a fault of collabplan itself; 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

INTERNAL_FAULT = 70
INTERRUPTED = 130


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. Every failure is one line on stderr.

    Args:
        arguments: without the program's name; default: the process's own.

    Raises:
        SystemExit: always.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--help"], ["-h"]) and "_COLLABPLAN_COMPLETE" not in os.environ:
        from .catalogue import page

        sys.stdout.write(page())
        sys.exit(0)
    # Importing torch and tracing a model make millions of objects that stay. Collecting them over and over costs a
    # fifth of the start, so the collector waits until the model is traced (`workflows.session`).
    gc.disable()
    debug = "--debug" in given
    try:
        from .app import app

        code = app(args=given, prog_name="collabplan", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            import traceback

            traceback.print_exception(error)
        message, code = explained(error)
        if message:
            print(message if message.startswith("usage") else f"collabplan: {message}", file=sys.stderr)
    finally:
        gc.enable()
    sys.exit(code if isinstance(code, int) else 0)


def explained(error: BaseException) -> tuple[str, int]:
    """One line for whatever went wrong, and the exit code."""
    from ..records.errors import CollabplanError

    if isinstance(error, CollabplanError):
        return _one_line(str(error)), error.exit_code
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return (
            "interrupted; what was completed is kept (`leakage` goes on by itself, `optimize` with --resume)",
            INTERRUPTED,
        )
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's errors, vendored or not
        return _usage(error), int(error.exit_code)
    if isinstance(error, BrokenPipeError):
        _close_stdout()
        return "", 1
    if _is_no_space(error):
        return "no space left on the device; free some space and run the command again", 2
    if _is_no_memory(error):
        return "out of memory; give a smaller --batch or --cache-gb, less data, or a smaller model", 2
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
    return " ".join(text.split())


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
    """Python's, the CPU allocator's or CUDA's lack of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _close_stdout() -> None:
    """Whoever read our output is gone: keep the interpreter from complaining on the way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
