"""The gRPC service `collabplan.Cloud`: its methods, and the channel options of both sides.

The methods are registered as generic handlers, so that the frames of `Infer` are raw bytes. `Hello`, `Status` and
`Echo` take and return protobuf messages. The server registers them as streams, because gRPC then hands a call over when
it is opened and not only when its request has come; on the wire a stream of one message is the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...records import CollabplanError
from ...records.private_file import read_private, read_trusted
from . import protocol_pb2 as messages
from .server_identity import server_certificate
from .transport import grpc

SERVICE = "collabplan.Cloud"
BUNDLE_KEY, PART_KEY, UNDEFENDED_KEY = "collabplan-bundle", "collabplan-part", "collabplan-undefended"
"""Metadata of an `Infer` call. A stream of another bundle is refused, just as a handshake is."""

LEAST_MESSAGE_BYTES = 1 << 20
"""Every server receives messages up to this size, for the handshake and for measuring a link."""

METADATA_BYTES = 8192


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's certificate, as files in PEM.

    Attributes:
        certificate: the certificate and, after it, any intermediate ones.
        key: its secret key.
        client_ca: accept only clients whose certificate this authority signed; None accepts all clients.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> Any:
        """The credentials for gRPC.

        Raises:
            CollabplanError: a file cannot be read, others may change a certificate, or others may read the key.
        """
        authority = None if self.client_ca is None else _authority(self.client_ca)
        certificate, key = _certificate(self.certificate), _secret(self.key)
        return grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=authority, require_client_auth=authority is not None
        )


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a client checks the server, and shows itself, as files in PEM.

    Attributes:
        ca: the authority that signed the server's certificate; None trusts the system's authorities.
        certificate, key: what the client shows to a server that asks for a certificate; both or neither.
        server_name: the name in the server's certificate, if it differs from the address.

    Raises:
        CollabplanError: a certificate without its key, or a key without its certificate.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise CollabplanError("a client's certificate and its key belong together; give both or neither")

    def credentials(self, server: bytes | None = None) -> Any:
        """The credentials for gRPC.

        Args:
            server: trust this certificate alone, in PEM; None: whatever the authority signed.

        Raises:
            CollabplanError: a file cannot be read, others may change a certificate, or others may read the key.
        """
        ca = None if self.ca is None else _authority(self.ca)
        certificate = None if self.certificate is None else _certificate(self.certificate)
        key = None if self.key is None else _secret(self.key)
        return grpc.ssl_channel_credentials(
            root_certificates=server or ca, private_key=key, certificate_chain=certificate
        )

    def checked_credentials(self, host: str, port: int, timeout_s: float) -> Any:
        """The credentials for gRPC to one server, whose certificate is checked now.

        Raises:
            IdentityError: the certificate is not the server's.
            OSError: the server cannot be reached.
            ValueError: the host or the name cannot be one.
            CollabplanError: as `credentials`, or the files hold no certificates.
        """
        self.credentials()
        shown = None if self.certificate is None or self.key is None else (self.certificate, self.key)
        return self.credentials(
            server_certificate(host, port, name=self.server_name, ca=self.ca, shown=shown, timeout_s=timeout_s)
        )


def _authority(path: Path) -> bytes:
    return read_trusted(Path(path), "authority", advice="give a PEM file")


def _certificate(path: Path) -> bytes:
    return read_trusted(Path(path), "certificate", advice="give a PEM file")


def _secret(path: Path) -> bytes:
    """A secret key; its group may read it, as a service of its own may have to."""
    return read_private(Path(path), "TLS key", forbidden=0o037, advice="give a PEM file")


def parse_address(text: str) -> tuple[str, int]:
    """Split `HOST:PORT` into the host, without brackets, and the port.

    Raises:
        CollabplanError: the text has another form.

    Examples:
        >>> parse_address("[::1]:7433")
        ('::1', 7433)
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    ambiguous = ":" in host and "[" not in text
    if not colon or not host or ambiguous or not port.isdecimal() or int(port) > 65535:
        raise CollabplanError(f"{text!r} is not an address; write HOST:PORT, for example 127.0.0.1:7433 or [::1]:7433")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """True if the host can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_safe(host: str, *, tls: bool, insecure: bool) -> None:
    """Refuse plaintext to another machine, unless `insecure` allows it.

    Raises:
        CollabplanError: neither `tls` nor `insecure`, and the host is not this machine.
    """
    if not (tls or insecure or is_loopback(host)):
        raise CollabplanError(
            f"{host} is another machine, and plaintext can be read and changed on the way; give TLS files "
            "(see docs/deploy.md), or --insecure in a network that you trust"
        )


Unary = Callable[[Any, Any], Any]
"""Takes a request and the gRPC context, and returns the answer."""

Streaming = Callable[[Iterator[Any], Any], Iterator[Any]]
"""The same for a stream of requests and of answers."""

Wrap = Callable[[Unary], Streaming]


def once(function: Unary) -> Streaming:
    """A function of one request as a stream."""

    def answer(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            yield function(request, context)
            return

    return answer


def one_request(function: Streaming, kind: Any) -> Any:
    """The handler of a method that takes one message of the protobuf class `kind`."""
    return grpc.stream_stream_rpc_method_handler(
        function, request_deserializer=kind.FromString, response_serializer=_serialized
    )


@dataclass(frozen=True, slots=True)
class Methods:
    """The server's function for each method. `infer` maps frames to frames."""

    hello: Unary
    infer: Streaming
    status: Unary
    echo: Unary

    def handler(self, *, greeting: Wrap = once, known: Wrap = once, large: Wrap = once) -> Any:
        """The handler for `server.add_generic_rpc_handlers`.

        Args:
            greeting: watches the handshake.
            known: watches a method that answers callers who know the bundle.
            large: the same for one with large messages.
        """
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Hello": one_request(greeting(self.hello), messages.HelloRequest),
                "Status": one_request(known(self.status), messages.StatusRequest),
                "Echo": one_request(large(self.echo), messages.EchoRequest),
                "Infer": grpc.stream_stream_rpc_method_handler(self.infer),
            },
        )


