"""Runs the cloud half on the bodies of requests: decode, receive, run, encode.

Nothing here logs or reports what a request holds. An error names its kind alone, because its message may quote numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ...records import CollabplanError
from ..parts import CloudPart
from ..wire.framing import MOST_MESSAGE_BYTES, REQUEST_HEADER_BYTES, BodyKind, Status
from ..wire.request_codec import BodyError, DefendedCodec, PlainCodec
from ..wire.response_codec import AnswerError, can_split, pack_outputs, split_outputs
from .engine import Job

log = logging.getLogger(__name__)


class HalfRunner:
    """Answers jobs with the cloud half of one part.

    Args:
        part: from `open_cloud`.
        max_batch: the most samples of one request, if the part does not fix its batch size.
        allow_undefended: also answer tensors that no defense acted on.
    """

    def __init__(self, part: CloudPart, *, max_batch: int, allow_undefended: bool) -> None:
        self.part, self.allow_undefended = part, allow_undefended
        self.fixed_batch = part.manifest.part.batch
        self.max_batch = self.fixed_batch or max_batch
        self._defended, self._undefended = DefendedCodec(part.defense), PlainCodec(part.defense)

    @property
    def largest_body_bytes(self) -> int:
        """The size of the largest body that is answered."""
        defended = self._defended.body_bytes(self.max_batch)
        if not self.allow_undefended:
            return defended
        return max(defended, self._undefended.body_bytes(self.max_batch))

    def require_sendable(self) -> None:
        """Refuse requests that are larger than a gRPC message can be.

        Raises:
            CollabplanError: the largest request reaches 2 GiB.
        """
        room = MOST_MESSAGE_BYTES - REQUEST_HEADER_BYTES
        if self.largest_body_bytes <= room:
            return
        asked = f"a request of {self.max_batch} samples has {self.largest_body_bytes:,} bytes, gRPC takes {room:,}"
        codecs = (self._defended, self._undefended) if self.allow_undefended else (self._defended,)
        fitting = self.max_batch
        while fitting and max(codec.body_bytes(fitting) for codec in codecs) > room:
            fitting //= 2
        if self.fixed_batch or not fitting:
            raise CollabplanError(f"{asked}; choose another cut, or a defense that sends less")
        raise CollabplanError(f"{asked}; serve with --max-batch {fitting}")

    def require_divisible(self) -> None:
        """Refuse micro-batching if requests that run together could not be told apart afterwards.

        Raises:
            CollabplanError: samples read each other, the batch size is fixed, an input or output does not have one
                row per sample, or undefended tensors are allowed.
        """
        part = self.part.manifest.part
        if not part.samples_independent:
            raise CollabplanError(
                "samples of this model read each other, so requests that run as one batch would change each other's "
                "answers; serve it without --micro-batch"
            )
        if self.allow_undefended or part.batch or self._defended.fixed_bytes or not can_split(part.outputs):
            raise CollabplanError(
                "micro-batching needs a model that takes any batch size, whose inputs and outputs all have one row per "
                "sample, and requests that are defended as the plan says; serve this one without --micro-batch"
            )

    def refusal(self, kind: BodyKind, batch: int, body_bytes: int) -> str | None:
        """Why a request of this size cannot be run, or None if it can."""
        if batch > self.max_batch or (self.fixed_batch or batch) != batch:
            return f"requests here hold {self.max_batch} samples at most"
        if body_bytes != self._codec(kind).body_bytes(batch):
            return "the body's size is not the plan's"
        return None

    def run(self, jobs: Sequence[Job]) -> list[tuple[Status, bytes]]:
        """The status and body of the answer to each job. Several jobs run as one batch. Never raises."""
        if len(jobs) == 1:
            return [self._run_one(jobs[0])]
        try:
            return self._run_together(jobs)
        except Exception:  # one client's request must not fail another's
            return [self._run_one(job) for job in jobs]

    def _run_one(self, job: Job) -> tuple[Status, bytes]:
        try:
            return Status.ok, pack_outputs(
                self._outputs(job.kind, job.body, job.batch), self.part.manifest.part.outputs
            )
        except BodyError as error:
            return Status.invalid, str(error).encode()
        except AnswerError as error:
            log.error("%s", error)
            return Status.failed, str(error).encode()
        except Exception as error:
            log.error("the cloud half raised %s", type(error).__name__)
            return Status.failed, f"the cloud half raised {type(error).__name__}".encode()

    def _run_together(self, jobs: Sequence[Job]) -> list[tuple[Status, bytes]]:
        spec, batches = self.part.manifest.part.outputs, [job.batch for job in jobs]
        outputs = self._outputs(jobs[0].kind, b"".join(job.body for job in jobs), sum(batches))
        return [(Status.ok, pack_outputs(each, spec)) for each in split_outputs(outputs, spec, batches)]

    def _outputs(self, kind: BodyKind, body: bytes | memoryview, batch: int) -> Any:
        with torch.no_grad():
            received = self._codec(kind).unpack(body, batch)
            if kind is BodyKind.defended:
                received = self.part.defense.receive(received)
            return self.part.program(*received)

    def _codec(self, kind: BodyKind) -> DefendedCodec | PlainCodec:
        return self._defended if kind is BodyKind.defended else self._undefended
