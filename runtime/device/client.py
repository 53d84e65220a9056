"""The device's client of a split plan: runs the edge half, defends what crosses, and asks the cloud for the rest.

What leaves is made once. A retry sends the identical bytes again, so that it tells nothing new, and a `ReleasePolicy`
sees to it that neither does asking for the same input again.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ...defenses.randomness import Fresh, Keyed, Randomness
from ...graph import Program
from ...records import CollabplanError, TensorSpec
from ...targets.data import InputScaling
from ..parts import EdgePart, open_edge
from ..wire.framing import ANSWER_HEADER_BYTES, MOST_REASON_BYTES, BodyKind, Request, Status, pack_request
from ..wire.request_codec import DefendedCodec, PlainCodec
from ..wire.response_codec import answer_bytes, unpack_outputs
from .mask_keys import newest_key
from .release_limiter import ReleaseLimiter, ReleasePolicy

if TYPE_CHECKING:
    from ..wire.framing import Answer
    from ..wire.service import ClientTls
    from .session import Address, CloudSession

log = logging.getLogger(__name__)

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]

_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 2.0


@dataclass(slots=True)
class ClientCounts:
    """What a client did so far. `repeated`: samples whose earlier bytes were sent again."""

    requests: int = 0
    retries: int = 0
    repeated: int = 0
    fallbacks: int = 0
    bytes_sent: int = 0


@dataclass(eq=False, slots=True)
class _Sent:
    """One request: its bytes as they were made, and where its answer comes."""

    number: int
    frame: bytes
    batch: int
    inputs: tuple[Tensor, ...]
    future: Future[Answer] | None = None
    session: CloudSession | None = None
    failure: CollabplanError | None = None


class EdgeClient:
    """Runs one bundle's edge part. Also a context manager; may be used from several threads.

    Args:
        bundle: a bundle, its edge part, or what `open_edge` returned.
        address: the server's `HOST:PORT`; None where everything runs on the device.
        tls: None for plaintext, to loopback or with `insecure` alone.
        insecure: plaintext to any address.
        key_file: secret mask keys (see `keys`), for a plan with keyed masks.
        scaling: how keyed masks read floating inputs as pixels; None: the inputs lie in [0, 1].
        policy: how often an input may be released; None: nothing is counted, and each release is a new one.
        timeout_s: how long one try may take.
        connect_timeout_s: how long connecting and shaking hands may take.
        retries: further tries, with identical bytes.
        in_flight: most requests of `stream` that are unanswered.
        fallback: answer with the whole model on the device where the cloud does not; the part must hold it.
        undefended: send the crossing tensors as they are. Hides NOTHING: to verify the halves, and the server must
            allow it.

    Raises:
        RecordError: no such part, or none with a fallback.
        CollabplanError: an unsafe address, keys that do not suit the plan, or files that cannot be read.
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
        self.part = bundle if isinstance(bundle, EdgePart) else open_edge(Path(bundle))
        self.tally = ClientCounts()
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._retries, self._in_flight = retries, in_flight
        self._scaling, self._undefended = scaling, undefended
        self._lock = threading.Lock()
        self._session: CloudSession | None = None
        self._numbers = itertools.count(1)
        self._released, self._plain = DefendedCodec(self.part.defense), PlainCodec(self.part.defense)
        self._key = self._checked_key(key_file)
        self._fallback: Program | None = self.part.fallback() if fallback else None
        self._accountant: ReleaseLimiter | None = None
        self._address: Address | None = None
        if not self.part.sends:
            return
        if address is None:
            raise CollabplanError(f"the plan needs the cloud ({self.part.manifest.part.cut_name}); give its HOST:PORT")
        from .session import Address

        self._address = Address.checked(address, tls, insecure=insecure)
        if undefended:
            log.warning("UNDEFENDED: the crossing tensors leave as they are, which hides nothing of the inputs")
        elif policy is not None:
            size = self._released.row_bytes * (self.part.manifest.part.batch or 1)
            self._accountant = ReleaseLimiter(policy, self.part.manifest.part.plan_sha256, size)

    def __enter__(self) -> EdgeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.end()
        if self._accountant is not None:
            self._accountant.close()

    def connect(self) -> None:
        """Shake hands now, to learn early that the cloud cannot be used; `infer` does it by itself.

        Raises:
            CollabplanError: no connection (`UnreachableError`), or the server runs another bundle (`MismatchError`).
        """
        if self.part.sends:
            self._connected()

    def infer(self, inputs: Inputs) -> Any:
        """The model's output for some samples.

        Args:
            inputs: the model's tensors in their order or by name, batch first as it was traced.

        Raises:
            CollabplanError: inputs that are not the model's, a release that the policy refuses, no answer from the
                cloud (`UnreachableError`), or a server that refuses the device or the request.
        """
        given, batch = self._checked(inputs)
        if not self.part.sends:
            return _run(self.part.program, given)
        return self._settled(self._send(self._made(given, batch)))

    def stream(self, inputs: Iterable[Inputs], *, on_error: Literal["raise", "yield"] = "raise") -> Iterator[Any]:
        """The outputs of many requests, in their order; the device works on the next while the cloud works on the last.

        Args:
            inputs: as `infer` takes them.
            on_error: "yield" gives the CollabplanError in the place of an output and goes on.
        """
        window: deque[_Sent] = deque()
        for each in inputs:
            window.append(self._begun(each, on_error))
            while window and (len(window) >= self._in_flight or _is_done(window[0])):
                yield self._finished(window.popleft(), on_error)
        while window:
            yield self._finished(window.popleft(), on_error)

    # one request --------------------------------------------------------------------------------------

    def _begun(self, inputs: Inputs, on_error: str) -> _Sent:
        try:
            given, batch = self._checked(inputs)
            return self._send(self._made(given, batch)) if self.part.sends else _Sent(0, b"", batch, given)
        except CollabplanError as error:
            if on_error == "raise":
                raise
            return _Sent(0, b"", 0, (), failure=error)

    def _finished(self, sent: _Sent, on_error: str) -> Any:
        try:
            if sent.failure is not None and not sent.frame:  # it never came to be sent
                raise sent.failure
            return self._settled(sent) if self.part.sends else _run(self.part.program, sent.inputs)
        except CollabplanError as error:
            if on_error == "raise":
                raise
            return error

    def _checked(self, inputs: Inputs) -> tuple[tuple[Tensor, ...], int]:
        """The model's tensors in order, and how many samples they hold."""
        part = self.part.manifest.part
        given = _ordered(inputs, part.inputs)
        counted = _counted(part.inputs, given)
        batch = part.batch or counted or 1
        if not part.samples_independent and counted > 1:
            raise CollabplanError("samples of this model read each other, so a request holds one; send them one by one")
        for spec, tensor in zip(part.inputs, given, strict=True):
            _require_fits(spec, tensor, batch)
        return given, batch

    def _made(self, inputs: tuple[Tensor, ...], batch: int) -> _Sent:
        """The request for some inputs, as it is sent and sent again."""
        with torch.no_grad():
            crossing = self.part.program(*inputs)
            if self._undefended:
                wire, body = BodyKind.undefended, self._plain.pack(crossing, batch)
            else:
                released = self.part.defense.release(crossing, self._source(inputs, batch))
                rows = self._released.rows(released, batch)
                if self._accountant is not None:
                    units = 1 if self.part.manifest.part.batch else batch
                    rows = self._accountant.settle(self._private(inputs, units), rows.reshape(units, -1))
                    self.tally.repeated = self._accountant.repeated
                wire, body = BodyKind.plan, rows.tobytes() + self._released.fixed(released)
        number = next(self._numbers)
        frame = pack_request(Request(wire, number, batch, int(self._timeout_s * 1e3), body))
        self.tally.requests += 1
        return _Sent(number, frame, batch, inputs)

    def _send(self, sent: _Sent) -> _Sent:
        """Put a request on the wire; what goes wrong shows when it is settled."""
        sent.future, sent.failure = None, None
        try:
            sent.session = self._connected()
            if sent.batch > sent.session.max_batch:
                raise CollabplanError(
                    f"a request of {sent.batch} samples is more than the server takes ({sent.session.max_batch}); "
                    "send fewer at once, or serve with a larger --max-batch"
                )
            sent.future = sent.session.send(sent.number, sent.frame)
            self.tally.bytes_sent += len(sent.frame)
        except CollabplanError as error:
            sent.failure = error
        return sent

    def _settled(self, sent: _Sent) -> Any:
        """The output of a request that was sent, after as many tries as are allowed."""
        from .session import UnreachableError

        for attempt in itertools.count():
            try:
                return self._output(sent)
            except UnreachableError as error:
                if error.retry and attempt < self._retries:
                    time.sleep(min(_BACKOFF_S * 2**attempt, _LONGEST_BACKOFF_S) * (0.5 + random.random()))
                    self.tally.retries += 1
                    self._send(sent)
                    continue
                if self._fallback is None:
                    raise
                log.warning("the cloud does not answer, the device does: %s", error)
                self.tally.fallbacks += 1
                return _run(self._fallback, sent.inputs)
        raise AssertionError  # the loop ends by itself

    def _output(self, sent: _Sent) -> Any:
        """What one try brought."""
        from .session import UnreachableError

        if sent.failure is not None:
            raise sent.failure
        assert sent.future is not None
        assert sent.session is not None
        try:
            answer = sent.future.result(self._timeout_s)
        except TimeoutError:
            # Perhaps the link is dead: nothing more is sent on it, and what else waits for it is tried again too.
            late = UnreachableError(f"the cloud gave no answer within {self._timeout_s:g} s")
            sent.session.end(late)
            raise late from None
        if answer.status is Status.ok:
            return unpack_outputs(answer.body, self.part.manifest.part.outputs, sent.batch)
        said = f"the cloud answered {answer.status.name}: {answer.reason}"
        if answer.status.may_help_later or answer.status is Status.late:
            raise UnreachableError(said, retry=answer.status.may_help_later)
        raise CollabplanError(said)

    def _connected(self) -> CloudSession:
        from .session import CloudSession

        assert self._address is not None
        with self._lock:
            if self._session is None or self._session.broken:
                if self._session is not None:
                    self._session.end()
                    self._session = None
                part = self.part.manifest.part
                most = ANSWER_HEADER_BYTES + max(
                    answer_bytes(part.outputs, part.batch or _MOST_BATCH), MOST_REASON_BYTES
                )
                self._session = CloudSession(
                    self._address,
                    self.part.manifest,
                    undefended=self._undefended,
                    most_bytes=min(most, 2**31 - 1),
                    timeout_s=self._connect_timeout_s,
                )
            return self._session

    # randomness ---------------------------------------------------------------------------------------

    def _checked_key(self, key_file: Path | None) -> bytes | None:
        keyed = self.part.defense.spec.masks == "keyed" and self.part.defense.randomizes
        if keyed and key_file is None and not self._undefended:
            raise CollabplanError("the plan has keyed masks, which need a secret; give --key-file (see docs/deploy.md)")
        if key_file is not None and not keyed:
            raise CollabplanError("the plan draws fresh masks, no key is used; leave --key-file out")
        return None if key_file is None else newest_key(key_file)

    def _source(self, inputs: Sequence[Tensor], batch: int) -> Randomness:
        if self._key is None:
            return Fresh()
        private = [
            tensor if self._scaling is None or not tensor.is_floating_point() else self._scaling.to_unit(tensor)
            for tensor in self._private(inputs, batch)
        ]
        return Keyed(self._key, self.part.manifest.part.plan_sha256.encode(), private)

    def _private(self, inputs: Sequence[Tensor], units: int) -> list[Tensor]:
        """The private inputs, each `[units, ...]`; what all samples share belongs to each of them."""
        found = []
        for spec, tensor in zip(self.part.manifest.part.inputs, inputs, strict=True):
            if spec.public:
                continue
            if spec.batch_dims and tensor.shape[spec.batch_dims[0]] == units:
                found.append(tensor.movedim(spec.batch_dims[0], 0))
            else:
                found.append(tensor.expand(units, *tensor.shape))
        return found


