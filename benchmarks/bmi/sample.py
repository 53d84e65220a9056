"""The 40 tasks of benchmark-mi (Czyz et al., "Beyond Normal", NeurIPS 2023): samples, truth, the library's estimates.

    bmi-env/bin/python benchmarks/bmi/sample.py FOLDER [--seed 0]

Runs in the environment that `install.sh` makes. Writes plain arrays (one `.npy` per side of a task) and one JSON per
task; a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import bmi
import numpy as np
from bmi.estimators import CCAMutualInformationEstimator, KSGEnsembleFirstEstimator, MINEEstimator

SAMPLES = 5000
LIBRARY = {
    "CCA": CCAMutualInformationEstimator,
    "KSG": KSGEnsembleFirstEstimator,
    "MINE": lambda: MINEEstimator(verbose=False),
}
"""The library's defaults."""


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)


def main() -> None:
    """Draw what is missing, then estimate what is missing; the quick estimators first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    tasks = bmi.benchmark.BENCHMARK_TASKS
    for name, task in tasks.items():
        about = arguments.folder / f"{name}.json"
        if not about.exists():
            for side, values in zip("xy", task.sample(SAMPLES, seed=arguments.seed), strict=True):
                np.save(
                    arguments.folder / f"{name}.{side}.npy", np.asarray(values, dtype=np.float64), allow_pickle=False
                )
            facts = {
                "name": name,
                "dim": [task.dim_x, task.dim_y],
                "truth": float(task.mutual_information),
                "library": {},
            }
            write(about, json.dumps(facts))
    for estimator, make in LIBRARY.items():
        for name in tasks:
            about = arguments.folder / f"{name}.json"
            facts = json.loads(about.read_text())
            if estimator in facts["library"]:
                continue
            x, y = (np.load(arguments.folder / f"{name}.{side}.npy", allow_pickle=False) for side in "xy")
            started = time.perf_counter()
            value = float(make().estimate(x, y))
            taken = time.perf_counter() - started
            facts["library"][estimator] = {"value": value if np.isfinite(value) else None, "seconds": taken}
            write(about, json.dumps(facts))
            print(f"{estimator} {name}: {value:.3f} of {facts['truth']:.3f} in {taken:.1f} s", flush=True)


if __name__ == "__main__":
    main()
