"""The device's connection to the cloud: a handshake, then one stream of frames. Knows nothing of models.

A `CloudSession` lives until its stream ends or a request goes unanswered; then the client opens a new one. Answers are
matched to requests by id, so that no answer is used twice or for another request.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch

from ...records import BundleManifest, MismatchError, printable
from ..wire import protocol_pb2 as messages
from ..wire.framing import PROTOCOL, Answer, FrameError, crc_of, unpack_answer
from ..wire.server_identity import IdentityError
from ..wire.service import (
    BUNDLE_KEY,
    PART_KEY,
    UNDEFENDED_KEY,
    ClientTls,
    Stub,
    client_options,
    parse_address,
    require_safe,
)
from ..wire.transport import grpc
from .errors import UnreachableError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the cloud is, and the TLS to reach it with.

    Attributes:
        text: `HOST:PORT`.
        tls: None for plaintext.
    """

    text: str
    tls: ClientTls | None = None

    @classmethod
    def checked(cls, text: str, tls: ClientTls | None, *, insecure: bool) -> Address:
        """Check an address.

        Raises:
            CollabplanError: it is not `HOST:PORT`, or plaintext would leave this machine without `insecure`.
        """
        host, _ = parse_address(text)
        require_safe(host, tls=tls is not None, insecure=insecure)
        return cls(text, tls)

    def channel(self, most_bytes: int, timeout_s: float) -> Any:
        """A gRPC channel that refuses messages above `most_bytes`.

        With TLS, the server is asked for its certificate first, within `timeout_s` seconds.

        Raises:
            UnreachableError: there is no server, or its certificate is not its own.
            CollabplanError: a TLS file cannot be used.
        """
        options = client_options(most_bytes, None if self.tls is None else self.tls.server_name)
        if self.tls is None:
            return grpc.insecure_channel(self.text, options=options)
        try:
            credentials = self.tls.checked_credentials(*parse_address(self.text), timeout_s)
        except (OSError, ValueError) as error:
            reason = printable(str(getattr(error, "strerror", None) or error))
            raise UnreachableError(
                f"the server at {self.text} cannot be used: UNAVAILABLE: {reason}",
                retry=not isinstance(error, IdentityError | ValueError),
            ) from None
        return grpc.secure_channel(self.text, credentials, options=options)


class CloudSession:
    """One handshake and one stream.

    Args:
        address: of the server.
        manifest: of the edge part.
        undefended: the stream's requests hold undefended tensors.
        most_bytes: the largest answer that is received.
        timeout_s: the time limit of connecting and shaking hands, in seconds.

    Attributes:
        max_batch: the most samples that the server takes in one request.

    Raises:
        UnreachableError: there is no connection.
        MismatchError: the server runs another bundle.
    """

    def __init__(
        self, address: Address, manifest: BundleManifest, *, undefended: bool, most_bytes: int, timeout_s: float
    ) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Future[Answer], int]] = {}
        self._broken: UnreachableError | None = None
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = address.channel(most_bytes, timeout_s)
        try:
            stub = Stub(self._channel)
            reply = self._shake_hands(stub, manifest, undefended, timeout_s)
            self.max_batch = int(reply.max_batch)
            metadata = [(BUNDLE_KEY, manifest.bundle_id), (PART_KEY, manifest.part_sha256)]
            if undefended:
                metadata.append((UNDEFENDED_KEY, "1"))
            self._call = stub.infer(iter(self._outbox.get, None), metadata=metadata)
        except BaseException:
            self._channel.close()
            raise
        self._reader = threading.Thread(target=self._read, name="collabplan-answers", daemon=True)
        self._reader.start()

    def send(self, number: int, frame: bytes) -> Future[Answer]:
        """Send a request. The future gets its answer or an UnreachableError.

        Args:
            number: the request's id, unique within the session.
            frame: the packed request.
        """
        future: Future[Answer] = Future()
        with self._lock:
            if self._broken is not None:
                future.set_exception(self._broken)
                return future
            self._waiting[number] = (future, crc_of(frame))
        self._outbox.put(frame)
        return future

    @property
    def broken(self) -> bool:
        """True if nothing can be sent any more."""
        return self._broken is not None

    def end(self, reason: UnreachableError | None = None) -> None:
        """Close the stream. Unanswered requests fail with `reason`."""
        self._fail(reason or UnreachableError("the connection was closed"))
        self._outbox.put(None)
        self._call.cancel()
        self._channel.close()

    def _shake_hands(self, stub: Stub, manifest: BundleManifest, undefended: bool, timeout_s: float) -> Any:
        request = messages.HelloRequest(
            protocol=PROTOCOL,
            bundle_id=manifest.bundle_id,
            plan_sha256=manifest.part.plan_sha256,
            part_sha256=manifest.part_sha256,
            undefended=undefended,
        )
        try:
            reply = stub.hello(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._unreachable(error) from None
        if not reply.accepted:
            raise MismatchError(f"the server at {self._address.text} refuses this device: {printable(reply.refusal)}")
        if reply.torch_version != torch.__version__:
            theirs = printable(reply.torch_version, 40)
            log.warning("torch is %s here and %s in the cloud", torch.__version__, theirs)
        return reply

    def _read(self) -> None:
        answers: Iterator[bytes] = self._call
        try:
            for data in answers:
                self._take(unpack_answer(data))
            reason = UnreachableError(f"the server at {self._address.text} ended the stream")
        except grpc.RpcError as error:
            reason = self._unreachable(error)
        except FrameError as error:
            reason = UnreachableError(f"an answer from {self._address.text} cannot be read: {error}")
            self._call.cancel()
        self._fail(reason)
        self._outbox.put(None)

    def _take(self, answer: Answer) -> None:
        """Hand an answer to its request. Raises FrameError if it answers other bytes than were sent."""
        with self._lock:
            found = self._waiting.get(answer.id)
            if found is None:
                return  # the client has given up on it
            future, crc = found
            if answer.request_crc != crc:
                raise FrameError("it answers another request")  # it waits on, and fails with all others
            del self._waiting[answer.id]
        future.set_result(answer)

    def _fail(self, reason: UnreachableError) -> None:
        with self._lock:
            self._broken = self._broken or reason
            waiting = [future for future, _ in self._waiting.values()]
            self._waiting.clear()
        for future in waiting:
            future.set_exception(reason)

    def _unreachable(self, error: Any) -> UnreachableError:
        """The error for what gRPC reports: one line, and whether another try may help."""
        code, details = error.code(), printable(str(error.details() or ""))
        retry = code in _MAY_HELP
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            details += "; both parts must be of one bundle"
        return UnreachableError(
            f"the server at {self._address.text} cannot be used: {code.name}: {details}", retry=retry
        )


_MAY_HELP = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
