"""Ends long work when its time is up: the work asks often, and an exception that is no result stops it.

`until` sets the deadline, and whatever runs inside asks `check_time`: trainings before every step, audits before every
attack. Estimates run long operations on models of any size: `interruptible` asks before every operation. What is cut
off leaves no file and no figure, so it is never taken for finished.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

Clock = Callable[[], float]


class TimeUp(Exception):
    """The deadline has passed. Not a `CollabplanError`: nothing is wrong, and nobody may take it for a failure."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a clock.

    Attributes:
        at: the moment, in the clock's seconds; infinity: never.
        clock: seconds from any beginning.

    Examples:
        >>> deadline = Deadline.after(60, clock=lambda: 100.0)
        >>> deadline.left, deadline.passed, deadline.part(0.5).left
        (60.0, False, 30.0)
    """

    at: float = math.inf
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float | None, clock: Clock = time.monotonic) -> Deadline:
        """So many seconds from now; None: never."""
        return cls(math.inf if seconds is None else clock() + seconds, clock)

    @property
    def left(self) -> float:
        """Seconds until then, 0 once it has passed."""
        return max(0.0, self.at - self.clock())

    @property
    def passed(self) -> bool:
        """True from that moment on."""
        return self.clock() >= self.at

    def part(self, share: float) -> Deadline:
        """An earlier deadline, after this share of the time that is left."""
        return self if self.at == math.inf else replace(self, at=self.clock() + share * self.left)


_DEADLINES: ContextVar[tuple[Deadline, ...]] = ContextVar("deadlines", default=())


@contextmanager
def until(deadline: Deadline) -> Iterator[None]:
    """Let `check_time` end what runs inside once `deadline` has passed; an outer deadline holds as well."""
    token = _DEADLINES.set((*_DEADLINES.get(), deadline))
    try:
        yield
    finally:
        _DEADLINES.reset(token)


def check_time() -> None:
    """Call this often in long work.

    Raises:
        TimeUp: a deadline that `until` set has passed.

    Examples:
        >>> with until(Deadline.after(0)):
        ...     check_time()
        Traceback (most recent call last):
        collabplan.attacks.time_limit.TimeUp
    """
    if any(deadline.passed for deadline in _DEADLINES.get()):
        raise TimeUp


@contextmanager
def interruptible() -> Iterator[None]:
    """Call `check_time` before every operation on tensors that Python code runs inside, a few microseconds each.

    What holds intermediate results must not keep them half made: `TimeUp` may come between any two operations.

    Examples:
        >>> import torch
        >>> with until(Deadline.after(0)), interruptible():
        ...     torch.ones(2) + 1
        Traceback (most recent call last):
        collabplan.attacks.time_limit.TimeUp
    """
    with _Asking():
        yield


class _Asking(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(isinstance(each, Tensor) for each in args):  # without, `no_grad` could not even restore its state
            check_time()
        return func(*args, **(kwargs or {}))
