"""Three users from nothing: every command at the first attempt, with its seconds and exit code.

pictures: 300 JPEG files in class folders and a small CNN that is trained on other pictures. named: a timm model by its
name, without weights. autoencoder: a network whose target defines `evaluate`.

OMP_NUM_THREADS=1 .venv/bin/python benchmarks/stories.py --attacks ridge,kernel,likelihood
bench-env/bin/python benchmarks/stories.py named
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

from report import bar, machine

CLASSES = ("cat", "frog", "ship")
TRAINED_ON, SHOWN = 600, 100
"""Pictures of each class that the network learns from, and that its user shows collabplan."""

CNN = """
import pathlib, numpy as np, torch
from PIL import Image
from torch import nn

def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))

def network():
    return nn.Sequential(block(3, 16), block(16, 32), block(32, 64), nn.Flatten(), nn.Linear(1024, 3))

def model():
    net = network()
    net.load_state_dict(torch.load("weights.pt", weights_only=True))
    return net.eval()

def train():
    torch.manual_seed(0)
    files = sorted(pathlib.Path("training").glob("*/*.jpg"))
    pictures = torch.tensor(np.stack([np.asarray(Image.open(f)) for f in files])).permute(0, 3, 1, 2) / 255
    labels = torch.tensor([class_names.index(f.parent.name) for f in files])
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(15 * len(files) // 64):
        batch = torch.randint(len(files), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pictures[batch]), labels[batch]).backward()
        optimizer.step()
    torch.save(net.state_dict(), "weights.pt")

example_inputs = (torch.zeros(1, 3, 32, 32),)
input_range = (0.0, 1.0)
validation_data = "photos"
class_names = ["cat", "frog", "ship"]
"""

AUTOENCODER = """
import torch
from sklearn.datasets import load_digits
from torch import nn

digits = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16

class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 24), nn.ReLU()
        )
        self.decoder = nn.Sequential(nn.Linear(24, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x)).view(-1, 1, 8, 8)

def model():
    torch.manual_seed(0)
    net = Autoencoder()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(400):
        batch = digits[torch.randint(1000, (128,))]
        optimizer.zero_grad()
        nn.functional.mse_loss(net(batch), batch).backward()
        optimizer.step()
    return net.eval()

def evaluate(outputs, labels):
    return 1 - ((outputs - labels) ** 2).mean(dim=(1, 2, 3)) / labels.var(dim=(1, 2, 3))

example_inputs = (torch.zeros(1, 1, 8, 8),)
input_range = (0.0, 1.0)
validation_data = (digits[1000:1600], digits[1000:1600])
"""

COLLABPLAN = "from collabplan.cli.main import main; main()"
WITH_TORCHVISION = f"from zoo import torchvision_module; torchvision_module(); {COLLABPLAN}"
"""torchvision has no CPU build for this torch, so its operator names are defined first (`zoo.py`)."""


def photos(folder: Path, *, training: bool) -> None:
    """Write the pictures of CIFAR-10 (JPEG) as class folders. Exits where the data is absent."""
    place = Path(os.environ.get("COLLABPLAN_DATA", "data")) / "cifar10-jpeg.zip"
    if not place.is_file():
        raise SystemExit(f"{place} is not there; COLLABPLAN_DATA names the folder that holds cifar10-jpeg.zip")
    with zipfile.ZipFile(place) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        parts = [("test", "photos", SHOWN), *([("train", "training", TRAINED_ON)] * training)]
        for part, into, count in parts:
            for each in CLASSES:
                (folder / into / each).mkdir(parents=True)
                for name in [name for name in names if name.startswith(f"{part}/{each}/")][:count]:
                    (folder / into / each / Path(name).name).write_bytes(archive.read(name))


def prepared(story: str, folder: Path) -> tuple[str, list[str], list[str]]:
    """Make what the user has. Returns the target, and further options of `profile` and of `optimize`."""
    if story == "named":
        photos(folder, training=False)
        return "timm:mobilenetv3_small_050", ["--data", "photos"], []
    (folder / "model.py").write_text(CNN if story == "pictures" else AUTOENCODER)
    if story == "pictures":
        photos(folder, training=True)
        subprocess.run([sys.executable, "-c", "import model; model.train()"], cwd=folder, check=True)
        return "model.py", [], ["--max-edge-params", "15000"]  # the device has no room for the whole network
    return "model.py", [], ["--max-edge-params", "7000"]


def tell(story: str, attacks: str, limit_s: float) -> None:
    """One story: each command is one line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target, first, searched = prepared(story, folder)
        for command in (
            ["profile", target, *first, "--seconds", "3"],
            ["optimize", "--preset", "look", "--budget-ms", "100", *searched],
            ["attack", "plan.json", "--attacks", attacks],
            ["report", "plan.json"],
            ["split", "plan.json", "-o", "halves"],
        ):
            run(story, command, folder, limit_s)
        page = folder / "report.html"
        bar("stories", f"{story}: size of the report", page.stat().st_size if page.is_file() else None, "B")


def run(story: str, command: list[str], folder: Path, limit_s: float) -> None:
    """Run a command and print its seconds, exit code and last line; code 124 where it was ended after `limit_s`."""
    program = WITH_TORCHVISION if story == "named" and find_spec("torchvision") else COLLABPLAN
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    started = time.perf_counter()
    with (folder / "out.txt").open("w+") as out:
        try:
            done = subprocess.run(
                [sys.executable, "-c", program, *command], cwd=folder, env=environment, stdout=out,
                stderr=subprocess.STDOUT, timeout=limit_s, check=False,
            )  # fmt: skip
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = 124
        taken = time.perf_counter() - started
        out.seek(0)
        lines = out.read().strip().splitlines()
    bar(
        "stories", f"{story}: {' '.join(command)}", round(taken, 1), "s", target="exit 0", holds=code == 0,
        exit=code, lines=len(lines), last=lines[-1] if lines else "",
    )  # fmt: skip


def main() -> None:
    """Tell the stories that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stories", nargs="*", metavar="STORY", help="pictures, named, autoencoder; default: all")
    parser.add_argument("--attacks", default="all", help="as `collabplan attack` takes them; default: all")
    parser.add_argument("--limit-s", type=float, default=3600.0, help="seconds that one command may take")
    given = parser.parse_args()
    for story in given.stories or ("pictures", "named", "autoencoder"):
        if story not in ("pictures", "named", "autoencoder"):
            parser.error(f"there is no story {story!r}: pictures, named, autoencoder")
        tell(story, given.attacks, given.limit_s)
    machine()


if __name__ == "__main__":
    main()
