"""The cloud's server: answers the requests of a bundle's devices with the cloud half.

A client says which bundle it runs, and is refused unless it is the one that is served. Then it sends frames on a
stream, which are answered in order, one after the other; several streams share a few threads through a bounded queue.
A stream holds at most one request in the server's memory (three with micro-batching, which reads ahead), so memory is
bounded by streams times the size of a frame.

What a request holds is never logged, neither are its numbers in an error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

import torch

from ...records import CollabplanError
from ..optional_deps import grpc
from ..parts import CloudPart
from ..wire import protocol_pb2 as messages
from ..wire.framing import (
    PROTOCOL,
    REQUEST_HEADER_BYTES,
    Answer,
    BodyKind,
    FrameError,
    Request,
    Status,
    pack_answer,
    unpack_request,
)
from ..wire.request_codec import BodyError, DefendedCodec, PlainCodec
from ..wire.response_codec import AnswerError, can_split, pack_outputs, split_outputs
from ..wire.service import (
    BUNDLE_KEY,
    LEAST_MESSAGE_BYTES,
    PART_KEY,
    SERVICE,
    UNDEFENDED_KEY,
    Methods,
    ServerTls,
    parse_address,
    require_safe,
    server_options,
)
from .engine import Engine, Job
from .metrics import Counts
from .prefetch import ReadAhead

log = logging.getLogger(__name__)

_OTHER_RPCS = 8
"""Calls beside streams that may be open: handshakes, status, health."""

_WATCH_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How a server works.

    Attributes:
        concurrency: cloud halves that run at once.
        queue: requests that may wait besides; more are answered `overloaded`.
        max_batch: most samples of one request.
        max_streams: most streams at once.
        micro_batch: most samples of several requests that run as one batch; 1: each request alone. The rows of a batch
            are not bit for bit those of single runs.
        micro_batch_wait_ms: how long such a batch waits for one more request, from each to the next.
        idle_s: a stream that neither sends nor takes anything so long is closed.
        tls: None for plaintext, on loopback or with `insecure` alone.
        insecure: plaintext on any address.
        allow_undefended: answer tensors that no defense acted on, which hide nothing: to verify the halves.
        metrics: `HOST:PORT` for Prometheus.
    """

    concurrency: int = 1
    queue: int = 16
    max_batch: int = 32
    max_streams: int = 64
    micro_batch: int = 1
    micro_batch_wait_ms: float = 2.0
    idle_s: float = 300.0
    tls: ServerTls | None = None
    insecure: bool = False
    allow_undefended: bool = False
    metrics: str | None = None


class _Stream:
    """One client's stream: what it is at, and since when."""

    def __init__(self, context: Any) -> None:
        self._context, self._lock = context, threading.Lock()
        self._at, self._since, self._ended = "reading", time.monotonic(), False

    def turn(self, at: str) -> bool:
        """The stream is now at something else; False where it was ended meanwhile."""
        with self._lock:
            self._at, self._since = at, time.monotonic()
            return not self._ended

    def end(self, *, idle_s: float) -> None:
        """End the stream where it has waited for its client so long; what it runs is never cut off."""
        with self._lock:
            waits = self._at != "running" and time.monotonic() - self._since >= idle_s
            if self._ended or not waits:
                return
            self._ended = True
        self._context.cancel()

    @property
    def reading(self) -> bool:
        """True while it waits for a request."""
        return self._at == "reading"


