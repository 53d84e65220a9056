"""What a server takes on, as plain values: the server's own options and those of `serve` are made of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLimits:
    """How much a server runs at once, and whom it answers.

    Attributes:
        concurrency: how many requests run at once.
        queue: how many more may wait; the next one is answered `overloaded`.
        max_batch: the most samples of one request.
        max_streams: the most streams at once.
        max_streams_per_peer: the most of one address.
        micro_batch: the most samples of several requests that run as one batch; 1 runs each request alone. The rows of
            a batch differ from single runs in their last bits.
        micro_batch_wait_ms: how long such a batch waits for each further request, in milliseconds.
        idle_s: seconds after which a stream that neither sends nor receives is closed.
        greeting_s: seconds in which a handshake, status call or health check must send its request; a connection
            without any call is closed after as long.
        insecure: serve plaintext on any address.
        allow_undefended: answer tensors that no defense acted on. They hide nothing: for verifying the halves.
        metrics: the `HOST:PORT` of the Prometheus endpoint, or its `PORT` on loopback; None: no endpoint.
    """

    concurrency: int = 1
    queue: int = 16
    max_batch: int = 32
    max_streams: int = 64
    max_streams_per_peer: int = 32
    micro_batch: int = 1
    micro_batch_wait_ms: float = 2.0
    idle_s: float = 300.0
    greeting_s: float = 10.0
    insecure: bool = False
    allow_undefended: bool = False
    metrics: str | None = None
