"""Runs a plan for real and compares it with its predictions: latency part by part, accuracy over the wire, exactness.

The bundle is made on the fly. The cloud half runs in a second process behind a link that is simulated in user space, or
on a server that runs the plan's bundle already.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..records import CollabplanError, Link, Measured
from .bundle import write_bundle
from .device.stopwatch import TimedClient, TimeSpent
from .over_the_wire import Subject, accuracy_over_the_wire, exact_samples, requests_of
from .parts import EdgePart, open_edge
from .server.loopback import LoopbackServer
from .shaping import Shape, ShapedLink
from .verdict import Measurements, judged
from .wire.service import ClientTls

_LOCAL_RESTART_S = 0.02
"""The pause after which a simulated link goes through slow start again: short, so that every request does."""

_REAL_PAUSE_S = 0.3
"""The pause before each request over a real link: longer than Linux's least retransmission timeout."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of the plan's bundle.

    Attributes:
        address: its `HOST:PORT`.
        tls: None for plaintext.
        insecure: allow plaintext to another machine.
    """

    address: str
    tls: ClientTls | None = None
    insecure: bool = False


def verify(
    subject: Subject,
    *,
    requests: int = 60,
    shape: Shape | None = None,
    server: Server | None = None,
    key_file: Path | None = None,
) -> Measured:
    """Run the plan and compare it with its predictions.

    Args:
        subject: the plan with its model and data.
        requests: how many requests are timed, at least 1.
        shape: of the simulated link; None simulates the plan's link.
        server: ask this server over the real link, which is taken to be the plan's; None starts one on this machine.
        key_file: the mask keys of a plan with keyed masks; None makes a key and throws it away.

    Returns:
        What was measured and predicted, with the violations of the plan.

    Raises:
        MismatchError: the server runs another bundle.
        CollabplanError: the bundle cannot be made, a server cannot be used, or `requests` is below 1.
    """
    if requests < 1:
        raise CollabplanError(f"at least one request must be timed, got {requests}")
    plan = subject.plan
    with tempfile.TemporaryDirectory(prefix="collabplan-verify-") as temporary, ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(plan.edge_device.threads)
        folder = Path(temporary) / "bundle"
        write_bundle(
            plan, subject.traced, subject.cut, folder,
            tuned=subject.tuned, projection=subject.projection, allow_shared_weights=True,
            allow_custom_stages=True,
        )  # fmt: skip
        part = open_edge(folder)
        link = plan.link if shape is None or server is not None else shape.link
        near = far = None if server is None else server.address
        if part.sends and server is None:
            near = stack.enter_context(LoopbackServer(folder, threads=plan.cloud_device.threads)).address
            shaped = Shape.of(link, restart_s=_LOCAL_RESTART_S)
            far = stack.enter_context(ShapedLink(near, shaped)).address
        options = _client_options(subject, part, server, key_file, Path(temporary))
        found = _measured(subject, part, near, far, link, options, requests=requests, local=server is None)
    return judged(plan, part, found, same_samples=subject.same_samples)


def _measured(
    subject: Subject, part: EdgePart, near: str | None, far: str | None, link: Link, options: Mapping[str, Any],
    *, requests: int, local: bool,
) -> Measurements:  # fmt: skip
    """Everything that is measured.

    Args:
        near: the server's address without the simulated link.
        far: the server's address behind it.
        local: the server runs on this machine, and undefended tensors may be sent to it.
    """
    batch = part.manifest.part.batch or subject.plan.batch
    inputs = list(requests_of(subject.data, part, batch, requests))
    spent = _series(part, far, inputs, options, link, local=local)
    direct, exact = None, None
    if part.sends and local:
        direct = _series(part, near, inputs, options, link.model_copy(update={"slow_start": False}), local=True)
    accuracy, metric = accuracy_over_the_wire(subject, part, near, options)
    if part.sends and local:
        exact = exact_samples(subject, part, near, options)
    return Measurements(link, local, spent, direct, accuracy, metric, len(subject.data), exact)


def _client_options(
    subject: Subject, part: EdgePart, server: Server | None, key_file: Path | None, folder: Path
) -> dict[str, Any]:
    """The options of every client. Each release is a new one, because the plan's accuracy averages over them."""
    options: dict[str, Any] = {
        "policy": None,
        "timeout_s": 60.0,
        "connect_timeout_s": 60.0,
        "retries": 0,
        "scaling": subject.scaling,
        "key_file": key_file,
    }
    if server is not None:
        options |= {"tls": server.tls, "insecure": server.insecure}
    defense = part.defense
    if defense.record.masks == "keyed" and defense.randomizes and key_file is None:
        options["key_file"] = _temporary_key(folder)
    return options


def _temporary_key(folder: Path) -> Path:
    key = folder / "mask.key"
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(f"{secrets.token_hex(32)}\n")
    return key


def _series(
    part: EdgePart, address: str | None, inputs: Sequence[tuple[Tensor, ...]], options: Mapping[str, Any], link: Link,
    *, local: bool,
) -> list[TimeSpent]:  # fmt: skip
    """The times of some requests, each after a pause in which the connection becomes idle."""
    pause_s = 0.0
    if link.slow_start and part.sends:
        pause_s = 1.5 * _LOCAL_RESTART_S + link.rtt_ms / 1e3 if local else _REAL_PAUSE_S
    with TimedClient(part, address, **options) as client:
        return client.series(inputs, pause_s=pause_s)
