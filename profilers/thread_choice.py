"""How many threads a model is measured with, where the user named no number.

Threads inside an operator wait for the slowest of them, and spin while they wait. Where other programs hold the
cores, every operator waits until its last thread is given one: a run of 4 ms took 383 ms on two cores beside two busy
programs. One thread waits for nobody. So where the machine looks busy, one thread is tried as well, in turns, and the
faster of the two is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from ..records import Profile, Timing

BUSY = "the machine is busy and a run takes"
"""How the line about one thread begins."""

NAMING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment by which a user names the number of threads."""

TURNS = 5
FASTER = 0.9
"""One thread is kept if it needs at most this share of the other's time, so that chance alone changes nothing."""

TRIAL_S = 3.0
"""Seconds after which no further turn begins."""


@dataclass(frozen=True)
class ThreadChoice:
    """The number of threads to measure with; `said`: one line for the user where it is not the usual number."""

    threads: int
    said: str | None = None


def threads_named(threads: int | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Has the user said how many threads to use? Such a number is never changed."""
    return threads is not None or any(environment.get(name) for name in NAMING)


def said_of_threads(profile: Profile) -> str | None:
    """The line of a profile that was made with one thread because the machine was busy."""
    return next((line for line in profile.warnings if line.startswith(BUSY)), None)


def choose_threads(
    elapsed_ms: Callable[[int], float],
    usual: int,
    *,
    busy: bool,
    clock: Callable[[], float] = time.monotonic,
) -> ThreadChoice:
    """The usual number of threads, or one where the machine is busy and one is faster.

    Args:
        elapsed_ms: runs the model once with so many threads; wall milliseconds.
        usual: what torch uses if nothing is said.
        busy: other programs are known to run. Runs that scatter show it too.
        clock: seconds, to bound the trial by `TRIAL_S`.

    Examples:
        >>> choose_threads(lambda threads: 380.0 if threads > 1 else 4.0, 2, busy=True).threads
        1
    """
    if usual == 1:
        return ThreadChoice(usual)
    ends = clock() + TRIAL_S
    elapsed_ms(usual)
    found = [elapsed_ms(usual)]
    while len(found) < TURNS and clock() < ends:
        found.append(elapsed_ms(usual))
    if not busy and not Timing.from_samples(found).scatters:
        return ThreadChoice(usual)
    elapsed_ms(1)
    alone = [elapsed_ms(1)]
    while len(alone) < TURNS and clock() < ends:
        found.append(elapsed_ms(usual))
        alone.append(elapsed_ms(1))
    several_ms, one_ms = median(found), median(alone)
    if one_ms > FASTER * several_ms:
        return ThreadChoice(usual)
    return ThreadChoice(
        1,
        f"{BUSY} {several_ms:.3g} ms with {usual} threads, {one_ms:.3g} ms with one: "
        f"profiled with one (--threads {usual} keeps {usual}); `serve` and `infer` need --threads 1 to be as fast",
    )
