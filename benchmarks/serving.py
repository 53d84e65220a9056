"""Bars of the runtime: what a split request costs above its parts, and what eight clients get through.

The overhead: p50 of a request through server and client, against the floor: edge half with defense + cloud half + a
plain TCP echo of the same bytes up and the answer's bytes down, all measured in turns in one run. The throughput: eight
clients at once, against the cloud half (its body read and its answer written) in a local loop. Server and clients are
processes of their own; the machine needs a core for each.

    .venv/bin/python benchmarks/serving.py [--requests 300] [--threads 1]
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from collabplan.estimators import Fresh
from collabplan.runtime import CloudPart, EdgeClient, EdgePart, open_cloud, open_edge, write_bundle
from collabplan.runtime.answers import answer_bytes, pack_outputs
from collabplan.runtime.bodies import Released
from report import bar, machine
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/runtime"))
from bundle_plans import crossing, make  # a plan whose figures do not matter here

CLIENTS = 8
CASES = {"4 kB": (16, 16, 8), "100 kB": (56, 32, 8), "800 kB": (112, 64, 2)}
"""By payload: side of the image, channels that cross, convolutions in the cloud."""

SERVE = """
import socket, sys, time, torch
from pathlib import Path
from collabplan.runtime import CloudServer, open_cloud
torch.set_num_threads(int(sys.argv[2]))
server = CloudServer(open_cloud(Path(sys.argv[1])), "127.0.0.1:0").start()
listener = socket.create_server(("127.0.0.1", 0))
print(server.address, listener.getsockname()[1], flush=True)
up, down = int(sys.argv[3]), bytes(int(sys.argv[4]))
link, _ = listener.accept()
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
left = up
while piece := link.recv(left):
    left -= len(piece)
    if not left:
        link.sendall(down)
        left = up
time.sleep(3600)
"""

ASK = """
import sys, torch
from collabplan.runtime import EdgeClient
torch.set_num_threads(1)
x = torch.rand(1, 3, int(sys.argv[3]), int(sys.argv[3]))
with EdgeClient(sys.argv[1], sys.argv[2], policy=None) as client:
    client.infer(x)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in client.stream(x for _ in range(int(sys.argv[4]))):
        pass
"""


class Net(nn.Module):
    """Convolutions of one width; the first is the edge half."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.rest = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth)))
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N, 10]` of images `[N, 3, H, W]`."""
        return self.head(self.rest(torch.relu(self.first(x))).mean(dim=(2, 3)))


@dataclass(frozen=True, eq=False)
class Served:
    """A bundle that is served, and one sample for it."""

    name: str
    folder: Path
    edge: EdgePart
    cloud: CloudPart
    x: Tensor
    address: str
    echo_port: int
    up: int
    down: int

    @property
    def bodies(self) -> Released:
        """Of the bundle's requests."""
        return Released(self.edge.defense)


def measure(name: str, folder: Path, requests: int, threads: int) -> None:
    """Print both bars for one payload."""
    side, channels, depth = CASES[name]

    def inputs(batch: int) -> tuple[Tensor, ...]:
        return (torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(batch)),)

    made = make(Net(channels, depth), inputs, crossing("relu"))
    write_bundle(made.plan, made.traced, made.cut, folder)
    edge, cloud = open_edge(folder), open_cloud(folder)
    up, down = Released(edge.defense).body_bytes(1), answer_bytes(cloud.manifest.part.outputs, 1)
    command = [sys.executable, "-c", SERVE, str(folder), str(threads), str(up), str(down)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address, port = server.stdout.readline().split()
        served = Served(name, folder, edge, cloud, inputs(1)[0], address, int(port), up, down)
        try:
            overhead(served, requests)
            throughput(served, requests)
        finally:
            server.kill()


def overhead(served: Served, requests: int) -> None:
    """One request after the other, its parts in turns with it."""
    times: dict[str, list[float]] = {"edge": [], "cloud": [], "echo": [], "request": []}

    def timed(what: str, run: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = run()
        times[what].append(1e3 * (time.perf_counter() - began))
        return result

    edge, cloud = served.edge, served.cloud
    link = socket.create_connection(("127.0.0.1", served.echo_port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    payload = bytes(served.up)

    def echo() -> None:
        link.sendall(payload)
        left = served.down
        while left:
            left -= len(link.recv(left))

    def cloud_half(released: tuple[Tensor, ...]) -> Any:
        return cloud.program(*cloud.defense.receive(released))

    with link, EdgeClient(edge, served.address, policy=None) as client, torch.no_grad():
        for _ in range(requests):
            released = timed("edge", lambda: edge.defense.release(edge.program(served.x), Fresh()))
            timed("cloud", partial(cloud_half, released))
            timed("echo", echo)
            timed("request", lambda: client.infer(served.x))
    p50 = {what: statistics.median(values[requests // 10 :]) for what, values in times.items()}
    floor, request = p50["edge"] + p50["cloud"] + p50["echo"], p50["request"]
    if served.up >= 100_000:
        figure, value, unit, target = "/ floor", request / floor, "ratio", 1.1
    else:
        figure, value, unit, target = "above the floor", request - floor, "ms", 1.0
    bar(
        "5.1", f"a request of {served.name}, p50 {figure}", round(value, 3), unit, target=target, holds=value <= target,
        reference={"floor": round(floor, 3), "unit": "ms"}, payload_bytes=served.up,
        p50_ms={what: round(value, 3) for what, value in p50.items()},
    )  # fmt: skip


def throughput(served: Served, requests: int) -> None:
    """Eight clients at once, and the cloud half in a loop."""
    edge, cloud, outputs = served.edge, served.cloud, served.cloud.manifest.part.outputs
    with torch.no_grad():
        body = served.bodies.pack(edge.defense.release(edge.program(served.x), Fresh()), 1)
        began = time.perf_counter()
        for _ in range(requests):
            pack_outputs(cloud.program(*cloud.defense.receive(served.bodies.unpack(body, 1))), outputs)
        local = requests / (time.perf_counter() - began)
    each = max(requests // CLIENTS, 1)
    command = [sys.executable, "-c", ASK, str(served.folder), served.address, str(served.x.shape[-1]), str(each)]
    clients = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)
    ]
    for client in clients:
        assert client.stdout is not None
        client.stdout.readline()
    began = time.perf_counter()
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("go\n")
        client.stdin.close()
    failed = [client.wait() for client in clients]
    rate = CLIENTS * each / (time.perf_counter() - began)
    if any(failed):
        raise SystemExit("a client failed")
    bar(
        "5.2", f"requests of {served.name}, {CLIENTS} clients / the cloud half in a loop", round(rate / local, 3),
        "ratio", target=0.9, holds=rate >= 0.9 * local, reference={"loop": round(local, 1), "unit": "1/s"},
    )  # fmt: skip


def main() -> None:
    """Print both bars for each payload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder) / "bundle", options.requests, options.threads)
    machine(("torch", "grpcio"))


if __name__ == "__main__":
    main()
