"""Each promise of SECURITY.md names tests that exist, and the page on deployment says the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from collabplan.runtime import ReleasePolicy

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = [
    line.strip("| ").split(" | ")
    for line in PAGE[PAGE.index("| part | promise |") : PAGE.index("What they do not promise")].splitlines()[2:]
    if line
]


@pytest.mark.parametrize(("promise", "tests"), [(promise, tests) for _, promise, tests in PROMISES])
def test_a_promise_is_driven_by_tests_that_exist(promise: str, tests: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
    assert named, f"no test drives the promise: {promise}"
    for file, name in named:
        module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_every_part_that_is_deployed_promises_something() -> None:
    assert {"bundle", "server", "TLS", "device", "files", "figures"} <= {part for part, _, _ in PROMISES}


def test_the_page_on_deployment_agrees_about_releases() -> None:
    deploy = " ".join((ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").split())
    policy = ReleasePolicy()
    assert "`SECURITY.md` says who is trusted" in deploy
    assert f"`--releases` times (default {policy.releases})" in deploy
    assert f"holds {policy.most_bytes // 2**20} MB of memory" in deploy
    assert "No input that was released is forgotten" in deploy
    assert "Do not remove a store to be rid of an error" in deploy
