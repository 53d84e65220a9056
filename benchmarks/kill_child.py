"""The command line that `kill.py` kills: attacks of a second, and `kill.log` of what begins and ends.

    python benchmarks/kill_child.py optimize model.py --budget-ms 5000

Everything but the efforts and the numbers of targets to sign off is the command line's own. A file that is about to
appear under its name waits for a moment, so that kills find it there.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

LOG = "kill.log"
WAIT_S = 0.02

TARGET = """
import time
import torch
from sklearn.datasets import load_digits
from torch import nn

example_inputs = (torch.zeros(1, 1, 8, 8),)
input_range = (0.0, 1.0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).flatten(1))

def _digits():
    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)

def model():
    with open("kill.log", "a") as log:
        log.write(f"{time.time():.2f} load\\n")
    torch.manual_seed(0)
    net, (images, labels) = Net(), _digits()
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for at in range(0, 1000, 50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[at : at + 50]), labels[at : at + 50]).backward()
        optimizer.step()
    return net

def validation_data():
    images, labels = _digits()
    return images[1000:1400], labels[1000:1400]

def attacker_data():
    images, labels = _digits()
    return images[1400:], labels[1400:]
"""
"""A target file: two convolutions on scikit-learn's digits."""


def note(*words: object) -> None:
    """Add a line to the log, in one step."""
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(" ".join(map(str, (f"{time.time():.2f}", *words))) + "\n")


def shrink() -> None:
    """Let attacks take a second, and let few targets be enough to sign off."""
    from collabplan.attacks import catalogue, interface
    from collabplan.records import sign_off

    quick = interface.Effort("quick", 60, 200, 16, 4, 8, 8, False)
    interface.SEARCHING = quick
    interface.EFFORTS.update(quick=quick, standard=interface.Effort("standard", 100, 200, 64, 16, 4, 8, True))
    for name in set(catalogue.ATTACKS) - {"prior", "ridge", "kernel", "inverse"}:
        del catalogue.ATTACKS[name]
    sign_off.TRAINED_TARGETS, sign_off.OPTIMISED_TARGETS = 50, 4


def told(owner: Any, name: str, what: Callable[..., str]) -> None:
    """Log when a function of `owner` begins and ends; `what` names the call."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def telling(*given: Any, **named: Any) -> Any:
        said = what(*given, **named)
        note("begin", said)
        found = function(*given, **named)
        note("end", said)
        return found

    setattr(owner, name, telling)


def listen() -> None:
    """Log loading, profiling, measurements, fits and written files."""
    from collabplan.attacks.catalogue import ATTACKS
    from collabplan.planner.evaluator import Evaluator
    from collabplan.workflows import problem

    told(problem, "measure_profile", lambda *_: "profile")
    told(Evaluator, "evaluate", lambda _, point, split="search": f"measure {split} {point.key.replace(' ', '')}")
    for kind in {type(make()) for make in ATTACKS.values()}:
        told(kind, "fit", _fit)
    replace = os.replace

    def replaced(source: Any, place: Any) -> None:
        if str(source).endswith(".tmp"):
            note("write", Path(place).name)
            time.sleep(WAIT_S)
        replace(source, place)

    vars(os).update(replace=replaced)


def _fit(attack: Any, view: Any, effort: Any, generator: Any) -> str:
    """A fit by all that makes it another one."""
    marks = (effort.name, effort.train_steps, effort.iterations, effort.fit_samples, view.queries, view.copies or "")
    defense = view.believed.record.text.replace(" ", "_")
    own = ("fit", attack.name, *marks, view.target.cut.name, defense, generator.initial_seed())
    return " ".join(map(str, own)).replace("  ", " ")


def serve() -> None:
    """Start a command for each line of JSON on stdin, in a fork of this process; answer with its number, then its code.

    Python and torch need not be loaded anew for every kill. The fork runs the command line's `main` from its beginning.
    """
    for module in ("optimize", "certify", "output", "plan_tables"):
        importlib.import_module(f"collabplan.cli.{module}")
    for module in (
        "workflows.certify",
        "workflows.optimize",
        "planner",
        "planner.planning",
        "profilers",
        "graph.tracing",
    ):
        importlib.import_module(f"collabplan.{module}")
    importlib.import_module("sklearn.datasets")
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(asked["folder"])
            for stream, name in ((0, os.devnull), (1, "out"), (2, "err")):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if stream else 0)), stream)
            sys.stdin.close()
            run(asked["arguments"])
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def run(arguments: Sequence[str]) -> NoReturn:
    """The command line, as the program runs it."""
    from collabplan.cli.main import main

    sys.argv = ["collabplan", *arguments]
    note("command")
    try:
        main(arguments)
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 70)
    raise AssertionError


if __name__ == "__main__":
    note("start")
    shrink()
    listen()
    if sys.argv[1:] == ["serve"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve()
    else:
        run(sys.argv[1:])
