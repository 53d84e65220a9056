"""Configuration: `collabplan.toml`, or `[tool.collabplan]` in `pyproject.toml`, of the nearest folder upwards.

The search ends at the project's root: the nearest folder with `.git`, else the nearest with `pyproject.toml`, else the
home folder. It never leaves the home folder. Outside of it, where there is no project, only the working directory
counts.
A file that somebody else owns or may write is refused. What decides whom a device trusts and how much it releases
(`NAMED_ONLY`) counts on the command line and in a file that was named with `--config`, nowhere else.

A key is an option without its dashes. At the top it holds for every command that has the option; in a table named
after a command it holds for that command. The command line wins over both. An option that may be given several times is
a list. A relative path starts at the file's own folder, wherever the command is run.

    target = "model.py"
    bandwidth = "20mbps"

    [optimize]
    budget-ms = 50
    defense = ["none", "dropout:element:0.1..0.9"]
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATHS: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("FILE", "DIR", "PATH", "PEM", "KEY", "PLAN", "LEAKAGE", "AUDIT"), lambda text: True),  # noqa: ARG005
    **dict.fromkeys(("TARGET", "TARGET|PLAN"), lambda text: re.search(r"\.(py|json)(:[^:]*)?$", text) is not None),
    "DIR|S3": lambda text: "://" not in text,
    "DIR|ID": lambda text: not re.fullmatch("[0-9a-f]{64}", text),
}
"""By the metavar of an option that takes paths: whether a text is one."""

NAMED_ONLY = frozenset(
    {
        "releases", "near", "beyond", "release-store", "wire", "key-file", "input-range", "trust", "ca", "tls-cert",
        "tls-key", "client-ca", "server-name", "insecure", "allow-undefended", "allow-shared-weights", "with-fallback",
        "cloud", "listen", "metrics", "storage", "artifacts",
    }
)  # fmt: skip
"""Keys that a file found by chance must not set: release policy, trust, TLS, endpoints."""

SIMULATING = ("agreement",)
"""Commands that release nothing: their `releases` are an attacker's in a simulation."""


@dataclass(frozen=True, slots=True)
class Option:
    """What an option of a command takes.

    Attributes:
        parameter: of the command's function.
        metavar: stands for its value in help texts.
        is_list: it may be given several times, or takes several values.
        is_flag: it takes no value; a configuration says true or false.
    """

    parameter: str
    metavar: str | None = None
    is_list: bool = False
    is_flag: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """What one configuration file says.

    Attributes:
        file: where it was read.
        values: its keys.
        named: it was named with `--config`, not found.
    """

    file: Path
    values: Mapping[str, Any]
    named: bool = False

    def defaults(self, commands: Mapping[str, Mapping[str, Option]]) -> dict[str, dict[str, Any]]:
        """Defaults by command and parameter name.

        Args:
            commands: by command, its options by their names without dashes.

        Raises:
            CollabplanError: a key that no command has, one of `NAMED_ONLY` in a file that was not named, or a value of
                another kind than the option takes.
        """
        result: dict[str, dict[str, Any]] = {command: {} for command in commands}
        for key, value in self.values.items():
            if key in commands and isinstance(value, dict):
                continue
            self._require_named(key, key)
            takers = [command for command, options in commands.items() if key in options]
            if not takers and key in commands:
                self._refuse_value(key)
            if not takers:
                self._refuse(key, {option for options in commands.values() for option in options} | set(commands))
            for command in takers:
                option = commands[command][key]
                result[command][option.parameter] = self._value(key, value, option)
        for command, options in commands.items():
            table = self.values.get(command)
            for key, value in (table if isinstance(table, dict) else {}).items():
                if command not in SIMULATING:
                    self._require_named(key, f"{command}.{key}")
                if key not in options:
                    self._refuse(f"{command}.{key}", {f"{command}.{option}" for option in options})
                result[command][options[key].parameter] = self._value(key, value, options[key])
        return result

    def _value(self, key: str, value: Any, option: Option) -> Any:
        from ..records.errors import CollabplanError

        if isinstance(value, list) != option.is_list:
            wanted = "a list: " + f"{key} = [{_toml(value)}]" if option.is_list else "one value, not a list"
            raise CollabplanError(f"{self.file} gives {key!r} {_toml(value)}, but it takes {wanted}")
        if isinstance(value, list):
            return [self._single(key, each, option) for each in value]
        return self._single(key, value, option)

    def _single(self, key: str, value: Any, option: Option) -> Any:
        from ..records.errors import CollabplanError

        fits = isinstance(value, bool) == option.is_flag and isinstance(value, str | int | float)
        is_path = PATHS.get(option.metavar or "")
        if not fits or (is_path is not None and not isinstance(value, str)):
            wanted = "true or false" if option.is_flag else f"text or a number ({option.metavar or 'VALUE'})"
            raise CollabplanError(f"{self.file} gives {key!r} {_toml(value)}, but it takes {wanted}")
        if value == "":
            raise CollabplanError(f"{self.file} gives {key!r} an empty text; give a value, or leave it out")
        return str(self.file.parent / value) if is_path is not None and is_path(value) else value

    def _require_named(self, key: str, place: str) -> None:
        from ..records.errors import CollabplanError

        if key in NAMED_ONLY and not self.named:
            raise CollabplanError(
                f"{self.file} sets {place!r}, which decides whom to trust or what to release; give --{key} on the "
                f"command line, or name the file: collabplan --config {shlex.quote(str(self.file))} COMMAND"
            )

    def _refuse_value(self, command: str) -> None:
        from ..records.errors import CollabplanError

        raise CollabplanError(
            f"{self.file} gives {command!r} a value, but it is a command; put its options below [{command}]"
        )

    def _refuse(self, key: str, known: set[str]) -> None:
        from ..records.errors import CollabplanError

        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see `collabplan COMMAND --help` for the options"
        raise CollabplanError(f"{self.file} has the unknown key {key!r}; {hint}")