_MOST_BATCH = 4096
"""Most samples whose answer is taken at once."""


def _run(program: Program, inputs: Sequence[Tensor]) -> Any:
    with torch.no_grad():
        return program(*inputs)


def _is_done(sent: _Sent) -> bool:
    return sent.failure is not None or (sent.future is not None and sent.future.done())


def _counted(specs: Sequence[TensorSpec], given: Sequence[Tensor]) -> int:
    """Samples in some inputs, by the first that counts them; 0 where none does."""
    for spec, tensor in zip(specs, given, strict=True):
        if spec.batch_dims and tensor.ndim > spec.batch_dims[0]:
            return tensor.shape[spec.batch_dims[0]]
    return 0


def _ordered(inputs: Inputs, specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    names = ", ".join(spec.name for spec in specs)
    if isinstance(inputs, Mapping):
        if set(inputs) != {spec.name for spec in specs}:
            raise CollabplanError(f"the model takes {names}, got {', '.join(inputs) or 'nothing'}")
        return tuple(inputs[spec.name] for spec in specs)
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if len(given) != len(specs):
        raise CollabplanError(f"the model takes {len(specs)} tensors ({names}), got {len(given)}")
    return given


def _require_fits(spec: TensorSpec, tensor: Tensor, batch: int) -> None:
    """Refuse a tensor that is not the model's input."""
    expected = spec.shape_at(batch)
    fits = tensor.ndim == len(expected) and all(
        size is None or size == found for size, found in zip(expected, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != getattr(torch, spec.dtype):
        shape = [size if size is not None else "any" for size in expected]
        raise CollabplanError(
            f"input {spec.name!r} must be {spec.dtype} {shape}, got {str(tensor.dtype).removeprefix('torch.')} "
            f"{list(tensor.shape)}"
        )
