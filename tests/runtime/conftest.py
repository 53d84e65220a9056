"""Fixtures of the runtime's tests: one bundle and one server for all that only ask them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from collabplan.runtime.server.server import CloudServer
from serving import ANYWHERE, STEADY, serving, written


@pytest.fixture(scope="session")
def steady_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of SkipNet with a fallback, whose defense has no chance in it. Read it only."""
    folder = tmp_path_factory.mktemp("steady") / "bundle"
    written(folder, STEADY, fallback=True)
    return folder


@pytest.fixture(scope="session")
def steady_server(steady_bundle: Path) -> Iterator[CloudServer]:
    """A server of that bundle, which also answers undefended tensors and publishes metrics."""
    with serving(steady_bundle, allow_undefended=True, max_batch=8, metrics=ANYWHERE) as started:
        yield started
