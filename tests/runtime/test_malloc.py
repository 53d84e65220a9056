"""Memory that is kept is not mapped anew in each run."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

WARMING, RUNS = 40, 20
FAULTS = f"""
import resource, sys, torch
from collabplan.runtime import keep_memory

if sys.argv[1] == "kept":
    keep_memory()

def run():
    for numbers in (20_000_000, 3_000_000):
        torch.empty(numbers).fill_(1)

for _ in range({WARMING} if sys.argv[1] == "kept" else 1):
    run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({RUNS}):
    run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of as many runs in a process of its own."""
    ran = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")
def test_kept_memory_is_not_mapped_again() -> None:
    mapped = faults("as it is")
    assert mapped > 10 * RUNS, "or nothing need be kept"
    assert faults("kept") < mapped / 10, "at most once more, where something small lay in the way"
