"""What the server does for each method of the gRPC service: handshake, inference, status, echo.

A client says which bundle it runs, and is refused if another one is served. Then it sends frames on a stream, which
are answered one after the other in their order. A stream holds at most one request in the server's memory (three with
micro-batching, which reads ahead), so memory is bounded by the number of streams times the size of a frame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from ...records import printable
from ..wire import protocol_pb2 as messages
from ..wire.framing import PROTOCOL, Answer, BodyKind, FrameError, Request, Status, pack_answer, unpack_request
from ..wire.service import BUNDLE_KEY, PART_KEY, UNDEFENDED_KEY
from ..wire.transport import grpc
from .engine import Engine, Job
from .guard import abort
from .half_runner import HalfRunner
from .metrics import ServerCounts
from .prefetch import ReadAhead
from .streams import OpenStreams, Stream, TooManyStreamsError, address_of

log = logging.getLogger(__name__)


class ServiceMethods:
    """The methods of `collabplan.Cloud`. Each takes what gRPC hands to it, and may be called from several threads.

    Args:
        runner: checks requests against the plan.
        engine: runs them.
        streams: the streams that are open.
        counts: what was answered.
        stopping: set when the server takes nothing more.
        max_message_bytes: the largest message that is received.
        reads_ahead: read a stream's next request while the last one runs, so that micro-batches fill.
    """

    def __init__(
        self,
        runner: HalfRunner,
        engine: Engine,
        streams: OpenStreams,
        counts: ServerCounts,
        stopping: threading.Event,
        *,
        max_message_bytes: int,
        reads_ahead: bool,
    ) -> None:
        self._runner, self._engine, self._streams, self._counts = runner, engine, streams, counts
        self._stopping, self._reads_ahead = stopping, reads_ahead
        self._max_message_bytes = max_message_bytes
        self._started = time.monotonic()

    def hello(self, request: Any, context: Any) -> Any:
        """Shake hands: accept the device or say why not."""
        refusal = self._handshake_refusal(request)
        if refusal:
            log.warning("refused a handshake from %s: %s", printable(context.peer()), refusal)
            return messages.HelloReply(accepted=False, refusal=refusal, protocol=PROTOCOL)
        return messages.HelloReply(
            accepted=True,
            protocol=PROTOCOL,
            torch_version=torch.__version__,
            max_batch=self._runner.max_batch,
            max_message_bytes=self._max_message_bytes,
        )

    def infer(self, frames: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer the frames of one stream in their order. Ends the call with a gRPC status if they cannot be read."""
        kind = self._stream_kind(context)
        try:
            with self._streams.opened(context, address_of(context.peer())) as stream:
                if self._stopping.is_set():
                    abort(context, grpc.StatusCode.UNAVAILABLE, "the server stops")
                yield from self._answers(frames, kind, stream, context)
        except TooManyStreamsError as error:
            abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except FrameError as error:
            log.warning("ended the stream of %s: %s", printable(context.peer()), error)
            abort(context, grpc.StatusCode.DATA_LOSS, str(error))

    def status(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """How the server is doing."""
        return messages.StatusReply(
            stopping=self._stopping.is_set(),
            uptime_s=time.monotonic() - self._started,
            streams=len(self._streams),
            running=self._engine.running,
            waiting=self._engine.waiting,
            answered=self._counts.answered(),
        )

    def echo(self, request: Any, context: Any) -> Any:
        """As many zero bytes as the client asks for, to measure the link."""
        if request.answer_bytes > self._max_message_bytes:
            most = self._max_message_bytes
            abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"at most {most} bytes come back")
        return messages.EchoReply(payload=bytes(request.answer_bytes))

    def _handshake_refusal(self, request: Any) -> str:
        """Why a device cannot be served; empty if it can."""
        manifest = self._runner.part.manifest
        for what, theirs, ours in (
            ("protocol", str(request.protocol), str(PROTOCOL)),
            ("plan", request.plan_sha256, manifest.part.plan_sha256),
            ("edge part", request.part_sha256, manifest.other_part_sha256 or ""),
            ("bundle", request.bundle_id, manifest.bundle_id),
        ):
            if theirs != ours:
                return (
                    f"the device runs the {what} {printable(theirs[:12])}, this server {ours[:12]}; copy both parts of "
                    "one bundle"
                )
        if request.undefended and not self._runner.allow_undefended:
            return "this server takes no undefended tensors; to verify the halves, serve with --allow-undefended"
        return ""

    def _stream_kind(self, context: Any) -> BodyKind:
        """What the bodies of a stream hold. Aborts the call if its metadata are not those of this bundle."""
        given = dict(context.invocation_metadata())
        undefended = given.get(UNDEFENDED_KEY) == "1"
        if not self._runner.part.manifest.recognises(given.get(BUNDLE_KEY, ""), given.get(PART_KEY, "")):
            abort(context, grpc.StatusCode.FAILED_PRECONDITION, "the stream is of another bundle")
        if undefended and not self._runner.allow_undefended:
            abort(context, grpc.StatusCode.FAILED_PRECONDITION, "this server takes no undefended tensors")
        return BodyKind.undefended if undefended else BodyKind.defended

    def _answers(self, frames: Iterator[bytes], kind: BodyKind, stream: Stream, context: Any) -> Iterator[bytes]:
        """The answers to a stream's frames, until the client or the server ends it. Raises FrameError."""
        ahead: ReadAhead[tuple[Request, Job]] | None = None
        jobs: Iterable[tuple[Request, Job]] = (self._job(frame, kind) for frame in frames)
        if self._reads_ahead:
            jobs = ahead = ReadAhead(frames, lambda frame: self._job(frame, kind, begin=True))
        try:
            for request, job in jobs:
                if not stream.begin("running") or not context.is_active():
                    return  # nobody waits for the answer
                answer = self._answer(request, job)
                stream.begin("sending")
                yield answer
                pending = ahead is not None and ahead.pending
                if not stream.begin("reading") or (self._stopping.is_set() and not pending):
                    return
        finally:
            if ahead is not None:
                ahead.leave()

    def _job(self, frame: bytes, kind: BodyKind, *, begin: bool = False) -> tuple[Request, Job]:
        """A frame's request and its job: finished if it cannot be run, queued if it is to `begin`.

        Raises:
            FrameError: the frame cannot be read.
        """
        request = unpack_request(frame)
        job = Job(request.kind, request.batch, request.body, time.perf_counter() + request.patience_ms / 1e3)
        if request.kind != kind:
            job.finish(Status.invalid, b"the request is of another kind than its stream")
        elif (refusal := self._runner.refusal(kind, request.batch, len(request.body))) is not None:
            job.finish(Status.invalid, refusal.encode())
        elif begin:
            self._engine.begin(job)
        return request, job

    def _answer(self, request: Request, job: Job) -> bytes:
        """The frame that answers a request, once its job is done."""
        self._engine.do(job)
        self._counts.add(job)
        return pack_answer(
            Answer(job.status, request.id, request.batch, job.result, job.queue_us, job.compute_us, request.crc)
        )
