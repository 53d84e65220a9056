"""The command group. A command's module is imported when it is called, completed or configured."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .. import __version__
from .catalogue import ABOUT, COMMANDS, page
from .faults import Interrupted
from .options import Debug

if TYPE_CHECKING:
    from .config import Option

_HELP_FLAGS = ("--help", "-h", "--help-all", "--version", "--show-completion", "--install-completion")
_CONTEXT = {"help_option_names": ["-h", "--help"]}


class _Commands(MutableMapping[str, Any]):
    """The commands by name, each built when it is asked for."""

    def __init__(self, others: Mapping[str, Any]) -> None:
        self.built: dict[str, Any] = dict(others)

    def __getitem__(self, name: str) -> Any:
        if name not in self.built:
            if name not in COMMANDS:
                raise KeyError(name)
            self.built[name] = _built(name)
        return self.built[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**COMMANDS, **self.built})

    def __len__(self) -> int:
        return len({**COMMANDS, **self.built})

    def __setitem__(self, name: str, command: Any) -> None:
        self.built[name] = command

    def __delitem__(self, name: str) -> None:
        del self.built[name]


class Group(TyperGroup):
    """The command group; an interruption leaves it as one exception whatever click's version does with it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The commands in the order of the help page."""
        return list(self.commands)

    def get_help(self, ctx: Any) -> str:  # noqa: ARG002
        """The page of `collabplan --help`."""
        return page()

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the same."""
        formatter.write(page())


app = typer.Typer(
    cls=Group,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
)


def _print_version(value: bool) -> None:
    if value:
        print(f"collabplan {__version__}")
        raise typer.Exit


@app.callback(help=ABOUT)
def collabplan(
    ctx: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version.", show_default=False
        ),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Read the options' defaults here, trust and releases too.",
            show_default=False,
        ),
    ] = None,
    _debug: Debug = False,
) -> None:
    """Read the configuration, whose values are the commands' defaults, and say which file it is."""
    from .config import find_config, named_config

    if any(flag in sys.argv for flag in _HELP_FLAGS):
        return
    ctx.obj = config = find_config(Path.cwd()) if file is None else named_config(file)
    if config is not None:
        ctx.default_map = config.defaults(_options(ctx.command))
        print(f"collabplan: defaults from {config.file}", file=sys.stderr)


def _built(name: str) -> Any:
    """The click command of a module of this package."""
    module, about = importlib.import_module(f".{name}", __package__), COMMANDS[name]
    if hasattr(module, "app"):
        return get_command(module.app)
    from .options import unwrapped

    function = getattr(module, name)
    single = typer.Typer(rich_markup_mode="rich", add_completion=False, context_settings=_CONTEXT)
    single.command(name, rich_help_panel=about.panel, epilog=module.EXAMPLES, help=unwrapped(function))(function)
    return get_command(single)


def _options(group: Any) -> dict[str, dict[str, Option]]:
    """By command, its options by what a configuration may call them: `budget-ms`."""
    from .config import Option

    options: dict[str, dict[str, Option]] = {}
    for command_name, command in group.commands.items():
        options[command_name] = {}
        for parameter in command.params:
            if parameter.name.startswith("_") or parameter.name == "help":
                continue
            long = [option[2:] for option in parameter.opts if option.startswith("--")] or [parameter.name]
            made = Option(
                parameter.name,
                parameter.metavar,
                is_list=parameter.multiple or parameter.nargs != 1,
                is_flag=getattr(parameter, "is_flag", False),
            )
            options[command_name] |= dict.fromkeys(long, made)
    return options
