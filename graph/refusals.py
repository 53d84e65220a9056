"""Messages for models that cannot be traced: the line in the user's file, what is wrong there, and what to do."""

from __future__ import annotations

import inspect
import linecache
import re
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import fx, nn

from .. import FLOORS
from ..records import TraceError

_OURS = Path(__file__).parent.parent
_LIBRARIES = (*{Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}, Path(torch.__file__).parent)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')

_KINDS = (
    (
        ("data-dependent", "DataDependent", "Data-dependent"),
        "its control flow or a size depends on tensor values",
        "for a branch use torch.where or torch.cond, for a loop a fixed number of steps, for a size a number (such as "
        "num_classes of one_hot); or move this, or the check of values, out of forward",
    ),
    (
        ("torch.autograd.grad", "functorch tensor", "Tensor.backward", "doesn't have storage"),
        "it computes gradients in its forward, which a traced graph cannot hold",
        "move this out of forward, or trace the part of the model before it",
    ),
    (
        ("fake tensor in the exported program constant's list",),
        "tracing loses sight of a tensor that its forward computes (in a thread, by autograd, or outside PyTorch)",
        "make this part of forward plain tensor operations, or trace the part of the model before it",
    ),
)
"""By words of torch's error: what the model does, and what to do instead."""


def untraceable(model: nn.Module, failures: Sequence[BaseException]) -> TraceError:
    """The error after every attempt failed, from the failure that says most."""
    for words, what, remedy in _KINDS:
        of_kind = [error for error in failures if any(word in f"{type(error).__name__} {error}" for word in words)]
        if of_kind:
            where = first_place([*of_kind, *failures]) or forward_line(model)
            return TraceError(f"the model cannot be traced: {what}{where}; {remedy}")
    placed = next((error for error in reversed(failures) if place(error)), failures[-1])
    return TraceError(
        f"the model cannot be traced: {first_line(placed)}{place(placed) or forward_line(model)}; make this part of "
        "forward plain tensor operations, or trace the part of the model before it"
    )


def fixed_batch(failures: Sequence[BaseException]) -> str:
    """Why no trace with a free batch worked."""
    if "Constraints violated" in str(failures[0]):
        return f"the code fixes it{first_place(failures)}"
    return f"{first_line(failures[0])}{first_place(failures)}"


def first_place(failures: Sequence[BaseException]) -> str:
    """The place of the first failure that has one; empty where none has."""
    return next((found for found in map(place, failures) if found), "")


def first_line(error: BaseException) -> str:
    """`RuntimeError: its message` on one line, with torch's explanation if it gives one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].split(" For more information")[0] if lines else ""
    explained = [line.removeprefix("Explanation:").strip(" .") for line in lines if line.startswith("Explanation:")]
    said = f"{first} ({explained[0]})" if any(explained) else first
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def place(error: BaseException) -> str:
    """` (at FILE:LINE: CODE)` of the deepest frame in the user's code; empty where no frame is."""
    found = ""
    seen: BaseException | None = error
    while seen is not None:
        frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(seen.__traceback__)]
        users = [frame for frame in frames if _is_users(frame[0])]
        users = users or [frame for frame in _frames_in(str(seen)) if _is_users(frame[0])]
        found = _at(*users[-1]) if users else found
        seen = seen.__cause__ or seen.__context__
    return found


def user_line(node: fx.Node) -> str:
    """` (at FILE:LINE: CODE)` of a graph node's origin in the user's code; empty where it is not known."""
    frames = _frames_in(str(node.meta.get("stack_trace") or ""))
    users = [frame for frame in frames if _is_users(frame[0])] or frames
    return _at(*users[-1]) if users else ""


def forward_line(model: nn.Module) -> str:
    """` (at FILE:LINE: def forward)` of the model's class; empty for a class of a library."""
    code = getattr(inspect.unwrap(type(model).forward), "__code__", None)
    return _at(code.co_filename, code.co_firstlineno) if code is not None and _is_users(code.co_filename) else ""


def _frames_in(text: str) -> list[tuple[str, int]]:
    """The frames of a printed traceback: file and line, outermost first."""
    return [(match["file"], int(match["line"])) for match in _FRAME.finditer(text)]


def _at(file: str, line: int) -> str:
    code = linecache.getline(file, line).strip()
    return f" (at {file}:{line}: {code})" if code else f" (at {file}:{line})"


def _is_users(filename: str) -> bool:
    parts = Path(filename).parts
    if filename.startswith("<") or "site-packages" in parts or "dist-packages" in parts:
        return False
    path = Path(filename).resolve()
    if any(path.is_relative_to(library) for library in _LIBRARIES):
        return False
    return not (path.is_relative_to(_OURS) and path.relative_to(_OURS).parts[0] in FLOORS)
