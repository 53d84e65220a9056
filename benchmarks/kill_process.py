"""Commands in processes of their own, and when they are struck. `kill.py` says at which moments."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kill_child import LOG

CHILD = Path(__file__).with_name("kill_child.py")


@dataclass(frozen=True)
class Moment:
    """When a command is killed: so soon after a line of its log was seen so often since it began."""

    phase: str
    line: str
    times: int = 1
    fresh: bool = False


@dataclass
class Child:
    """A command that runs in a folder."""

    folder: Path
    pid: int
    server: subprocess.Popen[str] | None = None
    process: subprocess.Popen[str] | None = None
    since: int = 0

    def lines(self) -> list[str]:
        """What its log says so far, without the times."""
        log = self.folder / LOG
        if not log.exists():
            return []
        with log.open() as file:
            file.seek(self.since)
            return [line.partition(" ")[2].strip() for line in file]

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self.process is not None:
            return self.process.wait()
        assert self.server is not None
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        if self.process is not None:
            return self.process.poll() is None
        state = Path(f"/proc/{self.pid}/stat")
        with contextlib.suppress(OSError):
            return state.read_text().rpartition(")")[2].split()[0] != "Z"
        return False


@contextlib.contextmanager
def server(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything and forks commands."""
    command = [sys.executable, str(CHILD), "serve"]
    with subprocess.Popen(
        command, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def start(folder: Path, arguments: tuple[str, ...], forks: subprocess.Popen[str] | None) -> Child:
    """Start a command: a fork, or a new Python."""
    log = folder / LOG
    since = log.stat().st_size if log.exists() else 0
    if forks is not None:
        assert forks.stdin is not None
        assert forks.stdout is not None
        forks.stdin.write(json.dumps({"folder": str(folder), "arguments": arguments}) + "\n")
        forks.stdin.flush()
        return Child(folder, int(forks.stdout.readline()), server=forks, since=since)
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, str(CHILD), *arguments], cwd=folder, text=True, stdout=out, stderr=err
        )
    return Child(folder, process.pid, process=process, since=since)


def struck(child: Child, moment: Moment, delay_s: float, by: signal.Signals) -> bool:
    """Wait for a moment and strike; False if the command ended before."""
    seen = re.compile(moment.line)
    while child.runs:
        if sum(seen.match(line) is not None for line in child.lines()) >= moment.times:
            time.sleep(delay_s)
            if child.runs:
                os.kill(child.pid, by)
                return True
            return False
        time.sleep(0.005)
    return False
