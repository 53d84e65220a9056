"""Configuration: `collabplan.toml`, or `[tool.collabplan]` in `pyproject.toml`, of the nearest folder upwards.

A key is an option without its dashes. At the top it holds for every command that has the option, in a
table named after a command it holds for that command. The command line wins over both.

    target = "model.py"
    bandwidth = "20mbps"

    [optimize]
    budget-ms = 50
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH_KEYS = ("target", "edge-profile", "cloud-profile")
"""Keys whose relative paths start at the configuration's own folder."""


@dataclass(frozen=True, slots=True)
class Config:
    """What one configuration file says."""

    file: Path
    values: Mapping[str, Any]

    def defaults(self, commands: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
        """Defaults by command and parameter name.

        Args:
            commands: by command, its options' names without dashes, mapped to parameter names.

        Raises:
            CollabplanError: a key that no command has.
        """
        result: dict[str, dict[str, Any]] = {command: {} for command in commands}
        for key, value in self.values.items():
            if key in commands and isinstance(value, dict):
                continue
            takers = [command for command, options in commands.items() if key in options]
            if not takers:
                self._refuse(key, {option for options in commands.values() for option in options} | set(commands))
            for command in takers:
                result[command][commands[command][key]] = self._value(key, value)
        for command, options in commands.items():
            table = self.values.get(command)
            for key, value in (table if isinstance(table, dict) else {}).items():
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

    def _refuse(self, key: str, known: set[str]) -> None:
        from ..records.errors import CollabplanError

        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see `collabplan COMMAND --help` for the options"
        raise CollabplanError(f"{self.file} has the unknown key {key!r}; {hint}")


def find_config(start: Path) -> Config | None:
    """The configuration of `start` or its nearest parent that has one, else None.

    Raises:
        CollabplanError: the file is not TOML, or cannot be read.
    """
    for folder in (start, *start.parents):
        own = folder / "collabplan.toml"
        if own.is_file():
            return Config(own, _read(own))
        project = folder / "pyproject.toml"
        if project.is_file():
            values = _read(project).get("tool", {}).get("collabplan")
            if values is not None:
                return Config(project, values)
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        from ..records.errors import CollabplanError

        raise CollabplanError(f"configuration {file} cannot be read: {error}; mend it or move it away") from None
