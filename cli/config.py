"""Configuration: `collabplan.toml`, or `[tool.collabplan]` in `pyproject.toml`, of the nearest folder upwards.

The search ends at the project's root: the nearest folder with `.git`, else the nearest with `pyproject.toml`, else the
home folder. It never leaves the home folder. Outside of it, where there is no project, only the working directory
counts.
A file that somebody else owns or may write is refused. What decides whom a device trusts and how much it releases
(`NAMED_ONLY`) counts on the command line and in a file that was named with `--config`, nowhere else.

A key is an option without its dashes. At the top it holds for every command that has the option; in a table named
after a command it holds for that command. The command line wins over both.

    target = "model.py"
    bandwidth = "20mbps"

    [optimize]
    budget-ms = 50
"""

from __future__ import annotations

import difflib
import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH_KEYS = ("target", "edge-profile", "cloud-profile")
"""Keys whose relative paths start at the configuration's own folder."""

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

    def defaults(self, commands: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
        """Defaults by command and parameter name.

        Args:
            commands: by command, its options' names without dashes, mapped to parameter names.

        Raises:
            CollabplanError: a key that no command has, or one of `NAMED_ONLY` in a file that was not named.
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
                result[command][commands[command][key]] = self._value(key, value)
        for command, options in commands.items():
            table = self.values.get(command)
            for key, value in (table if isinstance(table, dict) else {}).items():
                if command not in SIMULATING:
                    self._require_named(key, f"{command}.{key}")
                if key not in options:
                    self._refuse(f"{command}.{key}", {f"{command}.{option}" for option in options})
                result[command][options[key]] = self._value(key, value)
        return result

    def _value(self, key: str, value: Any) -> Any:
        if key not in PATH_KEYS or not isinstance(value, str):
            return value
        relative = value.partition(":")[0] if key == "target" else value
        here = self.file.parent
        return str(here / value) if not Path(value).is_absolute() and (here / relative).exists() else value

    def _require_named(self, key: str, place: str) -> None:
        from ..records.errors import CollabplanError

        if key in NAMED_ONLY and not self.named:
            raise CollabplanError(
                f"{self.file} sets {place!r}, which decides whom to trust or what to release; give --{key} on the "
                f"command line, or name the file: collabplan --config {self.file} COMMAND"
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
            return Config(own, _read(own, refuses_others=True))
        project = folder / "pyproject.toml"
        if project.is_file() and _section(_read(project)) is not None:
            return Config(project, _section(_read(project, refuses_others=True)) or {})
    return None


def named_config(file: Path) -> Config:
    """The configuration that the user named.

    Args:
        file: like `collabplan.toml`, or a `pyproject.toml` with our section.

    Raises:
        CollabplanError: the file is not TOML, cannot be read, or may be changed by others: it can decide whom to trust.
    """
    values = _read(file)
    _require_unchangeable(file, file.stat())
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


def _read(file: Path, *, refuses_others: bool = False) -> dict[str, Any]:
    from ..records.errors import CollabplanError

    try:
        with file.open("rb") as opened:
            if refuses_others:
                _require_own(file, os.fstat(opened.fileno()))
            return tomllib.loads(opened.read().decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CollabplanError(f"configuration {file} cannot be read: {error}; mend it or move it away") from None


def _require_own(file: Path, state: os.stat_result) -> None:
    """Refuse a file that others may change; `state` is of what was opened, so that nobody can swap it meanwhile."""
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
    from ..records.ownership import may_be_changed_by_others

    if may_be_changed_by_others(state):
        raise CollabplanError(
            f"configuration {file} may be changed by others, so it is not read; run: chmod go-w "
            f"{shlex.quote(str(file))}"
        )
