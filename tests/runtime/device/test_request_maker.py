"""What leaves the device: releases under fresh or keyed masks, the old bytes again where the policy says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundle_plans import (
    images,
)
from collabplan.defenses.randomness import Keyed
from collabplan.records import CollabplanError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.parts import open_cloud, open_edge
from defense_records import defense_record
from serving import same, serving, written


def test_keyed_masks_repeat_and_need_their_key(tmp_path: Path) -> None:
    written(tmp_path / "bundle", defense_record(dropout="element", rate=0.5, masks="keyed"))
    key = tmp_path / "key"
    key.write_text("00" * 32 + "\n" + "a7" * 32 + "\n")
    key.chmod(0o600)
    unit = (torch.rand(2, 1, 8, 8),)
    edge, cloud = open_edge(tmp_path / "bundle"), open_cloud(tmp_path / "bundle")
    with torch.no_grad():
        source = Keyed(bytes.fromhex("a7" * 32), edge.manifest.part.plan_sha256.encode(), unit[0])
        expected = cloud.program(*cloud.defense.receive(edge.defense.release(edge.program(*unit), source)))
    with serving(tmp_path / "bundle") as server:
        with EdgeClient(tmp_path / "bundle", server.address, key_file=key) as client:
            assert same(client.infer(unit), expected)
            assert same(client.infer(unit), expected)
            with pytest.raises(CollabplanError, match=r"must lie in \[0, 1\]"):
                client.infer(images(1))
        with pytest.raises(CollabplanError, match="give --key-file"):
            EdgeClient(tmp_path / "bundle", server.address)


def test_a_key_is_not_given_where_none_is_used(steady_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(CollabplanError, match="no key is used"):
        EdgeClient(steady_bundle, "127.0.0.1:1", key_file=tmp_path / "key")
