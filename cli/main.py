"""`collabplan`: the command line's entry. Fast to start: torch and the floors load inside the commands.

Exit codes: 0 done; 1 no plan meets the budgets, a verification or a control failed; 2 usage, configuration or bad
input; 70 a fault of collabplan itself; 130 interrupted.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence

from .faults import explained, heeding_interrupts


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. Every failure is one line on stderr.

    Args:
        arguments: without the program's name; default: the process's own.

    Raises:
        SystemExit: always.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that the terminal lacks is no reason to fail
            stream.reconfigure(errors="replace")
    if given in (["--help"], ["-h"]) and "_COLLABPLAN_COMPLETE" not in os.environ:
        from .catalogue import page

        sys.stdout.write(page())
        sys.exit(0)
    # Importing torch and tracing a model make millions of objects that stay. Collecting them over and over costs a
    # fifth of the start, so the collector waits until the model is traced (`workflows.session`).
    gc.disable()
    debug = "--debug" in given
    try:
        _require_no_empty(given)
        with heeding_interrupts():
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


def _require_no_empty(given: Sequence[str]) -> None:
    """Refuse an empty argument, which a path would turn into the working directory.

    Raises:
        CollabplanError: it, or the option that it follows, is named.
    """
    from ..records.errors import CollabplanError

    for before, each in zip(["", *given], given, strict=False):
        if not each or (each.startswith("--") and each.endswith("=")):
            name = each[:-1] or (before if before.startswith("-") else "an argument")
            raise CollabplanError(f"{name} is empty; give a value, or leave it out")
