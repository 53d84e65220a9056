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
import itertools
import json
import socket
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

FLOODS = {
    "idle": "300 idle connections",
    "half-open": "72 calls whose request never comes",
    "slow": "24 readers that take no answer",
    "cancel": "200 cancelled requests a second",
}
ATTACKER = "127.0.0.2"
CALLS_PER_CONNECTION = 16
RENEWED_S = 1.0
CANCELS_PER_S = 200

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS = 0, 1, 3, 4
END_HEADERS, CANCELLED, WINDOW_SETTING = 4, 8, 4


def http2(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def hello(*, window: int = 65_535) -> bytes:
    """What opens a connection; `window` bytes of each answer may come before more is allowed."""
    return PREFACE + http2(SETTINGS, 0, 0, WINDOW_SETTING.to_bytes(2, "big") + window.to_bytes(4, "big"))


def call(method: str, stream: int, metadata: dict[str, str]) -> bytes:
    """The headers of a gRPC call, spelt out without a table (RFC 7541, section 6.2.2)."""
    fields = {
        ":method": "POST", ":scheme": "http", ":path": f"/collabplan.Cloud/{method}", ":authority": "a",
        "content-type": "application/grpc", "te": "trailers", **metadata,
    }  # fmt: skip
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    return http2(HEADERS, END_HEADERS, stream, block)


def message(stream: int, frame: bytes) -> bytes:
    """A gRPC message in DATA frames."""
    whole = b"\0" + len(frame).to_bytes(4, "big") + frame
    return b"".join(http2(DATA, 0, stream, whole[at : at + 16_384]) for at in range(0, len(whole), 16_384))


class Hostile:
    """What the hostile process does, again and again until it is ended."""

    def __init__(self, address: str, metadata: dict[str, str], frame: bytes) -> None:
        host, _, port = address.rpartition(":")
        self._target, self._metadata, self._frame = (host, int(port)), metadata, frame
        self._open: list[socket.socket] = []

    def connect(self, opening: bytes) -> socket.socket:
        """One more connection."""
        made = socket.create_connection(self._target, timeout=5, source_address=(ATTACKER, 0))
        made.sendall(opening)
        self._open.append(made)
        return made

    def renew(self) -> None:
        """Close every connection."""
        for each in self._open:
            each.close()
        self._open.clear()

    def idle(self) -> None:
        """Connections without a call."""
        for _ in range(300):
            self.connect(hello())

    def half_open(self) -> None:
        """Calls without a request."""
        for start in range(0, 72, CALLS_PER_CONNECTION):
            streams = range(1, 2 * min(CALLS_PER_CONNECTION, 72 - start), 2)
            self.connect(hello() + b"".join(call("Hello", stream, {}) for stream in streams))

    def slow(self) -> None:
        """Requests whose answers are not taken."""
        for _ in range(24):
            self.connect(hello(window=0) + call("Infer", 1, self._metadata) + message(1, self._frame))

    def cancel(self) -> None:
        """Requests that are cancelled at once, a second of them."""
        connection, began = self.connect(hello()), time.perf_counter()
        for number in range(CANCELS_PER_S):
            stream, reset = 2 * number + 1, CANCELLED.to_bytes(4, "big")
            asked = call("Infer", stream, self._metadata) + message(stream, self._frame)
            connection.sendall(asked + http2(RESET, 0, stream, reset))
            time.sleep(max(0.0, began + (number + 1) / CANCELS_PER_S - time.perf_counter()))


def flood(kind: str) -> None:
    """What the hostile process runs. Standard input says whom it attacks, and with what."""
    given = json.loads(sys.stdin.readline())
    hostile = Hostile(given["address"], given["metadata"], bytes.fromhex(given["frame"]))
    attack = {"idle": hostile.idle, "half-open": hostile.half_open, "slow": hostile.slow, "cancel": hostile.cancel}[
        kind
    ]
    for number in itertools.count():
        began = time.perf_counter()
        with contextlib.suppress(OSError):  # the server defends itself
            attack()
        if number == 0:
            print("flooding", flush=True)
        if kind != "slow":  # those stay as they are: the server waits for them longest
            time.sleep(max(0.0, began + RENEWED_S - time.perf_counter()))
            hostile.renew()
        else:
            sys.stdin.read()


@contextlib.contextmanager
def flooded(kind: str, given: dict[str, Any]) -> Iterator[None]:
    """Within: the flood goes on."""
    command = [sys.executable, __file__, "--flood", kind]
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
    parser.add_argument("--flood", choices=FLOODS, help=argparse.SUPPRESS)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    options = parser.parse_args()
    if options.flood:
        flood(options.flood)
        return
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
