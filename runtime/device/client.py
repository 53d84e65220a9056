"""The device's client of a split plan: runs the edge half, defends what crosses, and asks the cloud for the rest.

`request_maker` makes what leaves the device, `session` carries it, and the client decides when to try again, when to
give up, and when to answer on the device instead.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ...graph import Program
from ...records import CollabplanError
from ...records.extras import optional_imports
from ...targets.data import InputScaling
from ..parts import EdgePart, open_edge
from ..wire.framing import ANSWER_HEADER_BYTES, MOST_MESSAGE_BYTES, MOST_PATIENCE_MS, MOST_REASON_BYTES, Status
from ..wire.response_codec import answer_bytes, unpack_outputs
from .errors import UnreachableError
from .model_inputs import Inputs, checked_inputs
from .release_limiter import ReleasePolicy
from .request_maker import PendingRequest, RequestMaker

if TYPE_CHECKING:
    from ..wire.service import ClientTls
    from .session import Address, CloudSession

log = logging.getLogger(__name__)

_BACKOFFS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0)
"""The pause before each further try, in seconds; the last one repeats."""

_MOST_BATCH = 4096
"""The most samples whose answer is received at once, if the model takes any batch size."""


@dataclass(slots=True)
class ClientCounts:
    """What a client did so far.

    Attributes:
        requests: requests that were made.
        retries: further tries of those.
        repeated: samples whose earlier bytes were sent again.
        fallbacks: requests that the device answered alone.
        bytes_sent: bytes of all frames that were sent, retries included.
    """

    requests: int = 0
    retries: int = 0
    repeated: int = 0
    fallbacks: int = 0
    bytes_sent: int = 0


class EdgeClient:
    """Runs one bundle's edge part. Also a context manager; may be used from several threads.

    Args:
        bundle: a bundle, its edge part, or what `open_edge` returned.
        address: the server's `HOST:PORT`; None if everything runs on the device.
        tls: None for plaintext, to loopback or with `insecure` alone.
        insecure: send plaintext to any address.
        key_file: the secret mask keys (see `mask_keys`) of a plan with keyed masks.
        scaling: how keyed masks read floating inputs as pixels; None: the inputs lie in [0, 1].
        policy: how often an input may be released; None counts nothing and makes every release a new one.
        timeout_s: the time limit of one try, in seconds; at most 49 days, which is what a request can say.
        connect_timeout_s: the time limit of connecting and shaking hands, in seconds.
        retries: further tries, with identical bytes.
        in_flight: the most requests of `stream` that wait for their answers.
        fallback: if the cloud does not answer, run the whole model on the device; the part must hold it.
        undefended: send the crossing tensors themselves. This hides NOTHING: it is for verifying the halves, and the
            server must allow it.

    Attributes:
        part: the edge part.
        counts: what the client did so far.

    Raises:
        RecordError: there is no such part, or none with a fallback.
        CollabplanError: the address is unsafe, a time is none, the keys do not suit the plan, or a file cannot be
            read.

    Example::

        with EdgeClient("bundle", "127.0.0.1:7433") as client:
            output = client.infer(image)
    """

    def __init__(
        self,
        bundle: EdgePart | Path | str,
        address: str | None,
        *,
        tls: ClientTls | None = None,
        insecure: bool = False,
        key_file: Path | None = None,
        scaling: InputScaling | None = None,
        policy: ReleasePolicy | None = ReleasePolicy(),  # noqa: B008
        timeout_s: float = 10.0,
        connect_timeout_s: float = 5.0,
        retries: int = 2,
        in_flight: int = 2,
        fallback: bool = False,
        undefended: bool = False,
    ) -> None:
        for name, seconds in (("timeout_s", timeout_s), ("connect_timeout_s", connect_timeout_s)):
            if not 0 < seconds * 1e3 <= MOST_PATIENCE_MS:
                most = MOST_PATIENCE_MS // 1000
                raise CollabplanError(f"{name} must be above 0 and at most {most} seconds, got {seconds}")
        self.part = bundle if isinstance(bundle, EdgePart) else open_edge(Path(bundle))
        self.counts = ClientCounts()
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._retries, self._in_flight, self._undefended = retries, in_flight, undefended
        self._lock = threading.Lock()
        self._session: CloudSession | None = None
        self._fallback: Program | None = self.part.fallback() if fallback else None
        self._address = self._checked_address(address, tls, insecure) if self.part.sends else None
        self._maker = RequestMaker(
            self.part,
            key_file=key_file,
            scaling=scaling,
            policy=policy,
            undefended=undefended,
            patience_ms=int(timeout_s * 1e3),
        )

    def __enter__(self) -> EdgeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and close the release store."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.end()
        self._maker.close()

    def connect(self) -> None:
        """Shake hands now, to learn early if the cloud cannot be used. `infer` connects by itself.

        Raises:
            UnreachableError: there is no connection.
            MismatchError: the server runs another bundle.
        """
        if self.part.sends:
            self._connected()

    def infer(self, inputs: Inputs) -> Any:
        """The model's output for some samples.

        Args:
            inputs: the model's tensors in order or by name, each as it was traced: its batch in the traced dimension.

        Raises:
            ReleaseError: the policy refuses another release of an input, or the release store cannot be used.
            UnreachableError: the cloud gave no answer.
            CollabplanError: the inputs are not the model's, or the server refuses the device or the request.
        """
        return self.collect(self.submit(self.prepare(inputs)))

    def stream(self, inputs: Iterable[Inputs], *, on_error: Literal["raise", "yield"] = "raise") -> Iterator[Any]:
        """The outputs of many requests, in order. The device works on the next one while the cloud works on the last.

        Args:
            inputs: one request each, as `infer` takes them.
            on_error: "yield" yields a CollabplanError in place of the output and goes on.

        Raises:
            CollabplanError: as `infer`, unless `on_error` is "yield".
        """
        window: deque[PendingRequest | CollabplanError] = deque()
        for each in inputs:
            window.append(self._begun(each, on_error))
            while window and (len(window) >= self._in_flight or _is_done(window[0])):
                yield self._finished(window.popleft(), on_error)
        while window:
            yield self._finished(window.popleft(), on_error)

    def prepare(self, inputs: Inputs) -> PendingRequest:
        """The first step of `infer`: check the inputs and make the request. Raises as `infer`."""
        given, batch = checked_inputs(inputs, self.part.manifest.part)
        if not self.part.sends:
            return PendingRequest(0, b"", batch, given)
        request = self._maker.make(given, batch)
        self.counts.requests += 1
        self.counts.repeated = self._maker.repeated
        return request

    def submit(self, request: PendingRequest) -> PendingRequest:
        """The second step of `infer`: send the request. If this fails, `collect` tries again or raises."""
        if not self.part.sends:
            return request
        request.future = request.session = request.failure = None
        try:
            if request.given_up:
                raise CollabplanError("this request was given up before it left the device; prepare its inputs again")
            session = request.session = self._connected()
            if request.batch > session.max_batch:
                raise CollabplanError(
                    f"a request of {request.batch} samples is more than the server takes ({session.max_batch}); "
                    "send fewer at once, or serve with a larger --max-batch"
                )
            request.may_have_left = True
            request.future = session.send(request.number, request.frame)
            self.counts.bytes_sent += len(request.frame)
        except CollabplanError as error:
            request.failure = error
        return request

    def collect(self, request: PendingRequest) -> Any:
        """The last step of `infer`: the output, after retries and fallback. Raises as `infer`.

        A request that never left the device, because no server could be reached, does not count as a release.
        """
        if not self.part.sends:
            return _run(self.part.program, request.inputs)
        try:
            return self._answer(request)
        except CollabplanError as error:
            self._maker.give_up(request)
            if self._fallback is None or not isinstance(error, UnreachableError):
                raise
            log.warning("the cloud does not answer, the device does: %s", error)
            self.counts.fallbacks += 1
            return _run(self._fallback, request.inputs)

    def _answer(self, request: PendingRequest) -> Any:
        """The cloud's output, after retries. Raises as `infer`."""
        for attempt in itertools.count():
            try:
                return self._output(request)
            except UnreachableError as error:
                if error.retry and attempt < self._retries:
                    time.sleep(_BACKOFFS_S[min(attempt, len(_BACKOFFS_S) - 1)] * (0.5 + random.random()))
                    self.counts.retries += 1
                    self.submit(request)
                    continue
                raise
        raise AssertionError  # the loop returns or raises

    def _begun(self, inputs: Inputs, on_error: str) -> PendingRequest | CollabplanError:
        """A request that was sent, or the error that kept it from being made."""
        try:
            return self.submit(self.prepare(inputs))
        except CollabplanError as error:
            if on_error == "raise":
                raise
            return error

    def _finished(self, request: PendingRequest | CollabplanError, on_error: str) -> Any:
        """The output of a request of a stream, or the error in its place."""
        if isinstance(request, CollabplanError):
            return request
        try:
            return self.collect(request)
        except CollabplanError as error:
            if on_error == "raise":
                raise
            return error

    def _output(self, request: PendingRequest) -> Any:
        """The output of the last try. Raises UnreachableError or CollabplanError."""
        if request.failure is not None:
            raise request.failure
        assert request.future is not None
        try:
            answer = request.future.result(self._timeout_s)
        except TimeoutError:
            # The link may be dead: send nothing more on it, and let all that wait for it try again too.
            late = UnreachableError(f"the cloud gave no answer within {self._timeout_s:g} s")
            if request.session is not None:
                request.session.end(late)
            raise late from None
        if answer.status is Status.ok:
            return unpack_outputs(answer.body, self.part.manifest.part.outputs, request.batch)
        message = f"the cloud answered {answer.status.name}: {answer.reason}"
        if answer.status.may_help_later or answer.status is Status.late:
            raise UnreachableError(message, retry=answer.status.may_help_later)
        raise CollabplanError(message)

    def _connected(self) -> CloudSession:
        """The session that is open, or a new one. Raises UnreachableError or MismatchError."""
        from .session import CloudSession

        assert self._address is not None
        part = self.part.manifest.part
        with self._lock:
            if self._session is not None and not self._session.broken:
                return self._session
            if self._session is not None:
                self._session.end()
                self._session = None
            largest = max(answer_bytes(part.outputs, part.batch or _MOST_BATCH), MOST_REASON_BYTES)
            self._session = CloudSession(
                self._address,
                self.part.manifest,
                undefended=self._undefended,
                most_bytes=min(ANSWER_HEADER_BYTES + largest, MOST_MESSAGE_BYTES),
                timeout_s=self._connect_timeout_s,
            )
            return self._session

    def _checked_address(self, address: str | None, tls: ClientTls | None, insecure: bool) -> Address:
        if address is None:
            raise CollabplanError(f"the plan needs the cloud ({self.part.manifest.part.cut_name}); give its HOST:PORT")
        with optional_imports():
            from .session import Address

        if self._undefended:
            log.warning("UNDEFENDED: the crossing tensors leave as they are, which hides nothing of the inputs")
        return Address.checked(address, tls, insecure=insecure)


def _run(program: Program, inputs: Sequence[Tensor]) -> Any:
    with torch.no_grad():
        return program(*inputs)


def _is_done(request: PendingRequest | CollabplanError) -> bool:
    return isinstance(request, CollabplanError) or request.done
