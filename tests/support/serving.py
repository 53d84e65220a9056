"""Servers on loopback for tests: small models, a proxy that can see, cut, hold and damage what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bundle_plans import Made, SkipNet, crossing, images, make
from collabplan.records import DefenseRecord
from collabplan.runtime import write_bundle
from collabplan.runtime.parts import open_cloud, open_edge
from collabplan.runtime.server.server import CloudServer, ServeOptions
from defense_records import defense_record
from torch import Tensor

ANYWHERE = "127.0.0.1:0"

STEADY = defense_record()
"""A defense without chance: 8 bits, rounded to the nearest."""


def until(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wait until something holds; fail if it does not do so in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not hold within {within_s:g} s"
        time.sleep(0.01)


def written(folder: Path, spec: DefenseRecord | None = None, **options: bool | Path) -> Made:
    """A bundle of SkipNet in `folder`: two tensors cross."""
    made = make(SkipNet(), images, crossing("relu", "conv2d_1"), spec=spec)
    write_bundle(made.plan, made.traced, made.cut, folder, **options)  # type: ignore[arg-type]
    return made


def simulated(bundle: Path, inputs: tuple[Tensor, ...]) -> Any:
    """What the halves and the defense make of inputs, without a wire. For defenses without chance."""
    edge, cloud = open_edge(bundle), open_cloud(bundle)
    with torch.no_grad():
        released = edge.defense.release(edge.program(*inputs), torch.Generator())
        return cloud.program(*cloud.defense.receive(released))


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Tensor):
        return torch.equal(found, expected)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and all(same(a, b) for a, b in zip(found, expected, strict=True))
    return bool(found == expected)


@contextlib.contextmanager
def serving(bundle: Path, listen: str = ANYWHERE, **options: object) -> Iterator[CloudServer]:
    with CloudServer(open_cloud(bundle), listen, ServeOptions(**options)) as server:  # type: ignore[arg-type]
        yield server


class Proxy:
    """Passes bytes on to a server. `up` keeps what a client sent, per connection.

    `change` may replace a piece of it; `held` True passes nothing; `cut` breaks every connection.
    """

    def __init__(self, target: str) -> None:
        self._target = target.rpartition(":")[0], int(target.rpartition(":")[2])
        self.up: list[bytearray] = []
        self.change: Callable[[bytes], bytes] = lambda piece: piece
        self.change_down: Callable[[bytes], bytes] = lambda piece: piece
        self.held = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def retarget(self, target: str) -> None:
        self._target = target.rpartition(":")[0], int(target.rpartition(":")[2])

    def cut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else the thread in `accept` keeps it open
        self._listener.close()
        self.cut()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            kept = bytearray()
            self.up.append(kept)
            for source, sink, upwards in ((client, server, kept), (server, client, None)):
                threading.Thread(target=self._pump, args=(source, sink, upwards), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                if kept is not None:
                    kept += piece
                if self.held.is_set():
                    continue
                sink.sendall(self.change(piece) if kept is not None else self.change_down(piece))
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
