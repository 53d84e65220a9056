"""Bar 2.7: our MINE on the 40 tasks of benchmark-mi, beside the library's MINE, KSG and CCA on the same samples.

    .venv/bin/python benchmarks/bmi/compare.py FOLDER       FOLDER as `sample.py` filled it

Prints a line per task and the bars; estimates are kept in FOLDER, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from collabplan.estimators.mine import mine_information
from collabplan.records import CollabplanError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import bar, machine

SPARSE_25 = "multinormal-sparse-25-25-2-2.0"


def estimate(folder: Path, task: dict[str, object]) -> dict[str, object]:
    """Our value and seconds on one task, computed once; None where MINE refuses its own value."""
    kept = folder / f"{task['name']}.ours.json"
    if kept.exists():
        return json.loads(kept.read_text())
    x, y = (torch.from_numpy(np.load(folder / f"{task['name']}.{side}.npy", allow_pickle=False)) for side in "xy")
    started = time.perf_counter()
    try:
        value = mine_information(x, y, generator=torch.Generator().manual_seed(0)).value
    except CollabplanError as error:
        print(f"{task['name']}: {error}", file=sys.stderr)
        value = None
    found = {"value": value, "seconds": round(time.perf_counter() - started, 1)}
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(found))
    os.replace(part, kept)
    return found


def rounded(value: float | None) -> float | None:
    """To a thousandth of a nat."""
    return None if value is None else round(value, 3)


def error_of(value: float | None, truth: float) -> float:
    """Absolute error in nats; a refused value counts as 0 nats."""
    return abs((value or 0.0) - truth)


def main() -> None:
    """Print every task, then the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    names = sorted(path.stem for path in folder.glob("*.json") if not path.stem.endswith(".ours"))
    tasks = [json.loads((folder / f"{name}.json").read_text()) for name in names]
    ours = {task["name"]: estimate(folder, task) for task in tasks}
    for task in tasks:
        found, truth = ours[task["name"]], task["truth"]
        library = {
            name: None if item["value"] is None else round(item["value"], 3) for name, item in task["library"].items()
        }
        value = None if found["value"] is None else round(found["value"], 3)
        bar("2.7", task["name"], value, "nats", target=round(truth, 3), reference=library, seconds=found["seconds"])

    def few(task: dict[str, object]) -> bool:
        return "student" not in task["name"] and max(task["dim"]) <= 25

    def mean_error(value_of: object) -> float:
        errors = [error_of(value_of(task), task["truth"]) for task in tasks if few(task)]
        return round(float(np.mean(errors)), 3)

    mean = mean_error(lambda task: ours[task["name"]]["value"])
    others = {
        name: mean_error(lambda task, name=name: task["library"][name]["value"])
        for name in ("MINE", "KSG", "CCA")
        if all(name in task["library"] for task in tasks)
    }
    bar(
        "2.7", "mean absolute error, non-Student tasks of at most 25 dimensions", mean, "nats", target=0.12,
        holds=mean <= 0.12, reference=others, tasks=sum(map(few, tasks)),
    )  # fmt: skip
    judged = [task for task in tasks if "MINE" in task["library"]]
    better = sum(
        error_of(ours[task["name"]]["value"], task["truth"]) < error_of(task["library"]["MINE"]["value"], task["truth"])
        for task in judged
    )
    share = round(better / max(len(judged), 1), 3)
    bar(
        "2.7", "share of tasks with a smaller error than the library's MINE", share, "share", target=0.75,
        holds=share >= 0.75, tasks=len(judged),
    )  # fmt: skip
    if SPARSE_25 in ours:
        value = ours[SPARSE_25]["value"] or 0.0
        bar("2.7", "multinormal-sparse-25", round(value, 3), "nats", target=0.8, holds=value >= 0.8, truth=1.022)
    machine(("torch", "numpy"))


if __name__ == "__main__":
    main()
