"""Makes the options of a command from the option groups of its workflow.

A group is a dataclass of `workflows.options`: its fields give name, type and default. The command adds what a terminal
shows of each: help, metavar, panel, and whether it is rare.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

Shown = Mapping[str, OptionInfo]
"""By field, how a terminal shows it."""

MOST = {"S": 86_400, "MS": 86_400_000, "seed": 2**32 - 1}
"""The largest number that an option takes unless it says otherwise, by metavar or name; all others: `MOST_OF_ALL`."""

MOST_OF_ALL = 10**12
"""What lies above overflows a clock or an index somewhere, hours later."""


def grouped(**groups: Shown) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace parameters that are option groups by one command-line option for each of their fields.

    Args:
        groups: by parameter, how each field is shown. A field that is left out keeps its default.

    Examples:
        >>> from collabplan.workflows.options import MachineSettings
        >>> @grouped(machines={"storage": option("Database.", "URL")})
        ... def command(machines: MachineSettings) -> None:
        ...     print(machines.storage)
        >>> command(storage="here")
        here
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        parameters: dict[str, inspect.Parameter] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if name in groups:
                parameters |= {each.name: each for each in _parameters(hints[name], groups[name])}
            else:
                parameters[name] = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)

        def command(**values: Any) -> None:
            made = {name: _made(hints[name], shown, values) for name, shown in groups.items()}
            function(**values, **made)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {name: each.annotation for name, each in parameters.items()}
        command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        return command

    return decorate


def given_options(ctx: typer.Context) -> set[str]:
    """The options of a command that somebody gave: on the command line, in the environment or in a configuration."""
    return {name for name in ctx.params if (where := ctx.get_parameter_source(name)) and where.name != "DEFAULT"}


def option(
    text: str,
    metavar: str | None = None,
    panel: str | None = None,
    *flags: str,
    rare: bool = False,
    default: bool = False,
    least: float | None = None,
    most: float | None = None,
    envvar: str | None = None,
    writes: Literal["file", "files", "folder"] | None = None,
    unit: str | None = None,
) -> OptionInfo:
    """How one option is shown, and what is checked before its command begins.

    Args:
        text: the help.
        metavar: stands for its value.
        panel: the section of the help that lists it.
        flags: in place of the name that the field gives.
        rare: only `--help-all` lists it.
        default: print the default too.
        least, most: bounds of a number.
        envvar: gives the value where the command line does not.
        writes: its value is where a result is written: a file, files in a folder, or a folder as a whole.
        unit: of a number, `ms`, `s` or `GB`; a quantity with another unit of its kind is taken too: `1.5 s`.
    """

    def checked(param: typer.CallbackParam, value: Any) -> Any:
        _require_bounded(param, value)
        if writes is not None and value is not None:
            from ..records.atomic import require_writable

            require_writable(Path(value, "file") if writes == "files" else value, folder=writes == "folder")
        return value

    info: OptionInfo = typer.Option(
        *flags,
        help=text,
        metavar=metavar,
        rich_help_panel=panel,
        hidden=rare,
        show_default=default,
        min=None if unit else least,
        max=None if unit else most,
        envvar=envvar,
        parser=partial(_quantity, unit=unit, least=least, most=most) if unit else None,
        callback=checked,
    )
    return info


def _quantity(text: Any, *, unit: str, least: float | None, most: float | None) -> float:
    """A number in `unit`, out of what was typed. Raises BadParameter, to which the parser adds the option's name."""
    from ..records import CollabplanError, parse_number

    try:
        value = parse_number(str(text), unit)
    except CollabplanError as error:
        raise typer.BadParameter(str(error)) from error
    if (least is not None and value < least) or (most is not None and value > most):
        ends = [f"at {which} {end:g}" for which, end in (("least", least), ("most", most)) if end is not None]
        raise typer.BadParameter(f"{text} is not {' and '.join(ends)} {unit}")
    return value


def _require_bounded(param: typer.CallbackParam, value: Any) -> None:
    """Refuse numbers that a range lets through: NaN, infinity, and those above any sense."""
    most = MOST.get(param.name or "") or MOST.get(param.metavar or "") or MOST_OF_ALL
    for each in value if isinstance(value, tuple | list) else (value,):
        if isinstance(each, (int, float)) and not abs(each) <= most:
            from ..records import CollabplanError

            wrong = f"is too large; {most:,} is the most" if math.isfinite(each) else "is not a finite number; give one"
            raise CollabplanError(f"{param.opts[0]} {each:g} {wrong}")


def _parameters(group: type[Any], shown: Shown) -> list[inspect.Parameter]:
    """One parameter for each field that is shown, in the order of `shown`."""
    hints, fields = get_type_hints(group), {field.name: field for field in dataclasses.fields(group)}
    made = []
    for name, info in shown.items():
        default = fields[name].default
        made.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=Annotated[_listed(hints[name]), info],
                default=inspect.Parameter.empty if default is dataclasses.MISSING else _empty_as_none(default),
            )
        )
    return made


def _made(group: type[Any], shown: Shown, values: dict[str, Any]) -> Any:
    """The group, out of what was parsed."""
    own = {name: values.pop(name) for name in shown if name in values}
    several = {field.name for field in dataclasses.fields(group) if isinstance(field.default, tuple)}
    return group(**{name: tuple(value or ()) if name in several else value for name, value in own.items()})


def _listed(kind: Any) -> Any:
    """`tuple[str, ...]` is a list to typer: the option is given several times."""
    if get_origin(kind) is tuple and get_args(kind)[-1:] == (Ellipsis,):
        return list[get_args(kind)[0]] | None  # type: ignore[misc]
    return kind


def _empty_as_none(default: Any) -> Any:
    return None if default == () else default
