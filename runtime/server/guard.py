"""Watches the calls that take one request: the handshake, status, echo and the health check.

gRPC hands such a call over when it is opened, before its request has come. A client that opens calls and sends nothing
thus holds none of them for longer than a deadline, and keeps nobody else out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from ..wire.service import BUNDLE_KEY
from ..wire.transport import grpc
from .streams import OpenStreams, TooManyStreamsError, address_of

MOST_GREETINGS = 32
"""The most handshakes, status calls and health checks at once: each takes a millisecond."""

MOST_GREETINGS_PER_PEER = 16


class Guard:
    """Who may call, and for how long.

    Args:
        bundle_id: of the bundle that is served.
        streams: where calls with large messages count, beside the streams of requests.
        greeting_s: the seconds in which the request of any other call must come, and its answer be taken.
    """

    def __init__(self, bundle_id: str, streams: OpenStreams, *, greeting_s: float) -> None:
        self._bundle_id, self._streams, self._greeting_s = bundle_id, streams, greeting_s
        self._greetings = OpenStreams(MOST_GREETINGS, MOST_GREETINGS_PER_PEER, makes_room=True)

    def end_silent(self) -> None:
        """Cancel the short calls that have overstayed. `streams` has a watch of its own."""
        self._greetings.end_silent(idle_s=self._greeting_s)

    def watched(
        self, function: Callable[[Any, Any], Any], *, needs_bundle: bool, large: bool = False
    ) -> Callable[[Iterator[Any], Any], Iterator[Any]]:
        """The method that gRPC calls.

        Args:
            function: takes the request and the gRPC context, and returns the answer.
            needs_bundle: refuse callers that do not name the bundle in their metadata.
            large: its messages may be large, so that it counts as a stream.
        """
        calls = self._streams if large else self._greetings

        def answer(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            if needs_bundle and not self._knows_the_bundle(context):
                abort(context, grpc.StatusCode.FAILED_PRECONDITION, "the caller does not name the bundle served here")
            try:
                with calls.opened(context, address_of(context.peer())) as call:
                    request = next(requests, None)
                    if request is None:
                        abort(context, grpc.StatusCode.INVALID_ARGUMENT, "the call holds no request")
                    if call.begin("running"):
                        given = function(request, context)
                        call.begin("sending")
                        yield given
            except TooManyStreamsError as error:
                abort(context, grpc.StatusCode.UNAVAILABLE, str(error))

        return answer

    def _knows_the_bundle(self, context: Any) -> bool:
        named = str(dict(context.invocation_metadata()).get(BUNDLE_KEY, ""))
        return hmac.compare_digest(named.encode(), self._bundle_id.encode())


def abort(context: Any, code: Any, reason: str) -> NoReturn:
    """End a call with a gRPC status."""
    context.abort(code, reason)
    raise AssertionError  # abort raises
