"""Two devices on one store of releases, and how long a near-duplicate takes to be found.

Bar 3.3a: two processes release the same inputs in step, 10,000 each, every second one of the other device as a
near-duplicate. No input may leave under more masks than the policy says.
Bar 3.3b: among 100,000 inputs a near-duplicate, and an input without one, are looked up in at most 1 ms (median),
beside a scan over the sums of all inputs in memory and one over all their numbers, in the same run. The inputs have
the spectrum of natural images (power 1/f^2); pure noise, for which no such index helps, stands beside them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from collabplan.runtime.device.release_limiter import ReleaseLimiter, ReleasePolicy
from collabplan.runtime.device.release_store import ReleaseStore
from numpy.typing import NDArray
from report import bar, machine

ROW_BYTES, SIDE, NEAR = 64, 28, 0.01
CHUNK = 1000
Numbers = NDArray[np.float32]


def images(count: int, seed: int) -> Numbers:
    """`[count, SIDE * SIDE]` in [0, 1], mean 0.5 and deviation 0.2, amplitude 1/f."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    frequency[0, 0] = 1 / SIDE
    white = np.random.default_rng(seed).standard_normal((count, SIDE, SIDE))
    made = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    made = 0.5 + 0.2 * made / made.std()
    return made.clip(0, 1).reshape(count, -1).astype(np.float32)


def noise(count: int, seed: int) -> Numbers:
    """`[count, SIDE * SIDE]`, uniform on [0, 1]."""
    return np.random.default_rng(seed).random((count, SIDE * SIDE), dtype=np.float32)


def frames(count: int, seed: int) -> Iterator[Numbers]:
    """`count` images one by one, in small memory."""
    for start in range(0, count, CHUNK):
        yield from images(min(CHUNK, count - start), seed + start)


# two devices --------------------------------------------------------------------------------------------------------


def device(store: Path, number: int, count: int, releases: int) -> None:
    """One device: for each line that it reads, it releases the next input, and says which masks left."""
    policy = ReleasePolicy(store=store, near=NEAR, releases=releases, wait_s=60.0)
    limiter = ReleaseLimiter(policy, "plan", ROW_BYTES)
    draw = np.random.default_rng(number)
    print("ready", flush=True)
    for index, frame in enumerate(frames(count, 0)):
        sys.stdin.readline()
        seen = frame + draw.normal(0, NEAR / 4, frame.shape).astype(np.float32) * (index % 2)
        fresh = np.zeros((1, ROW_BYTES), dtype=np.uint8)
        fresh[0, :8] = np.frombuffer(np.array([index, number], dtype="<u4").tobytes(), dtype=np.uint8)
        settled = limiter.settle([torch.from_numpy(seen)[None]], fresh)
        print(*settled.rows[0, :8].copy().view("<u4").tolist(), flush=True)


def in_step(count: int, releases: int) -> None:
    """Bar 3.3a."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "releases"
        ReleaseStore(store, "plan", ROW_BYTES, keeps_numbers=True).close()
        command = [sys.executable, __file__, "--inputs", str(count), "--releases", str(releases), "--store", str(store)]
        devices = [
            subprocess.Popen([*command, "--device", number], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in ("0", "1")
        ]
        assert [answer(each) for each in devices] == ["ready", "ready"]
        most, over, right, began = 0, 0, 0, time.perf_counter()
        for index in range(count):
            for each in devices:
                print(file=each.stdin, flush=True)
            left = {answer(each) for each in devices}
            most, over = max(most, len(left)), over + (len(left) > releases)
            right += all(mask.split()[0] == str(index) for mask in left)
        seconds = time.perf_counter() - began
        for each in devices:
            each.communicate()
    bar("3.3a", f"two devices in step, {count} inputs each, {releases} release(s): most masks of one input", most,
        "masks", target=releases, holds=most <= releases and right == count, inputs_over=over,
        answered_with_another_input=count - right,
        reference={"ms for both decisions": round(seconds / count * 1e3, 2)})  # fmt: skip


def answer(process: subprocess.Popen[str]) -> str:
    """The next line that a device says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


# lookups ------------------------------------------------------------------------------------------------------------