class Stub:
    """The methods of the service as a client calls them. `status` and `echo` want the bundle's ID in their metadata."""

    def __init__(self, channel: Any) -> None:
        def unary(name: str, kind: Any) -> Any:
            return channel.unary_unary(
                f"/{SERVICE}/{name}", request_serializer=_serialized, response_deserializer=kind.FromString
            )

        self.hello = unary("Hello", messages.HelloReply)
        self.status = unary("Status", messages.StatusReply)
        self.echo = unary("Echo", messages.EchoReply)
        self.infer = channel.stream_stream(f"/{SERVICE}/Infer")


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


_FRAMES: list[tuple[str, Any]] = [
    ("grpc.http2.max_frame_size", 1 << 20),
    ("grpc.http2.lookahead_bytes", 1 << 22),
]
"""Large HTTP/2 frames and a wide window, so that a request does not wait for the other side halfway."""


MOST_CONNECTIONS = 800
"""A process may open 1024 files by default."""

MOST_CALLS_PER_CONNECTION = 16
"""A device opens two: the handshake and its stream."""


def server_options(most_bytes: int, *, idle_s: float = 15.0) -> list[tuple[str, Any]]:
    """Channel options of a server: it refuses messages above `most_bytes` unread, and notices dead connections.

    Args:
        most_bytes: the largest message.
        idle_s: seconds after which a connection without a call is closed.
    """
    return [
        *_FRAMES,
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.max_concurrent_streams", MOST_CALLS_PER_CONNECTION),
        ("grpc.max_connection_idle_ms", max(1, round(idle_s * 1e3))),
        ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]


def client_options(most_bytes: int, server_name: str | None) -> list[tuple[str, Any]]:
    """Channel options of a client: it reconnects quickly, refuses answers above `most_bytes`, and uses no proxy.

    A proxy of the environment would take plaintext for this machine to another one.
    """
    options = [
        *_FRAMES,
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # the time limit of one attempt to connect
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    return options