class CloudServer:
    """Serves one cloud part. Also a context manager that starts and stops it.

    Args:
        part: from `open_cloud`.
        listen: `HOST:PORT`, port 0 for any that is free.
        options: how.

    Raises:
        CollabplanError: an address that cannot be listened on, plaintext where it is not safe, or micro-batching for a
            model whose outputs cannot be divided or whose samples read each other.
    """

    def __init__(self, part: CloudPart, listen: str, options: ServeOptions | None = None) -> None:
        self.part, self.options = part, options or ServeOptions()
        host, port = parse_address(listen)
        require_safe(host, tls=self.options.tls is not None, insecure=self.options.insecure)
        self.max_batch = part.manifest.part.batch or self.options.max_batch
        self._released, self._undefended = DefendedCodec(part.defense), PlainCodec(part.defense)
        if self.options.micro_batch > 1:
            self._require_divisible()
        largest = self._released.body_bytes(self.max_batch)
        if self.options.allow_undefended:
            largest = max(largest, self._undefended.body_bytes(self.max_batch))
        self.max_message_bytes = max(REQUEST_HEADER_BYTES + largest, LEAST_MESSAGE_BYTES)
        self.counts = Counts()
        self._streams: set[_Stream] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._started = time.monotonic()
        rpcs = self.options.max_streams + _OTHER_RPCS
        self._pool = ThreadPoolExecutor(max_workers=rpcs, thread_name_prefix="collabplan-rpc")
        self._server = grpc.server(
            self._pool, options=server_options(self.max_message_bytes), maximum_concurrent_rpcs=rpcs
        )
        self._server.add_generic_rpc_handlers(
            (Methods(hello=self._hello, infer=self._infer, status=self._status, echo=self._echo).handler(),)
        )
        self._health = self._add_health()
        self.host, self.port = host, self._bind(host, port)

    @property
    def address(self) -> str:
        """`HOST:PORT` as it listens."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def start(self) -> CloudServer:
        """Begin to answer. Raises CollabplanError where metrics cannot be published."""
        options = self.options
        self._engine = Engine(
            self._run,
            concurrency=options.concurrency,
            queue=options.queue,
            micro_batch=options.micro_batch,
            wait_s=options.micro_batch_wait_ms / 1e3,
            inline=torch.get_num_threads() == 1,
        )
        self._end_metrics: Callable[[], None] = lambda: None
        self.metrics_port: int | None = None
        if options.metrics is not None:
            host, port = parse_address(options.metrics)
            self.metrics_port, self._end_metrics = self.counts.publish(
                host, port, waiting=lambda: self._engine.waiting, streams=lambda: len(self._streams)
            )
        self._server.start()
        self._set_health(serving=True)
        self._watcher = threading.Thread(target=self._watch, name="collabplan-watch", daemon=True)
        self._watcher.start()
        return self

    def stop(self, grace_s: float = 30.0) -> None:
        """Take nothing more, finish what is in flight (at most so long), and end."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._set_health(serving=False)
        stopped = self._server.stop(grace_s)
        self._end_streams(idle_s=0.0, reading=True)
        stopped.wait()
        self._engine.stop()
        self._watcher.join()
        self._pool.shutdown()
        self._end_metrics()

    def __enter__(self) -> CloudServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # methods ------------------------------------------------------------------------------------------

    def _hello(self, request: Any, context: Any) -> Any:
        refusal = self._refusal(request)
        if refusal:
            log.warning("refused a handshake from %s: %s", context.peer(), refusal)
        return messages.HelloReply(
            accepted=not refusal,
            refusal=refusal,
            protocol=PROTOCOL,
            torch_version=torch.__version__,
            max_batch=self.max_batch,
            max_message_bytes=self.max_message_bytes,
        )

    def _refusal(self, request: Any) -> str:
        """Why a client cannot be served, or nothing."""
        manifest = self.part.manifest
        for what, theirs, ours in (
            ("protocol", str(request.protocol), str(PROTOCOL)),
            ("plan", request.plan_sha256, manifest.part.plan_sha256),
            ("edge part", request.part_sha256, manifest.other_part_sha256 or ""),
            ("bundle", request.bundle_id, manifest.bundle_id),
        ):
            if theirs != ours:
                return (
                    f"the device runs the {what} {theirs[:12]}, this server {ours[:12]}; copy both parts of one bundle"
                )
        if request.undefended and not self.options.allow_undefended:
            return "this server takes no undefended tensors; to verify the halves, serve with --allow-undefended"
        return ""

    def _infer(self, frames: Iterator[bytes], context: Any) -> Iterator[bytes]:
        given = dict(context.invocation_metadata())
        undefended = given.get(UNDEFENDED_KEY) == "1"
        if not self.part.manifest.recognises(given.get(BUNDLE_KEY, ""), given.get(PART_KEY, "")):
            _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "the stream is of another bundle")
        if undefended and not self.options.allow_undefended:
            _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "this server takes no undefended tensors")
        stream, ahead = _Stream(context), None
        with self._lock:
            full = len(self._streams) >= self.options.max_streams
            if not full:
                self._streams.add(stream)
        if full:
            _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "the server has as many streams as it takes")
        try:
            if self._stopping.is_set():
                _abort(context, grpc.StatusCode.UNAVAILABLE, "the server stops")
            wire = BodyKind.undefended if undefended else BodyKind.plan
            if self.options.micro_batch > 1:
                ahead = ReadAhead(frames, lambda frame: self._taken(frame, wire, begin=True))
            taken = ahead or (self._taken(frame, wire) for frame in frames)
            for request, job in taken:
                if not stream.turn("running"):
                    return
                answer = self._answer(request, job)
                stream.turn("sending")
                yield answer
                pending = ahead is not None and ahead.pending
                if not stream.turn("reading") or (self._stopping.is_set() and not pending):
                    return
        except FrameError as error:
            log.warning("ended the stream of %s: %s", context.peer(), error)
            _abort(context, grpc.StatusCode.DATA_LOSS, str(error))
        finally:
            if ahead is not None:
                ahead.leave()
            with self._lock:
                self._streams.discard(stream)

    def _taken(self, frame: bytes, wire: BodyKind, *, begin: bool = False) -> tuple[Request, Job]:
        """A frame's request and its job: finished where it cannot be run, in the queue where it is begun.

        Raises:
            FrameError: the frame is none.
        """
        request = unpack_request(frame)
        job = Job(request.wire, request.batch, request.body, time.perf_counter() + request.patience_ms / 1e3)
        if request.wire != wire:
            job.finish(Status.invalid, b"the request is of another wire than its stream")
        elif request.batch > self.max_batch or (self.part.manifest.part.batch or request.batch) != request.batch:
            job.finish(Status.invalid, f"requests here hold {self.max_batch} samples at most".encode())
        elif len(request.body) != self._layout(wire).body_bytes(request.batch):
            job.finish(Status.invalid, b"the body's size is not the plan's")
        elif begin:
            self._engine.begin(job)
        return request, job

    def _answer(self, request: Request, job: Job) -> bytes:
        """The answer to a request, once its job is done."""
        self._engine.do(job)
        self.counts.add(job)
        return pack_answer(
            Answer(job.status, request.id, request.batch, job.result, job.queue_us, job.compute_us, request.crc)
        )

    def _status(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        return messages.StatusReply(
            stopping=self._stopping.is_set(),
            uptime_s=time.monotonic() - self._started,
            streams=len(self._streams),
            running=self._engine.running,
            waiting=self._engine.waiting,
            answered=self.counts.answered(),
        )

    def _echo(self, request: Any, context: Any) -> Any:
        if request.answer_bytes > self.max_message_bytes:
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"at most {self.max_message_bytes} bytes come back")
        return messages.EchoReply(payload=bytes(request.answer_bytes))

    # running ------------------------------------------------------------------------------------------

    def _layout(self, wire: BodyKind) -> DefendedCodec | PlainCodec:
        return self._released if wire is BodyKind.plan else self._undefended

    def _run(self, jobs: Sequence[Job]) -> list[tuple[Status, bytes]]:
        if len(jobs) == 1:
            return [self._run_one(jobs[0])]
        try:
            return self._run_together(jobs)
        except Exception:  # one client's request must not fail another's
            return [self._run_one(job) for job in jobs]

    def _run_one(self, job: Job) -> tuple[Status, bytes]:
        try:
            return Status.ok, pack_outputs(
                self._outputs(job.wire, job.body, job.batch), self.part.manifest.part.outputs
            )
        except BodyError as error:
            return Status.invalid, str(error).encode()
        except AnswerError as error:
            log.error("%s", error)
            return Status.failed, str(error).encode()
        except Exception as error:
            # The kind alone: a message may quote numbers of the request.
            log.error("the cloud half raised %s", type(error).__name__)
            return Status.failed, f"the cloud half raised {type(error).__name__}".encode()

    def _run_together(self, jobs: Sequence[Job]) -> list[tuple[Status, bytes]]:
        spec, batches = self.part.manifest.part.outputs, [job.batch for job in jobs]
        outputs = self._outputs(jobs[0].wire, b"".join(job.body for job in jobs), sum(batches))
        return [(Status.ok, pack_outputs(part, spec)) for part in split_outputs(outputs, spec, batches)]

    def _outputs(self, wire: BodyKind, body: bytes | memoryview, batch: int) -> Any:
        with torch.no_grad():
            received = self._layout(wire).unpack(body, batch)
            if wire is BodyKind.plan:
                received = self.part.defense.receive(received)
            return self.part.program(*received)

    def _require_divisible(self) -> None:
        part = self.part.manifest.part
        if not part.samples_independent:
            raise CollabplanError(
                "samples of this model read each other, so requests that run as one batch would change each other's "
                "answers; serve it without --micro-batch"
            )
        if self.options.allow_undefended or part.batch or self._released.fixed_bytes or not can_split(part.outputs):
            raise CollabplanError(
                "micro-batching needs a model of any batch size whose inputs and outputs all have one row per sample, "
                "and the plan's own wire; serve this one without --micro-batch"
            )

    # housekeeping -------------------------------------------------------------------------------------

    def _bind(self, host: str, port: int) -> int:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tls = self.options.tls
        try:
            if tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, tls.credentials())
        except (RuntimeError, ValueError):
            bound = 0
        if not bound:
            raise CollabplanError(
                f"cannot listen on {address}: the port is taken, the host is not this machine's, or the TLS files do "
                "not belong together"
            )
        return int(bound)

    def _add_health(self) -> Any:
        from grpc_health.v1 import health, health_pb2_grpc

        servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        return servicer

    def _set_health(self, *, serving: bool) -> None:
        from grpc_health.v1 import health_pb2

        states = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            self._health.set(service, states.SERVING if serving else states.NOT_SERVING)

    def _watch(self) -> None:
        """Close streams whose client has gone silent."""
        while not self._stopping.wait(min(_WATCH_S, self.options.idle_s / 4)):
            self._end_streams(idle_s=self.options.idle_s, reading=False)

    def _end_streams(self, *, idle_s: float, reading: bool) -> None:
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            if stream.reading or not reading:
                stream.end(idle_s=idle_s)


def _abort(context: Any, code: Any, reason: str) -> NoReturn:
    context.abort(code, reason)
    raise AssertionError  # abort raises