def find_config(start: Path) -> Config | None:
    """The configuration of `start` or its nearest parent that has one, up to the project's root; else None.

    Raises:
        CollabplanError: the file is not TOML, cannot be read, or others may change it.
    """
    for folder in _searched(start):
        own = folder / "collabplan.toml"
        if own.is_file():
            return Config(own, _read(own, _require_own))
        project = folder / "pyproject.toml"
        if project.is_file() and _section(_read(project)) is not None:
            return Config(project, _section(_read(project, _require_own)) or {})
    return None


def named_config(file: Path) -> Config:
    """The configuration that the user named.

    Args:
        file: like `collabplan.toml`, or a `pyproject.toml` with our section.

    Raises:
        CollabplanError: the file is not TOML, cannot be read, or may be changed by others: it can decide whom to trust.
    """
    values = _read(file, _require_unchangeable)
    return Config(file, (_section(values) or {}) if file.name == "pyproject.toml" else values, named=True)


def _searched(start: Path) -> Sequence[Path]:
    """`start` and its parents up to the project's root."""
    folders = [start, *start.parents]
    home = Path(os.path.expanduser("~"))
    within_home = folders[: folders.index(home) + 1] if home in folders else folders
    for mark in (".git", "pyproject.toml"):
        for count, folder in enumerate(within_home, start=1):
            if (folder / mark).exists():
                return within_home[:count]
    return within_home if home in folders else folders[:1]


def _section(values: Mapping[str, Any]) -> dict[str, Any] | None:
    tools = values.get("tool")
    found = tools.get("collabplan") if isinstance(tools, dict) else None
    return found if isinstance(found, dict) else None


def _toml(value: Any) -> str:
    """A value as a configuration spells it, cut short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value[:3]) + (", ...]" if len(value) > 3 else "]")
    if isinstance(value, str):
        return f'"{value[:60]}"'
    return str(value)[:60]


def _read(file: Path, check: Callable[[Path, os.stat_result], None] | None = None) -> dict[str, Any]:
    """The values of a file. `check` is given the state of what was opened, so that nobody can swap it meanwhile."""
    from ..records.errors import CollabplanError

    try:
        with file.open("rb") as opened:
            if check is not None:
                check(file, os.fstat(opened.fileno()))
            return tomllib.loads(opened.read().decode("utf-8"))
    except FileNotFoundError:
        raise CollabplanError(f"configuration {file} does not exist; name one that does") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CollabplanError(f"configuration {file} cannot be read: {reason}; mend it or move it away") from None


def _require_own(file: Path, state: os.stat_result) -> None:
    """Refuse a file that others may change, or that others put there."""
    from ..records.errors import CollabplanError
    from ..records.ownership import belongs_to_others

    if belongs_to_others(state) or belongs_to_others(file.lstat()):
        raise CollabplanError(
            f"configuration {file} belongs to another user of this machine, so it is not read; remove it, or name one "
            "that you trust: collabplan --config FILE COMMAND"
        )
    _require_unchangeable(file, state)


def _require_unchangeable(file: Path, state: os.stat_result) -> None:
    from ..records.errors import CollabplanError
    from ..records.ownership import how_others_may_change

    how = how_others_may_change(file, state)
    if how is not None:
        raise CollabplanError(f"configuration {file}, which is not read, {how}")
