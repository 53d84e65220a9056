"""Two devices on one store of releases, and how long a near-duplicate takes to be found.

Bar 3.3a: two processes release the same inputs in step, 10,000 each, every second one of the other device as a
near-duplicate. No input may leave under more masks than the policy says.
Bar 3.3b: among 100,000 inputs a near-duplicate, and an input without one, are looked up in at most 1 ms (median),
beside a scan over the sums of all inputs in memory and one over all their numbers, in the same run, which must give the
same answers. The inputs have the spectrum of natural images (power 1/f^2); pure noise, for which the index helps
little, and twice the tolerance stand beside them without a bar.
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
CHUNK, STRETCHES, SCANS = 1000, 56, 5
Numbers = NDArray[np.float32]


def images(count: int, seed: int) -> Numbers:
    """`[count, SIDE * SIDE]` in [0, 1], mean 0.5 and deviation 0.2, amplitude 1/f."""
    frequency: NDArray[np.float64] = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    frequency[0, 0] = 1 / SIDE
    white = np.random.default_rng(seed).standard_normal((count, SIDE, SIDE))
    made = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    pixels: Numbers = (0.5 + 0.2 * made / made.std()).clip(0, 1).reshape(count, -1).astype(np.float32)
    return pixels


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


def lookups(name: str, draw: Callable[[int, int], Numbers], count: int, tries: int, tolerances: list[float]) -> None:
    """Bar 3.3b. It holds where what is sought differs from all others in its coarse parts; noise has no bar."""
    with tempfile.TemporaryDirectory() as folder:
        store = ReleaseStore(Path(folder) / "releases", "plan", ROW_BYTES, keeps_numbers=True)
        kept, began = np.concatenate([draw(CHUNK, start) for start in range(0, count, CHUNK)]), time.perf_counter()
        for start in range(0, len(kept), CHUNK):
            with store.decision():
                for index, values in enumerate(kept[start : start + CHUNK], start):
                    store.add(index.to_bytes(16, "little"), bytes(ROW_BYTES), values)
        added_per_s = round(len(kept) / (time.perf_counter() - began))
        sums = scan_sums(kept)
        for near in tolerances:
            found, none, scanned, alone, wrong = looked_up(store, kept, sums, draw(tries, 10**6), near)
            middle = max(statistics.median(wall for wall, _ in each) for each in (found, none))
            bar("3.3b", f"near-duplicate among {len(kept)} inputs ({name}), tolerance {near:g}", round(middle, 3), "ms",
                target=1.0, holds=middle <= 1.0 and not wrong if near == NEAR and draw is images else None,
                reference={"scan of sums": round(statistics.median(scanned), 2),
                           "scan of all numbers": round(statistics.median(alone), 2)},
                wrong_answers=wrong, lookups=len(found) + len(none), numbers=SIDE * SIDE, added_per_s=added_per_s,
                **{f"{which}_{kind}_ms": round(statistics.median(each[column] for each in times), 3)
                   for which, times in (("found", found), ("none", none))
                   for column, kind in enumerate(("wall", "cpu"))})  # fmt: skip
        store.close()


Times = list[tuple[float, float]]
"""Milliseconds by the clock, and of this thread."""


def looked_up(
    store: ReleaseStore, kept: Numbers, sums: NDArray[np.float64], strangers: Numbers, near: float
) -> tuple[Times, Times, list[float], list[float], int]:
    """The times of lookups that find something and of others, of both scans, and how many answers were wrong."""
    generator, wrong = np.random.default_rng(7), 0
    times, scanned, alone = (Times(), Times()), list[float](), list[float]()
    for index, chosen in enumerate(generator.choice(len(kept), len(strangers), replace=False)):
        near_by = kept[chosen] + np.float32(near / 2) * generator.standard_normal(kept.shape[1], dtype=np.float32)
        for values, each in zip((near_by, strangers[index]), times, strict=True):
            clock, own = time.perf_counter(), time.thread_time()
            with store.decision():
                number = store.nearest(values, near)
            each.append(((time.perf_counter() - clock) * 1e3, (time.thread_time() - own) * 1e3))
            clock = time.perf_counter()
            expected = scan_of_sums(kept, sums, values, near)
            scanned.append((time.perf_counter() - clock) * 1e3)
            wrong += (None if number is None else number - 1) != expected
        if index < SCANS:
            clock = time.perf_counter()
            wrong += scan_of_numbers(kept, near_by, near) != scan_of_sums(kept, sums, near_by, near)
            alone.append((time.perf_counter() - clock) * 1e3)
    return *times, scanned, alone, wrong


def scan_sums(rows: Numbers) -> NDArray[np.float64]:
    """Sums over stretches of the numbers, `[inputs, STRETCHES]`."""
    found: NDArray[np.float64] = rows.astype(np.float64).reshape(-1, STRETCHES, SIDE * SIDE // STRETCHES).sum(axis=2)
    return found


def scan_of_sums(kept: Numbers, sums: NDArray[np.float64], values: Numbers, near: float) -> int | None:
    """The linear search: exclude by the sums of every input, compare the rest in full."""
    rest = np.flatnonzero(np.abs(sums - scan_sums(values)).sum(axis=1) / values.size <= near * (1 + 1e-6) + 1e-6)
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
    parser.add_argument("--entries", type=int, default=100, help="of the lookups, in thousands; 0: none")
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--device", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.device is not None:
        device(options.store, options.device, options.inputs, options.releases)
        return
    if options.entries:
        lookups("images", images, options.entries * CHUNK, options.tries, [NEAR, 2 * NEAR])
        lookups("noise", noise, options.entries * CHUNK, max(options.tries // 10, 1), [NEAR])
    if options.inputs:
        in_step(options.inputs, options.releases)
    machine(("torch", "numpy"))


if __name__ == "__main__":
    main()
