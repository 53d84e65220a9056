"""Samples of benchmark-mi's 40 tasks, and what the library's own estimators say about them.

Runs in the environment that `install.sh` makes; `compare.py` reads the folder that this one writes:

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" OMP_NUM_THREADS=1 \\
        BMI_ENV/bin/python benchmarks/bmi/sample.py FOLDER

`tasks.json` lists the tasks with their true mutual information in nats; `<task>.x.npy` and `<task>.y.npy` are the samples
(float64, no pickles); `<task>.<estimator>.json` is one estimate with the library's defaults. A file that is there is
not made again, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable

import bmi
import numpy as np

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "cca": bmi.estimators.CCAMutualInformationEstimator,
    "ksg": bmi.estimators.KSGEnsembleFirstEstimator,
    "mine": lambda: bmi.estimators.MINEEstimator(verbose=False),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--estimators", default=",".join(ESTIMATORS), help="comma-separated; empty: samples alone")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    draw(arguments.folder, arguments.samples, arguments.seed)
    for name in filter(None, arguments.estimators.split(",")):
        for task in bmi.benchmark.BENCHMARK_TASKS:
            run(arguments.folder, task, name)
    return 0


def draw(folder: Path, samples: int, seed: int) -> None:
    """Write the samples of every task, then the list of tasks."""
    listed = folder / "tasks.json"
    recipe = {"samples": samples, "seed": seed}
    if listed.exists():
        found = json.loads(listed.read_text())
        if {key: found[key] for key in recipe} != recipe:
            sys.exit(f"{folder} holds other samples ({found['samples']}, seed {found['seed']}); name another folder")
        return
    tasks = {}
    for name, task in bmi.benchmark.BENCHMARK_TASKS.items():
        for side, values in zip("xy", task.sample(samples, seed)):
            flat = np.asarray(values, dtype=np.float64).reshape(samples, -1)
            with replacing(folder / f"{name}.{side}.npy") as part, part.open("wb") as file:
                np.save(file, flat, allow_pickle=False)
        tasks[name] = {"true_nats": float(task.mutual_information), "dim_x": task.dim_x, "dim_y": task.dim_y}
    with replacing(listed) as part:
        part.write_text(json.dumps({**recipe, "tasks": tasks}, indent=1))


def run(folder: Path, task: str, name: str) -> None:
    """One estimate of the library's, unless it is there."""
    target = folder / f"{task}.{name}.json"
    if target.exists():
        return
    x, y = (np.load(folder / f"{task}.{side}.npy", allow_pickle=False) for side in "xy")
    begun = time.perf_counter()
    nats = float(ESTIMATORS[name]().estimate(x, y))
    result = {"nats": nats if math.isfinite(nats) else None, "seconds": time.perf_counter() - begun}
    with replacing(target) as part:
        part.write_text(json.dumps(result))
    print(json.dumps({"task": task, "estimator": name, **result}), flush=True)


class replacing:  # noqa: N801
    """A path to write to; what was written takes the place of `target` when the block ends well."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.part = target.with_name(target.name + ".part")

    def __enter__(self) -> Path:
        return self.part

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            os.replace(self.part, self.target)


if __name__ == "__main__":
    sys.exit(main())
