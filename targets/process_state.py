"""Keeps what a target file sets for the whole process (folder, command line, default dtype...) away from our code.

A target that calls `os.chdir` or `torch.set_default_dtype` finds its setting whenever its code runs. Our own code never
sees it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class _ProcessState:
    folder: str
    argv: tuple[str, ...]
    dtype: torch.dtype
    device: torch.device
    gradients: bool
    filters: tuple[Any, ...]

    @classmethod
    def current(cls) -> _ProcessState:
        return cls(
            os.getcwd(),
            tuple(sys.argv),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            tuple(warnings.filters),
        )

    def restore(self) -> None:
        if os.getcwd() != self.folder:
            os.chdir(self.folder)
        sys.argv[:] = self.argv
        torch.set_default_dtype(self.dtype)
        if torch.get_default_device() != self.device:
            torch.set_default_device(None if self.device.type == "cpu" else self.device)
        torch.set_grad_enabled(self.gradients)
        warnings.filters[:] = self.filters  # type: ignore[index]


_states_of_targets: dict[Path | None, _ProcessState] = {}


@contextlib.contextmanager
def process_state_of(file: Path | None) -> Iterator[None]:
    """Within: the process state that the target `file` left last, with an empty command line. After: our own state."""
    with warnings.catch_warnings():
        ours = _ProcessState.current()
        theirs = _states_of_targets.get(file)
        if theirs is not None:
            theirs.restore()
            torch.set_grad_enabled(ours.gradients)  # whoever runs the model decides whether gradients are wanted
        sys.argv[:] = [str(file) if file is not None else sys.argv[0]]
        try:
            yield
        finally:
            _states_of_targets[file] = _ProcessState.current()
            ours.restore()
