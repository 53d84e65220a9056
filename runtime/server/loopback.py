"""`LoopbackServer`: a server in a second process on this machine, for verification and benchmarks.

It also answers undefended tensors, listens on loopback alone, and ends with the process that started it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ..child_process import ChildProcess
from ..malloc import keep_memory
from ..parts import open_cloud
from .server import CloudServer, ServeOptions


class LoopbackServer:
    """Serves the cloud part of a bundle in a second process. Also a context manager.

    Args:
        bundle: a bundle or its cloud part.
        threads: torch threads inside an operator.
        max_batch: the most samples of one request.
        micro_batch: see `ServeOptions`; above 1, undefended tensors are refused.

    Attributes:
        address: the `HOST:PORT` that it listens on.

    Raises:
        CollabplanError: as `ChildProcess`.
    """

    def __init__(self, bundle: Path, *, threads: int = 1, max_batch: int = 32, micro_batch: int = 1) -> None:
        numbers = (str(threads), str(max_batch), str(micro_batch))
        self._child = ChildProcess(__name__, str(bundle), *numbers, within_s=300.0, threads=threads)
        self.address = self._child.first_line

    def close(self) -> None:
        """End the server."""
        self._child.close()

    def __enter__(self) -> LoopbackServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _main() -> None:
    """What the second process runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    for name in ("threads", "max_batch", "micro_batch"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_memory()
    options = ServeOptions(
        max_batch=given.max_batch, micro_batch=given.micro_batch, allow_undefended=given.micro_batch == 1
    )
    with CloudServer(open_cloud(given.bundle), "127.0.0.1:0", options) as server:
        print(server.address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main()
