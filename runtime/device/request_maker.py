"""Makes requests on the device: runs the edge half, defends what crosses, and packs it into a frame.

A frame is made once. A retry sends the identical bytes again, so that it reveals nothing new.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...defenses.randomness import Fresh, Keyed, Randomness
from ...records import CollabplanError
from ...targets.data import InputScaling
from ..parts import EdgePart
from ..wire.framing import Answer, BodyKind, Request, pack_request
from ..wire.request_codec import DefendedCodec, PlainCodec
from .errors import ReleaseError
from .mask_keys import newest_key
from .model_inputs import private_inputs
from .release_limiter import ReleaseLimiter, ReleasePolicy, Settled
from .release_store import Claim

if TYPE_CHECKING:
    from .session import CloudSession

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class PendingRequest:
    """One request, from its making to its answer.

    Attributes:
        number: its id on the wire.
        frame: the bytes that are sent, and sent again by each retry; empty if the model runs on the device alone.
        batch: the number of samples.
        inputs: the model's tensors in order, for the fallback.
        future: where the answer of the last try arrives; None before it was sent.
        session: the connection of the last try.
        failure: why the last try could not be sent.
        claims: what the request counts for in the release store.
        may_have_left: True once a try was handed to a connection.
        given_up: True once the request no longer counts, because it never left; it is not sent any more.
    """

    number: int
    frame: bytes
    batch: int
    inputs: tuple[Tensor, ...]
    future: Future[Answer] | None = None
    session: CloudSession | None = None
    failure: CollabplanError | None = None
    claims: tuple[Claim, ...] = ()
    may_have_left: bool = False
    given_up: bool = False

    @property
    def done(self) -> bool:
        """True once the last try has an answer or a failure."""
        return self.failure is not None or (self.future is not None and self.future.done())


class RequestMaker:
    """Makes the requests of one edge part. May be used from several threads.

    Args:
        part: what the device runs.
        key_file: the secret mask keys of a plan with keyed masks.
        scaling: how keyed masks read floating inputs as pixels; None: the inputs lie in [0, 1].
        policy: how often an input may be released; None counts nothing and makes every release a new one.
        undefended: send the crossing tensors themselves, which hides nothing.
        patience_ms: the milliseconds that each request may wait.

    Raises:
        CollabplanError: the plan needs a key and has none, or has one that it does not need; or the release store
            cannot be used.
    """

    def __init__(
        self,
        part: EdgePart,
        *,
        key_file: Path | None,
        scaling: InputScaling | None,
        policy: ReleasePolicy | None,
        undefended: bool,
        patience_ms: int,
    ) -> None:
        self._part, self._scaling = part, scaling
        self._undefended, self._patience_ms = undefended, patience_ms
        self._defended, self._plain = DefendedCodec(part.defense), PlainCodec(part.defense)
        self._key = self._checked_key(key_file)
        self._numbers = itertools.count(1)
        self._limiter: ReleaseLimiter | None = None
        if part.sends and policy is not None and not undefended:
            release_bytes = self._defended.row_bytes * (part.manifest.part.batch or 1)
            self._limiter = ReleaseLimiter(policy, part.manifest.part.plan_sha256, release_bytes)

    @property
    def repeated(self) -> int:
        """The samples whose earlier bytes were sent again."""
        return 0 if self._limiter is None else self._limiter.repeated

    def make(self, inputs: tuple[Tensor, ...], batch: int) -> PendingRequest:
        """The request for some inputs.

        Args:
            inputs: the model's tensors in order, from `checked_inputs`.
            batch: the number of samples in them.

        Raises:
            ReleaseError: the policy refuses another release of one of the inputs, or the release store cannot be used.
            BodyError: what crosses does not have the shapes of the plan.
        """
        claims: tuple[Claim, ...] = ()
        with torch.no_grad():
            crossing = self._part.program(*inputs)
            if self._undefended:
                kind, body = BodyKind.undefended, self._plain.pack(crossing, batch)
            else:
                kind = BodyKind.defended
                body, claims = self._release(inputs, crossing, batch)
        number = next(self._numbers)
        frame = pack_request(Request(kind, number, batch, self._patience_ms, body))
        return PendingRequest(number, frame, batch, inputs, claims=claims)

    def give_up(self, request: PendingRequest) -> None:
        """Take back what a request counts for if it never left the device; it must not be sent afterwards."""
        if self._limiter is None or request.may_have_left or request.given_up:
            return
        request.given_up = True
        try:
            self._limiter.take_back(request.claims)
        except ReleaseError as error:
            log.warning("a request that never left counts as released: %s", error)

    def close(self) -> None:
        """Close the release store."""
        if self._limiter is not None:
            self._limiter.close()

    def _release(
        self, inputs: tuple[Tensor, ...], crossing: Sequence[Tensor], batch: int
    ) -> tuple[bytes, tuple[Claim, ...]]:
        """The body, new releases or earlier bytes as the policy says, and its claims."""
        part = self._part.manifest.part
        released = self._part.defense.release(crossing, self._source(inputs, batch))
        rows, fixed = self._defended.rows(released, batch), self._defended.fixed(released)
        settled = Settled(rows, ())
        if self._limiter is not None:
            units = 1 if part.batch else batch
            settled = self._limiter.settle(private_inputs(inputs, part.inputs, units), rows.reshape(units, -1))
        return settled.rows.tobytes() + fixed, settled.claims

    def _source(self, inputs: Sequence[Tensor], batch: int) -> Randomness:
        """Where the defense's randomness comes from."""
        if self._key is None:
            return Fresh()
        part = self._part.manifest.part
        private = [
            tensor if self._scaling is None or not tensor.is_floating_point() else self._scaling.to_unit(tensor)
            for tensor in private_inputs(inputs, part.inputs, batch)
        ]
        return Keyed(self._key, part.plan_sha256.encode(), private)

    def _checked_key(self, key_file: Path | None) -> bytes | None:
        defense = self._part.defense
        keyed = defense.record.masks == "keyed" and defense.randomizes
        if keyed and key_file is None and not self._undefended:
            raise CollabplanError("the plan has keyed masks, which need a secret; give --key-file (see docs/deploy.md)")
        if key_file is not None and not keyed:
            raise CollabplanError("the plan draws fresh masks, no key is used; leave --key-file out")
        return None if key_file is None else newest_key(key_file)
