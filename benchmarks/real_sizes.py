"""Bars 5.1 to 5.3: models and inputs of real sizes on two cores: time and memory of leakage and of an audit.

    bench-env/bin/python benchmarks/real_sizes.py                              ResNet-50 of timm, the whole bars
    bench-env/bin/python benchmarks/real_sizes.py --model vit_small_patch16_224
    bench-env/bin/python benchmarks/real_sizes.py --images 200 --samples 100 --cuts 3 --attacks prior,ridge
    .venv/bin/python benchmarks/real_sizes.py --model like-resnet50            a network of the same shapes

The images are synthetic and the weights random: neither time nor memory depends on them. The image folder is made
first. Leakage and audit run in a process each, whose greatest resident memory is a figure.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from leakage_speed import spread, synthetic
from report import bar, machine
from torch import Tensor, nn
from zoo import torchvision_module

CLASSES = 10
SIZE = 224
RATES = "dropout:element:0,0.5,0.9"


class Bottleneck(nn.Module):
    """He et al. 2016, figure 5."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.branch = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        same = stride == 1 and channels == out
        self.skip = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = (self.branch(x) + self.skip(x)).relu()
        return made


class LikeResNet50(nn.Module):
    """The blocks of ResNet-50."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        blocks, channels = [], 64
        for stage, depth in enumerate((3, 4, 6, 3)):
            for number in range(depth):
                blocks.append(Bottleneck(channels, 64 * 2**stage, 2 if stage and not number else 1))
                channels = 256 * 2**stage
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.blocks(self.stem(x)).mean((2, 3)))
        return scores


def built(name: str) -> nn.Module:
    """The model with random weights: of timm, or `like-resnet50`."""
    torch.manual_seed(0)
    if name == "like-resnet50":
        return LikeResNet50().eval()
    torchvision_module()  # defines the operator names that timm imports
    import timm

    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    return made.eval()


def make_folder(folder: Path, count: int) -> None:
    """`count` pictures as `folder/class/number.jpg`."""
    from PIL import Image

    for number in range(CLASSES):
        (folder / f"class{number}").mkdir(parents=True)
    images = synthetic(min(count, 200), SIZE)
    for number in range(count):
        # Beyond the first 200, mixtures of two: as different as others, and quickly made.
        image = images[number % len(images)]
        if number >= len(images):
            image = (image + images[(7 * number + number // len(images)) % len(images)].flip(2)) / 2
        pixels = (image * 255).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"class{number % CLASSES}" / f"{number:05d}.jpg", quality=90)


TARGET = """
import sys, torch
sys.path.insert(0, {benchmarks!r})
from real_sizes import built

def model():
    return built({model!r})

example_inputs = torch.rand(1, 3, 224, 224)
input_range = (0.0, 1.0)
validation_data = {images!r}
"""


def opened(asked: argparse.Namespace) -> tuple[Any, list[Any]]:
    """The session, and the cuts between raw input and result."""
    from collabplan.graph import candidate_cuts
    from collabplan.targets.input_options import InputOptions
    from collabplan.workflows.reporter import Silent
    from collabplan.workflows.session import open_session

    Path("target.py").write_text(
        TARGET.format(benchmarks=str(Path(__file__).parent.resolve()), model=asked.model, images=asked.folder)
    )
    session = open_session("target.py", InputOptions(), Silent(), needs_data=True)
    every = candidate_cuts(session.traced, 1)
    return session, [cut for cut in every if cut.searchable and cut.kind == "proper" and not cut.sends_raw_input]


class Told:
    """Each step with its processor time and the memory so far, on stderr: what other programs take is left out."""

    def __init__(self) -> None:
        self.what, self.since = "", time.process_time()
        self.seconds: dict[str, float] = {}

    def __call__(self, _done: float, _total: float, what: str = "") -> None:
        if what == self.what:
            return
        now = time.process_time()
        taken, peak = now - self.since, peak_bytes() / 2**30
        if self.what:
            self.seconds[self.what] = self.seconds.get(self.what, 0.0) + taken
            print(f"{self.what}: {taken:.1f} s of processor time, peak {peak:.2f} GiB", file=sys.stderr, flush=True)
        self.what, self.since = what, now


def telling() -> tuple[Any, Told]:
    """A reporter that tells each step."""
    from contextlib import contextmanager

    from collabplan.workflows.reporter import Silent

    told = Told()

    class Telling(Silent):
        @contextmanager
        def progress(self, what: str, *, counted: bool = False, timed: bool = False) -> Any:  # noqa: ARG002
            told(0, 0, what)
            yield told
            told(0, 0, "")

    return Telling(), told


def peak_bytes() -> int:
    """The greatest resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def leakage_worker(asked: argparse.Namespace) -> dict[str, object]:
    """The leakage of cuts spread over the depth."""
    from collabplan.targets.input_options import InputOptions
    from collabplan.workflows.leakage import measure_leakage
    from collabplan.workflows.options import LeakageOptions
    from collabplan.workflows.workspace import Workspace

    session, cuts = opened(asked)
    chosen = [cut for cut in cuts if cut.name in asked.names.split(",")] or spread(cuts, min(asked.cuts, len(cuts)))
    reporter, told = telling()
    started = time.perf_counter()
    report = measure_leakage(
        session,
        InputOptions(),
        LeakageOptions(
            cuts=",".join(cut.name for cut in chosen), defense=(RATES,), samples=asked.samples, memory=asked.memory
        ),
        Workspace.here(),
        reporter,
    )
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": round(time.process_time()),
        "peak_bytes": peak_bytes(),
        "cuts": len(chosen),
        "rows": len(report.rows),
        "samples": report.sample_count,
        "largest_cut": max(sum(crossing.sample_elements for crossing in cut.crossing) for cut in chosen),
        "notes": report.notes,
        "processor_seconds_of_steps": {what: round(seconds, 1) for what, seconds in told.seconds.items()},
    }


