"""TLS and mutual TLS: who has no good certificate gets no answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from bundle_plans import images
from certificates import authority, needs_openssl, signed
from collabplan.records import CollabplanError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.device.errors import UnreachableError
from collabplan.runtime.device.link_measurement import measure_link
from collabplan.runtime.device.session import Address
from collabplan.runtime.parts import open_cloud
from collabplan.runtime.server.server import CloudServer, ServeOptions
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.service import ClientTls, ServerTls, Stub
from defense_records import defense_record
from serving import ANYWHERE, Proxy, serving, written

pytestmark = needs_openssl


@dataclass(frozen=True)
class Papers:
    bundle: Path
    folder: Path

    def pem(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def server(self, name: str = "server", client_ca: str | None = None) -> ServerTls:
        return ServerTls(self.pem(name), self.key(name), None if client_ca is None else self.pem(client_ca))

    def client(self, ca: str | None = "ca", shows: str | None = None) -> ClientTls:
        shown = (None, None) if shows is None else (self.pem(shows), self.key(shows))
        return ClientTls(None if ca is None else self.pem(ca), *shown)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("tls")
    written(folder / "bundle", defense_record())
    for name in ("ca", "other"):
        authority(folder, name)
    signed(folder, "server", "ca")
    signed(folder, "device", "ca")
    signed(folder, "stranger", "other")
    signed(folder, "expired", "ca", days=-1)
    signed(folder, "nameless", "ca", common_name="localhost", san=False)
    signed(folder, "served", "ca", usage="serverAuth")
    signed(folder, "shown", "ca", usage="clientAuth")
    return Papers(folder / "bundle", folder)


def answers(papers: Papers, server: CloudServer, tls: ClientTls | None) -> bool:
    with EdgeClient(papers.bundle, server.address, tls=tls, retries=0, timeout_s=5) as client:
        try:
            client.infer(images(1))
        except UnreachableError as error:
            return "UNAVAILABLE" not in str(error)
    return True


def test_a_client_takes_a_server_that_its_authority_signed_alone(papers: Papers) -> None:
    with serving(papers.bundle, tls=papers.server()) as server:
        assert answers(papers, server, papers.client())
        assert not answers(papers, server, papers.client("other"))
        assert not answers(papers, server, papers.client(None)), "the system's authorities did not sign it"
        assert not answers(papers, server, None), "plaintext to a server with TLS"


def test_a_server_is_known_by_its_alternative_name_and_not_by_its_common_name(papers: Papers) -> None:
    with serving(papers.bundle, "localhost:0", tls=papers.server("nameless")) as server:
        assert not answers(papers, server, papers.client())
        assert not answers(papers, server, ClientTls(papers.pem("ca"), server_name="localhost"))
        with pytest.raises(UnreachableError, match="certificate is refused: Hostname mismatch") as caught:
            measure_link(Address(server.address, papers.client()), "b" * 64, timeout_s=5)
        assert not caught.value.retry


def test_a_certificate_for_a_server_is_none_for_a_device_nor_the_reverse(papers: Papers) -> None:
    with serving(papers.bundle, tls=papers.server("served", client_ca="ca")) as server:
        assert answers(papers, server, papers.client(shows="shown"))
        assert not answers(papers, server, papers.client(shows="served"))
    with serving(papers.bundle, tls=papers.server("shown")) as server:
        assert not answers(papers, server, papers.client())


def test_the_certificate_that_was_checked_is_the_one_that_grpc_trusts(papers: Papers) -> None:
    """Somebody in between shows the server's certificate first, and then another that the authority signed."""
    with (
        serving(papers.bundle, tls=papers.server()) as server,
        serving(papers.bundle, tls=papers.server("nameless")) as impostor,
        Proxy(server.address) as between,
    ):
        checked = papers.client().checked_credentials("127.0.0.1", int(between.address.rpartition(":")[2]), 5.0)
        between.retarget(impostor.address)
        with grpc.secure_channel(between.address, checked, [("grpc.ssl_target_name_override", "localhost")]) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                Stub(channel).hello(messages.HelloRequest(), timeout=2)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        between.retarget(server.address)
        with grpc.secure_channel(between.address, checked) as channel:
            assert Stub(channel).hello(messages.HelloRequest(), timeout=5).refusal


def test_an_expired_server_is_refused(papers: Papers) -> None:
    with serving(papers.bundle, tls=papers.server("expired")) as server:
        assert not answers(papers, server, papers.client())


def test_a_server_takes_clients_that_its_authority_signed_alone(papers: Papers) -> None:
    with serving(papers.bundle, tls=papers.server(client_ca="ca")) as server:
        assert answers(papers, server, papers.client(shows="device"))
        assert not answers(papers, server, papers.client()), "no certificate"
        assert not answers(papers, server, papers.client(shows="stranger")), "of another authority"
        assert not answers(papers, server, papers.client(shows="expired"))
        assert answers(papers, server, papers.client(shows="device")), "refusals do not hurt others"


def test_the_servers_name_may_be_given(papers: Papers) -> None:
    with serving(papers.bundle, tls=papers.server()) as server:
        assert answers(papers, server, ClientTls(papers.pem("ca"), server_name="localhost"))
        assert not answers(papers, server, ClientTls(papers.pem("ca"), server_name="elsewhere"))


def test_tls_needs_no_leave_for_another_address(papers: Papers) -> None:
    with serving(papers.bundle, "0.0.0.0:0", tls=papers.server()) as server:
        address = f"127.0.0.1:{server.port}"
        with EdgeClient(papers.bundle, address, tls=papers.client()) as client:
            client.infer(images(1))


def test_files_that_are_missing_or_do_not_belong_together_are_told(papers: Papers) -> None:
    part = open_cloud(papers.bundle)
    for tls, says in (
        (ServerTls(papers.pem("absent"), papers.key("server")), "absent.pem does not exist"),
        (ServerTls(papers.pem("ca"), papers.key("server")), "belong together"),
        (ServerTls(papers.key("server"), papers.key("server")), "belong together"),
    ):
        with pytest.raises(CollabplanError, match=says):
            CloudServer(part, ANYWHERE, ServeOptions(tls=tls))
    with pytest.raises(CollabplanError, match="belong together"):
        ClientTls(papers.pem("ca"), papers.pem("device"))
