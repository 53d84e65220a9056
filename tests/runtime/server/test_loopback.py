"""A server in a second process answers, and ends with whoever started it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_plans import images
from collabplan.records import CollabplanError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.device.errors import UnreachableError
from collabplan.runtime.server.loopback import LoopbackServer
from serving import same, simulated


def test_it_answers_as_the_halves_do_and_is_gone_afterwards(steady_bundle: Path) -> None:
    with LoopbackServer(steady_bundle) as server:
        with EdgeClient(steady_bundle, server.address, undefended=True) as undefended:
            undefended.infer(images(1))
        with EdgeClient(steady_bundle, server.address) as client:
            assert same(client.infer(images(2)), simulated(steady_bundle, images(2)))
    with EdgeClient(steady_bundle, server.address, retries=0) as client, pytest.raises(UnreachableError):
        client.infer(images(1))


def test_a_folder_without_a_cloud_part_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CollabplanError, match="holds no cloud part"):
        LoopbackServer(tmp_path)
