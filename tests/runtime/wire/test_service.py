"""Addresses are read as they are written, and plaintext stays on this machine unless it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from collabplan.records import CollabplanError
from collabplan.runtime.wire.service import (
    METADATA_BYTES,
    ClientTls,
    ServerTls,
    client_options,
    is_loopback,
    parse_address,
    require_safe,
    server_options,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:7433", ("127.0.0.1", 7433)),
        ("cloud.example:0", ("cloud.example", 0)),
        ("[::1]:7433", ("::1", 7433)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "cloud", ":7433", "cloud:", "cloud:http", "cloud:65536", "::1:7433", "cloud:-1"])
def test_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(CollabplanError, match=r"is not an address; write HOST:PORT, for example 127\.0\.0\.1:7433"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("cloud", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_plaintext_leaves_this_machine_only_where_it_is_asked_for() -> None:
    for host, tls, insecure in (("127.0.0.1", False, False), ("cloud", True, False), ("cloud", False, True)):
        require_safe(host, tls=tls, insecure=insecure)
    with pytest.raises(CollabplanError, match="give TLS files"):
        require_safe("cloud", tls=False, insecure=False)


def test_a_certificate_and_its_key_belong_together() -> None:
    with pytest.raises(CollabplanError, match="belong together"):
        ClientTls(key=Path("key.pem"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for tls in (ClientTls(ca=tmp_path / "ca.pem"), ServerTls(tmp_path / "ca.pem", tmp_path / "ca.pem")):
        with pytest.raises(CollabplanError, match=r"ca\.pem does not exist; give a PEM file"):
            tls.credentials()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_key_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    for each in (certificate, key):
        each.touch()
    key.chmod(mode)
    for tls in (ServerTls(certificate, key), ClientTls(certificate=certificate, key=key)):
        with pytest.raises(CollabplanError, match=r"server\.key may be read by others; run: chmod 600"):
            tls.credentials()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
@pytest.mark.parametrize("open_to_others", ["ca.pem", "own.pem"])
def test_a_certificate_that_others_may_change_is_refused(tmp_path: Path, open_to_others: str) -> None:
    ca, own, key = (tmp_path / name for name in ("ca.pem", "own.pem", "own.key"))
    for file in (ca, own, key):
        file.touch(mode=0o600)
    (tmp_path / open_to_others).chmod(0o664)
    for tls in (ServerTls(own, key, ca), ClientTls(ca, own, key)):
        with pytest.raises(CollabplanError, match=rf"{open_to_others} may be changed by others; run: chmod go-w"):
            tls.credentials()


def test_both_sides_bound_what_they_receive() -> None:
    for options in (server_options(1234), client_options(1234, None)):
        assert ("grpc.max_receive_message_length", 1234) in options
    assert ("grpc.max_metadata_size", METADATA_BYTES) in server_options(1234)


def test_a_server_name_replaces_that_of_the_address() -> None:
    assert ("grpc.ssl_target_name_override", "cloud") in client_options(1, "cloud")
    assert "grpc.ssl_target_name_override" not in dict(client_options(1, None))
