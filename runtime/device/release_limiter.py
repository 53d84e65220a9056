"""Limits how often each private input is released, and sends the first release again once the limit is reached.

Whoever sees q releases of one input under independent masks learns more about it than one release shows, and a plan is
audited at a certain q. The release limiter keeps to it: the first q times that an input is asked for, its release is a
new one. From then on the first release is sent again, which reveals nothing new, or the request is refused.

Two inputs are *the same* if their bytes are. With a tolerance, they are also the same if their mean absolute
difference, over all numbers and in the units of the model's inputs, is at most the tolerance. Every such near-duplicate
of a remembered input is found, and gets the earlier input's answer. Not found are copies that are shifted, scaled, or
brighter by more than the tolerance; each step of a slow drift beyond the tolerance counts as a new input. Public inputs
do not count: the same private input with another public one gets the earlier answer.

Clients on one store decide one after the other, so together they keep to the policy, and each finds the near-duplicates
of what another released. A request that never left the device does not count; one that may have left does.

No input is forgotten (see `release_store`): a flood of other inputs gets no new release of an earlier one. A client
whose memory is full sends nothing more that is new; a store, a SQLite file that its owner alone can read, has no such
end and also remembers across restarts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ...records import CollabplanError
from ..wire.bitpacking import Bytes
from .errors import ReleaseError
from .near_duplicates import Numbers
from .release_store import Claim, MemoryFullError, ReleaseStore

Beyond = Literal["resend", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePolicy:
    """How often an input may be released.

    Attributes:
        releases: new releases of one input, at least 1.
        near: the largest mean absolute difference between two inputs that count as the same, in the inputs' units;
            0 finds exact repeats alone.
        beyond: what happens after that: "resend" sends the first release again, "refuse" raises ReleaseError.
        most_bytes: the memory for remembered inputs, without a store. When it is full, new inputs raise ReleaseError.
        store: a file that remembers all inputs, also across restarts.
        wait_s: how long to wait, in seconds, while other clients of the store decide.

    Raises:
        CollabplanError: a value is out of range.

    Examples:
        >>> ReleasePolicy(releases=10, beyond="refuse").near
        0.0
    """

    releases: int = 1
    near: float = 0.0
    beyond: Beyond = "resend"
    most_bytes: int = 2**28
    store: Path | None = None
    wait_s: float = 5.0

    def __post_init__(self) -> None:
        if self.releases < 1 or not self.near >= 0 or self.most_bytes < 1 or not self.wait_s >= 0:
            raise CollabplanError("a release policy needs releases >= 1, near >= 0, most_bytes >= 1 and wait_s >= 0")


@dataclass(frozen=True, slots=True)
class Settled:
    """What leaves the device.

    Attributes:
        rows: `[samples, row_bytes]`.
        claims: what they count for, to be taken back if they never leave.
    """

    rows: Bytes
    claims: tuple[Claim, ...]


class ReleaseLimiter:
    """Keeps one policy for one plan. May be used from several threads.

    Args:
        policy: what is kept.
        plan_sha256: a store of another plan is refused.
        row_bytes: the bytes of one release; a store with another size is refused.

    Attributes:
        repeated: the samples for which earlier bytes were sent again.

    Raises:
        CollabplanError: the store cannot be used (see `ReleaseStore`).
    """

    def __init__(self, policy: ReleasePolicy, plan_sha256: str, row_bytes: int) -> None:
        self.policy = policy
        self.repeated = 0
        self._lock = threading.Lock()
        self._store = ReleaseStore(
            policy.store,
            plan_sha256,
            row_bytes,
            keeps_numbers=policy.near > 0,
            most_bytes=policy.most_bytes,
            wait_s=policy.wait_s,
        )

    def settle(self, private: Sequence[Tensor], rows: Bytes) -> Settled:
        """Decide what leaves the device: the new release of each sample, or an earlier one.

        Args:
            private: the private inputs, each `[samples, ...]`.
            rows: a new release of them, `[samples, row_bytes]`.

        Raises:
            ReleaseError: a sample was released as often as it may be and the policy refuses more, or the store cannot
                be used. Then no sample of the request counts.
        """
        inputs = [[tensor[index].detach().cpu().contiguous() for tensor in private] for index in range(rows.shape[0])]
        with self._lock:
            while True:
                try:
                    with self._store.decision():
                        settled, repeated = self._settle_all(inputs, rows)
                except MemoryFullError:
                    if not self._store.make_room():
                        raise
                else:
                    self.repeated += repeated
                    return settled

    def take_back(self, claims: Sequence[Claim]) -> None:
        """Undo the claims of a request that never left.

        Raises:
            ReleaseError: the store cannot be used; the request then counts.
        """
        with self._lock, self._store.decision():
            self._store.take_back(claims)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _settle_all(self, inputs: Sequence[Sequence[Tensor]], rows: Bytes) -> tuple[Settled, int]:
        """The decision of one request, and how many of its samples are repeats."""
        sent, claims, repeated = rows.copy(), list[Claim](), 0
        for index, parts in enumerate(inputs):
            claim, earlier = self._settle_one(parts, rows[index].tobytes())
            claims.append(claim)
            if earlier is not None:
                sent[index] = np.frombuffer(earlier, dtype=np.uint8)
                repeated += 1
        return Settled(sent, tuple(claims)), repeated

    def _settle_one(self, parts: Sequence[Tensor], row: bytes) -> tuple[Claim, bytes | None]:
        """The claim of one sample, and the earlier bytes that are sent in place of `row`, or None."""
        store, policy = self._store, self.policy
        digest = store.digest([each for part in parts for each in (_kind(part), _bytes(part))])
        values = _values(parts) if store.keeps_numbers else None
        number = store.find(digest)
        if number is None and values is not None and policy.near:
            number = store.nearest(values, policy.near)
        if number is None:
            return store.add(digest, row, values), None
        count = store.count(number)
        if count < policy.releases:
            return store.add_further(number), None
        if policy.beyond == "refuse":
            raise ReleaseError(
                f"this input was released {count} times, which is all that the policy allows; nothing was sent"
            )
        earlier = store.first_row(number)
        if earlier is None:
            raise ReleaseError(
                "this input was released before, and memory has no room for its bytes any more; nothing was sent; "
                "give --release-store FILE (store=) or more memory (most_bytes=)"
            )
        return store.add_repeat(number), earlier


def _kind(part: Tensor) -> bytes:
    return f"{part.dtype}|{tuple(part.shape)}".encode()


def _bytes(part: Tensor) -> bytes:
    return part.reshape(-1).view(torch.uint8).numpy().tobytes()


def _values(parts: Sequence[Tensor]) -> Numbers:
    return np.concatenate([part.reshape(-1).float().numpy() for part in parts])