def audit_worker(asked: argparse.Namespace) -> dict[str, object]:
    """A quick audit of one cut, by default in the middle of the depth."""
    from collabplan.targets.input_options import InputOptions
    from collabplan.workflows.attack import attack
    from collabplan.workflows.options import AttackOptions
    from collabplan.workflows.workspace import Workspace

    session, cuts = opened(asked)
    cut = next((cut for cut in cuts if cut.name in asked.names.split(",")), cuts[len(cuts) // 2])
    reporter, told = telling()
    started = time.perf_counter()
    found = attack(
        session,
        InputOptions(),
        AttackOptions(
            cuts=cut.name, defense=("dropout:element:0.5",), attacks=asked.attacks, effort="quick", memory=asked.memory
        ),
        Workspace.here(),
        reporter,
    )
    (audit,) = found.report.audits
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": round(time.process_time()),
        "peak_bytes": peak_bytes(),
        "cut": cut.name,
        "numbers": sum(crossing.sample_elements for crossing in cut.crossing),
        "attacks": {result.attack: round(result.seconds, 1) for result in audit.attacks},
        "failed": [f"{result.attack}: {result.reason}" for result in audit.attacks if result.status == "failed"],
        "processor_seconds_of_steps": {what: round(seconds, 1) for what, seconds in told.seconds.items()},
    }


WORKERS = {"leakage": leakage_worker, "audit": audit_worker}


def in_process(worker: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What a worker returns, run in a process and an empty folder of its own."""
    place = folder / worker
    place.mkdir()
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", worker, "--folder", str(folder / "images")]
    for name in ("model", "samples", "cuts", "memory", "names", "threads", "attacks"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, text=True, check=True)
    returned: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return returned


def main() -> None:
    """Print the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50", help="of timm, or like-resnet50")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--memory", default="6GiB")
    parser.add_argument("--names", default="", help="of cuts; default: spread over the depth, the middle one attacked")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--attacks", default="all")
    parser.add_argument("--only", choices=WORKERS)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        torch.set_num_threads(asked.threads)
        if asked.model != "like-resnet50":
            torchvision_module()  # before torchmetrics imports it in the usual way
        print(json.dumps(WORKERS[asked.worker](asked)))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        make_folder(folder / "images", asked.images)
        about = {"model": asked.model, "images": asked.images, "memory": asked.memory}
        if asked.only != "audit":
            found = in_process("leakage", asked, folder)
            whole = found["samples"] >= 1000 and found["cuts"] >= 20
            gib = found.pop("peak_bytes") / 2**30
            seconds = found.pop("seconds")
            bar(
                "5.1", "leakage of 20 cuts, 1,000 samples, 3 rates at 224 x 224", round(seconds), "s", target=1200,
                holds=seconds <= 1200 if whole else None, **about, **found,
            )  # fmt: skip
            bar("5.2", "its peak resident memory", round(gib, 2), "GiB", target=6, holds=gib <= 6 if whole else None)
        if asked.only != "leakage":
            found = in_process("audit", asked, folder)
            whole = asked.attacks == "all" and asked.images >= 3000
            gib = found.pop("peak_bytes") / 2**30
            seconds = found.pop("seconds")
            bar(
                "5.3", "a quick audit of one cut at 224 x 224", round(seconds), "s", target=900,
                holds=seconds <= 900 if whole else None, peak_gib=round(gib, 2), **about, **found,
            )  # fmt: skip
    machine(("torch", "timm", "numpy", "scipy"))


if __name__ == "__main__":
    main()
