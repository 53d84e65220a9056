"""Measures the network to a running server."""

from __future__ import annotations

import re
from pathlib import Path

from ..records import LinkReport, parse_size
from ..runtime.device.link_measurement import FIRST_BYTES, measure_link
from ..runtime.device.session import Address
from ..runtime.parts import bundle_id_of
from .cloud import client_tls
from .options import CloudOptions
from .reporter import Reporter


def measure_link_to(
    cloud: str,
    bundle: str,
    reporter: Reporter,
    *,
    seconds: float = 1.0,
    most: str = "16MiB",
    tls: CloudOptions | None = None,
) -> LinkReport:
    """Measure bandwidth up and down, round trip and TCP's slow start.

    Args:
        cloud: host and port of a server that `collabplan serve` runs.
        bundle: the bundle that it serves, which the server echoes for alone: its folder, a part of it, or its ID.
        reporter: hears what is done.
        seconds: for each of round trip, way up and way down.
        most: largest echo to send, `16MiB`.
        tls: how the server is spoken to.

    Raises:
        CollabplanError: no such bundle, no server answers, or plaintext would leave this machine.
    """
    tls = tls or CloudOptions()
    address = Address.checked(cloud, client_tls(tls), insecure=tls.insecure)
    bundle_id = bundle if re.fullmatch("[0-9a-f]{64}", bundle) else bundle_id_of(Path(bundle))
    with reporter.progress(f"measuring the link to {cloud}"):
        return measure_link(address, bundle_id, seconds=seconds, most_bytes=max(parse_size(most), FIRST_BYTES))
