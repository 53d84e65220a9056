"""A link that is measured is the one that was shaped."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from collabplan.records import CollabplanError, Link, LinkReport, load, save
from collabplan.runtime.device.errors import UnreachableError
from collabplan.runtime.device.link_measurement import measure_link
from collabplan.runtime.device.session import Address
from collabplan.runtime.server.server import CloudServer
from collabplan.runtime.shaping import Shape, ShapedLink
from serving import serving, written


def test_a_measured_link_is_the_shaped_one(tmp_path: Path) -> None:
    written(tmp_path / "bundle")
    shape = Shape.parse("2mbps/4mbps,40ms")  # slow, so that a busy machine hardly shows
    with serving(tmp_path / "bundle") as server, ShapedLink(server.address, shape) as shaped:
        address = Address.checked(shaped.address, None, insecure=False)
        report = measure_link(address, server.part.manifest.bundle_id, seconds=0.3, pause_s=0.25)
    link = report.link
    assert link.bandwidth_bps == pytest.approx(2e6, rel=0.25)
    assert link.back.bandwidth_bps == pytest.approx(4e6, rel=0.25)
    assert 38 < link.rtt_ms < 60
    assert link.source == "measured"
    assert report.moved_bytes >= sum((e.up_bytes + e.down_bytes) * len(e.times_ms) for e in report.echoes)
    save(report, tmp_path / "link.json")
    assert load(LinkReport, tmp_path / "link.json") == report
    assert Link.model_validate(link.model_dump()) == link


def test_a_server_echoes_for_its_own_bundle_alone(steady_server: CloudServer) -> None:
    with pytest.raises(UnreachableError, match="give the --bundle that it serves"):
        measure_link(Address(steady_server.address), "b" * 64, timeout_s=5.0)


def test_no_proxy_of_the_environment_is_asked(steady_server: CloudServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with pytest.raises(UnreachableError, match="FAILED_PRECONDITION"):
            measure_link(Address(steady_server.address), "b" * 64, timeout_s=5.0)
        proxy.settimeout(0.1)
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_no_server_is_one_error() -> None:
    with pytest.raises(UnreachableError, match="does not echo"):
        measure_link(Address.checked("127.0.0.1:1", None, insecure=False), "b" * 64, timeout_s=1.0)
    with pytest.raises(CollabplanError, match="plaintext"):
        Address.checked("192.0.2.1:7433", None, insecure=False)