def lookups(name: str, draw: Callable[[int, int], Numbers], count: int, tries: int, near: float) -> None:
    """Bar 3.3b."""
    with tempfile.TemporaryDirectory() as folder:
        store = ReleaseStore(Path(folder) / "releases", "plan", ROW_BYTES, keeps_numbers=True)
        kept = np.concatenate([draw(min(CHUNK, count - start), start) for start in range(0, count, CHUNK)])
        began = time.perf_counter()
        for start in range(0, count, CHUNK):
            with store.decision():
                for index in range(start, min(start + CHUNK, count)):
                    store.add(index.to_bytes(16, "little"), bytes(ROW_BYTES), kept[index])
        filled = time.perf_counter() - began
        sums = kept.astype(np.float64).reshape(count, 56, -1).sum(axis=2)
        generator, wrong = np.random.default_rng(7), 0
        times: dict[str, list[float]] = {"near": [], "new": [], "scan of sums": [], "scan of numbers": []}
        strangers = draw(tries, 10**6)
        for index, chosen in enumerate(generator.choice(count, tries, replace=False)):
            near_by = kept[chosen] + generator.normal(0, near / 2, kept.shape[1]).astype(np.float32)
            for which, values in (("near", near_by), ("new", strangers[index])):
                began = time.perf_counter()
                with store.decision():
                    number = store.nearest(values, near)
                times[which].append(time.perf_counter() - began)
                began = time.perf_counter()
                expected = scan_of_sums(kept, sums, values, near)
                times["scan of sums"].append(time.perf_counter() - began)
                wrong += (None if number is None else number - 1) != expected
            if index < 5:
                began = time.perf_counter()
                expected = scan_of_numbers(kept, near_by, near)
                times["scan of numbers"].append(time.perf_counter() - began)
                wrong += expected != scan_of_sums(kept, sums, near_by, near)
        store.close()
    middle = {which: round(statistics.median(each) * 1e3, 3) for which, each in times.items()}
    value = max(middle["near"], middle["new"])
    bar("3.3b", f"near-duplicate among {count} inputs ({name}), tolerance {near:g}", value, "ms", target=1.0,
        holds=(value <= 1.0 and wrong == 0) if name != "noise" else None, wrong_answers=wrong,
        reference={"scan of sums": middle["scan of sums"], "scan of numbers": middle["scan of numbers"]},
        found=middle["near"], none=middle["new"], slowest=round(max(times["near"] + times["new"]) * 1e3, 3),
        numbers=SIDE * SIDE, added_per_s=round(count / filled))  # fmt: skip


def scan_of_sums(kept: Numbers, sums: NDArray[np.float64], values: Numbers, near: float) -> int | None:
    """The linear search: exclude by the sums of every input, compare the rest in full."""
    mine = values.astype(np.float64).reshape(56, -1).sum(axis=1)
    rest = np.flatnonzero(np.abs(sums - mine).sum(axis=1) / values.size <= near * (1 + 1e-6) + 1e-6)
    if not len(rest):
        return None
    best = scan_of_numbers(kept[rest], values, near)
    return None if best is None else int(rest[best])


def scan_of_numbers(kept: Numbers, values: Numbers, near: float) -> int | None:
    """Compare with every input in full."""
    distances = np.concatenate(
        [
            np.abs(kept[start : start + CHUNK] - values).mean(axis=1, dtype=np.float64)
            for start in range(0, len(kept), CHUNK)
        ]
    )
    best = int(distances.argmin())
    return best if distances[best] <= near else None


def main() -> None:
    """Print both bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of each device; 0 leaves them out")
    parser.add_argument("--releases", type=int, default=1)
    parser.add_argument("--entries", type=int, default=100_000, help="of the lookups; 0 leaves them out")
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--device", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.device is not None:
        device(options.store, options.device, options.inputs, options.releases)
        return
    if options.entries:
        for near in (NEAR, 2 * NEAR):
            lookups("images", images, options.entries, options.tries, near)
        lookups("noise", noise, options.entries, max(options.tries // 10, 1), NEAR)
    if options.inputs:
        in_step(options.inputs, options.releases)
    machine(("torch", "numpy"))


if __name__ == "__main__":
    main()
