"""Runs hostile cases in child processes with bounded memory and time: a crash or a hang becomes a figure."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import select
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

EXTRA_MEMORY = 1 << 30
"""Bytes of address space that a child may take beyond what it was born with."""
SECONDS = 60
"""How long one case may take."""
MOST_CRASHES = 3
"""After so many crashes and hangs together no more cases run."""

Case = tuple[str, Callable[[], str]]
"""What names a case in a report, and what runs it. It returns the word that is counted, and may add a remark."""


@dataclass
class Outcome:
    """What came of some cases: how often each word was returned, with examples, and what ended its child."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    crashed: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)

    def note(self, word: str, remark: str, said: str) -> None:
        """Count one case."""
        self.counts[word] += 1
        if len(self.examples.setdefault(word, [])) < MOST_CRASHES:
            self.examples[word].append(f"{remark} {said}".strip())


def run_cases(prepare: Callable[[int], Case], cases: int) -> Outcome:
    """Run the cases in children. A new child goes on behind the case that ended the last one.

    Args:
        prepare: makes the case of an index, inside the child.
        cases: how many there are.
    """
    outcome, at = Outcome(), 0
    while at < cases and len(outcome.crashed) + len(outcome.hung) < MOST_CRASHES:
        at = _run_child(prepare, at, cases, outcome) + 1
    return outcome


def _run_child(prepare: Callable[[int], Case], first: int, cases: int, outcome: Outcome) -> int:
    """The index of the last case that the child began."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(prepare, first, cases, writing)
    os.close(writing)
    at, said, hung, rest = first, "", False, b""
    while True:
        ready, _, _ = select.select([reading], [], [], SECONDS)
        if not ready:
            hung = True
            os.kill(child, signal.SIGKILL)
            break
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            word, _, more = line.decode(errors="replace").partition(" ")
            if word == "try":
                number, _, said = more.partition(" ")
                at = int(number)
            else:
                outcome.note(word, more, said)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if hung:
        outcome.hung.append(said)
    elif os.WIFSIGNALED(status):
        outcome.crashed.append(f"{signal.Signals(os.WTERMSIG(status)).name} {said}")
    elif os.WEXITSTATUS(status):
        outcome.crashed.append(f"exit {os.WEXITSTATUS(status)} {said}")
    else:
        return cases
    return at


def _child(prepare: Callable[[int], Case], first: int, cases: int, writing: int) -> None:
    """Never returns. One line before each case, one after it."""
    with open(os.devnull, "w") as nothing:
        for stream in (1, 2):  # MKL prints what it refuses
            os.dup2(nothing.fileno(), stream)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (taken + EXTRA_MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(BrokenPipeError):
        for index in range(first, cases):
            said, run = prepare(index)
            os.write(writing, f"try {index} {_line(said)}\n".encode(errors="replace"))
            os.write(writing, f"{_line(run())}\n".encode(errors="replace"))
    os._exit(0)


def _line(text: str) -> str:
    return " ".join(text.split())[:900]
