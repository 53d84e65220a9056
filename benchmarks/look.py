"""Does `optimize --preset look` keep its time limit on a network at 224 x 224, and when is there a plan?

    .venv/bin/python benchmarks/look.py
    .venv/bin/python benchmarks/look.py --limit 30s --images 100

A ResNet-18 of random weights and so many blurred random images, without any profile: as a user begins. The device has
no room for the last stage, so that the network has to be cut. Random weights have the speed of trained ones; their
figures of accuracy and leakage mean nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from collabplan.records import Plan, load, parse_time_limit_s
from report import bar, machine

GRACE_S = 30.0
EVERY_S = 0.2
PROGRAM = [sys.executable, "-c", "from collabplan.cli.main import main; main()"]
BUDGETS = ("--budget-ms", "500", "--max-edge-params", "4000000", "--max-accuracy-drop", "0.5")

TARGET = """
import torch
from torch import nn

def conv(a, b, size, stride):
    return nn.Sequential(nn.Conv2d(a, b, size, stride, size // 2, bias=False), nn.BatchNorm2d(b))

class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        stride = 1 if a == b else 2
        self.body = nn.Sequential(conv(a, b, 3, stride), nn.ReLU(), conv(b, b, 3, 1))
        self.skip = nn.Identity() if a == b else conv(a, b, 1, stride)

    def forward(self, x):
        return torch.relu(self.body(x) + self.skip(x))

def stage(a, b):
    return nn.Sequential(Block(a, b), Block(b, b))

def images(count):
    draw = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, 3, 14, 14, generator=draw)
    return nn.functional.interpolate(coarse, size=(224, 224), mode="bilinear")

def model():
    torch.manual_seed(0)
    features = nn.Sequential(
        conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        stage(64, 64), stage(64, 128), stage(128, 256), stage(256, 512), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()
    evened = nn.BatchNorm1d(512, affine=False, momentum=1.0)  # or all images would get the same answer
    with torch.no_grad():
        evened.train()(features(images(16)))
    return nn.Sequential(features, evened, nn.Linear(512, 1000)).eval()

def validation_data():
    return images(COUNT)

example_inputs = (torch.zeros(1, 3, 224, 224),)
input_range = (0.0, 1.0)
"""


def watched(folder: Path, limit: str) -> tuple[float | None, float, int, str]:
    """Run the search; seconds to the first plan and to the end, the exit code, and what it said last."""
    started, file, first = time.perf_counter(), folder / "plan.json", None
    command = [*PROGRAM, "optimize", "model.py", *BUDGETS, "--preset", "look", "--time-limit", limit]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        while process.poll() is None:
            if first is None and file.exists():
                first = round(time.perf_counter() - started, 1)
            time.sleep(EVERY_S)
    said = (folder / "log").read_text().strip().splitlines()
    return first, round(time.perf_counter() - started, 1), process.returncode, said[-1] if said else ""


def main() -> None:
    """Run the search once and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--limit", default="90s", help="default: that of the preset")
    given = parser.parse_args()
    limit_s = parse_time_limit_s(given.limit)
    if limit_s is None:
        parser.error("without a limit there is nothing to hold it against")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.py").write_text(TARGET.replace("COUNT", str(given.images)))
        first, ended, code, said = watched(folder, given.limit)
        plan = load(Plan, folder / "plan.json") if (folder / "plan.json").exists() else None
    what = f"ResNet-18 at 224 x 224, {given.images} images"
    bar("24.1", f"{what}: time to the first plan", first, "s", target=limit_s,
        holds=first is not None and first <= limit_s)  # fmt: skip
    bar("24.1", f"{what}: time to the end", ended, "s", target=limit_s + GRACE_S, holds=ended <= limit_s + GRACE_S,
        limit_s=limit_s, exit_code=code, last=said, cut=None if plan is None else plan.cut_name,
        candidates=None if plan is None else plan.trials)  # fmt: skip
    machine()


if __name__ == "__main__":
    main()
