"""Bar 1.6: the command line answers at once, and a ResNet-50 is profiled within a minute.

bench-env/bin/python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import bar, machine

RESNET50 = """
import re, sys, torch
sys.path.insert(0, {benchmarks!r})
from zoo import torchvision_module

def model():
    return torchvision_module().models.resnet50(weights=None)

example_inputs = torch.randn(1, 3, 224, 224)
"""


def seconds(command: list[str], folder: str) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print both bars."""
    program = str(Path(sys.executable).with_name("collabplan"))
    with tempfile.TemporaryDirectory() as folder:
        seconds([program, "--help"], folder)
        answer = statistics.median(seconds([program, "--help"], folder) for _ in range(9))
        bare = statistics.median(seconds([sys.executable, "-c", "import typer, rich"], folder) for _ in range(9))
        bar(
            "1.6",
            "collabplan --help, median of 9",
            round(answer, 3),
            "s",
            target=0.4,
            holds=answer < 0.4,
            reference={"python importing typer and rich alone": round(bare, 3), "ratio": round(answer / bare, 2)},
        )
        target = Path(folder) / "resnet50.py"
        target.write_text(RESNET50.format(benchmarks=str(Path(__file__).parent.resolve())))
        taken = seconds([program, "profile", str(target)], folder)
        bar(
            "1.6",
            "collabplan profile of ResNet-50, 224x224, whole process",
            round(taken, 1),
            "s",
            target=60.0,
            holds=taken < 60,
        )
    machine(("torch", "typer", "rich", "torchvision"))


if __name__ == "__main__":
    main()
