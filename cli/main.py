"""`collabplan`: the command line's entry. Fast to start: torch and the floors load inside the commands.

Exit codes: 0 done; 1 no plan meets the budgets, a verification or a control failed; 2 usage, configuration or bad
input; 70 a fault of collabplan itself; 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from . import (
    agreement,
    attack,
    bundle,
    cache,
    env,
    explain,
    front,
    infer,
    init,
    leakage,
    link,
    optimize,
    profile,
    serve,
    split,
    verify,
    worker,
)
from .config import find_config
from .options import Debug, examples, unwrapped

INTERNAL_FAULT = 70
INTERRUPTED = 130
_HELP_FLAGS = ("--help", "--version", "--show-completion", "--install-completion")


class Group(TyperGroup):
    """The command group; an interruption leaves it as one exception whatever click's version does with it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


app = typer.Typer(
    cls=Group,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        ("write a target file to start from, with a model and data that work", "collabplan init"),
        ("measure the model on this machine, node by node and cut by cut", "collabplan profile model.py"),
        ("search cut and defense; write plan.json", "collabplan optimize --budget-ms 50"),
        ("see what each cut tells about the input", "collabplan leakage"),
        ("see what attackers really recover under the plan", "collabplan attack plan.json"),
        ("write what the device and the cloud each need to run it", "collabplan bundle plan.json -o bundle"),
        ("answer devices with the cloud's part", "collabplan serve bundle"),
        ("and ask it, from the device", "collabplan infer bundle --data x.npy -o outputs.safetensors"),
    ),
)


def _print_version(value: bool) -> None:
    if value:
        print(f"collabplan {__version__}")
        raise typer.Exit


def collabplan(
    ctx: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version.", show_default=False
        ),
    ] = False,
    _debug: Debug = False,
) -> None:
    """Decide with evidence where to split a PyTorch model between an edge device and an untrusted cloud.

    A target is path.py, path.py:NAME or package.module:NAME. Loading it runs its Python code: give only
    files that you trust.

    Defaults come from [tool.collabplan] in pyproject.toml or from collabplan.toml, nearest folder upwards.
    """
    if any(flag in sys.argv for flag in _HELP_FLAGS):
        return
    config = find_config(Path.cwd())
    if config is not None:
        ctx.default_map = config.defaults(_option_names(ctx.command))


app.callback(help=unwrapped(collabplan))(collabplan)


def _option_names(group: Any) -> dict[str, dict[str, str]]:
    """By command, what a configuration may call its parameters: `budget-ms` -> `budget_ms`."""
    names: dict[str, dict[str, str]] = {}
    for command_name, command in group.commands.items():
        names[command_name] = {}
        for parameter in command.params:
            if parameter.name.startswith("_") or parameter.name == "help":
                continue
            long = [option[2:] for option in parameter.opts if option.startswith("--")] or [parameter.name]
            names[command_name] |= dict.fromkeys(long, parameter.name)
    return names


def _register(panel: str, **commands: tuple[Callable[..., None], str]) -> None:
    for name, (function, epilog) in commands.items():
        app.command(name, rich_help_panel=panel, epilog=epilog, help=unwrapped(function))(function)


_register(
    "Work",
    profile=(profile.profile, profile.EXAMPLES),
    optimize=(optimize.optimize, optimize.EXAMPLES),
    front=(front.front, front.EXAMPLES),
    explain=(explain.explain, explain.EXAMPLES),
    worker=(worker.worker, worker.EXAMPLES),
    split=(split.split, split.EXAMPLES),
    bundle=(bundle.bundle, bundle.EXAMPLES),
    serve=(serve.serve, serve.EXAMPLES),
    infer=(infer.infer, infer.EXAMPLES),
    link=(link.link, link.EXAMPLES),
    verify=(verify.verify, verify.EXAMPLES),
    leakage=(leakage.leakage, leakage.EXAMPLES),
    attack=(attack.attack, attack.EXAMPLES),
    agreement=(agreement.agreement, agreement.EXAMPLES),
)
_register("Help yourself", init=(init.init, init.EXAMPLES), env=(env.env, env.EXAMPLES))
app.add_typer(cache.app, name="cache", rich_help_panel="Help yourself", epilog=cache.EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. Every failure is one line on stderr.

    Args:
        arguments: without the program's name; default: the process's own.

    Raises:
        SystemExit: always.
    """
    # Importing torch and tracing a model make millions of objects that stay. Collecting them over and over costs a
    # fifth of the start, so the collector waits until the model is traced (`profile.trace_target`).
    gc.disable()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = app(args=given, prog_name="collabplan", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
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
