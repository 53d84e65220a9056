"""An honest client beside hostile ones: what is left of its rate under each flood.

    .venv/bin/python benchmarks/floods.py

One server in a process of its own, one client that asks as fast as it is answered, and a third process that floods from
another address of this machine (127.0.0.2): 300 connections that say hello and nothing else; 72 handshakes whose
request never comes; readers that send a request each and take no answer; and requests that are cancelled as soon as
they are sent. The last two know the bundle. Rounds with and without the flood take turns. In each the client connects
anew, so its handshake counts. Bar 8.2: at least 0.8 of its undisturbed rate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from collabplan.runtime import EdgeClient, open_edge
from collabplan.runtime.wire.framing import BodyKind, Request, pack_request
from collabplan.runtime.wire.request_codec import DefendedCodec
from collabplan.runtime.wire.service import BUNDLE_KEY, PART_KEY
from report import bar, machine

from runtime import deployed, subjects

HOSTILE = Path(__file__).with_name("hostile_client.py")
FLOODS = {
    "idle": "300 idle connections",
    "half-open": "72 calls whose request never comes",
    "slow": "24 readers that take no answer",
    "cancel": "200 cancelled requests a second",
}


@contextlib.contextmanager
def flooded(kind: str, given: dict[str, Any]) -> Iterator[None]:
    """Within: the flood goes on."""
    command = [sys.executable, str(HOSTILE), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "flooding\n"
        try:
            yield
        finally:
            process.kill()


def rate(folder: Path, address: str, inputs: tuple[torch.Tensor, ...], seconds: float) -> float:
    """Requests a second of a client that connects, and then asks one after the other."""
    with EdgeClient(folder, address, policy=None, retries=5) as client:
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            client.infer(inputs)
            count += 1
        return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = subjects(options.model, seconds=15.0, threads=1, count=1)
    with deployed(measured, measured.cuts[0]) as (folder, address):
        edge = open_edge(folder)
        body = bytes(DefendedCodec(edge.defense).body_bytes(1))
        given = {
            "address": address,
            "metadata": {BUNDLE_KEY: edge.manifest.bundle_id, PART_KEY: edge.manifest.part_sha256},
            "frame": pack_request(Request(BodyKind.defended, 1, 1, 10_000, body)).hex(),
        }
        inputs = measured.inputs
        rate(folder, address, inputs, 1.0)
        for kind, text in FLOODS.items():
            shares, undisturbed = [], []
            for _ in range(options.rounds):
                before = rate(folder, address, inputs, options.seconds)
                with flooded(kind, given):
                    during = rate(folder, address, inputs, options.seconds)
                after = rate(folder, address, inputs, options.seconds)
                undisturbed.append((before + after) / 2)
                shares.append(during / undisturbed[-1])
            share = statistics.median(shares)
            bar("8.2", f"{text}: rate of an honest client, share of undisturbed", round(share, 3), "share", target=0.8,
                holds=share >= 0.8, reference=round(statistics.median(undisturbed), 1),
                rounds=[round(each, 3) for each in shares])  # fmt: skip
    machine(("torch", "grpcio"))


if __name__ == "__main__":
    main()
