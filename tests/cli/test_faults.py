"""Ctrl-C is called that, whatever the interrupted code made of it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from collabplan.cli.faults import INTERRUPTED, explained, heeding_interrupts, interrupted
from collabplan.records import TargetError


@pytest.fixture
def foreground() -> Iterator[None]:
    """A shell has its background jobs ignore Ctrl-C, the tests among them."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("foreground")
def test_an_interruption_that_was_turned_into_an_error_is_still_one() -> None:
    with heeding_interrupts():
        assert explained(TargetError("model.py raised"))[1] == 2
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        error = TargetError("model.py raised RecursionError")
        assert interrupted(error)
    message, code = explained(error)
    assert code == INTERRUPTED
    assert "RecursionError" not in message
    with heeding_interrupts():
        assert not interrupted(error), "each command begins anew"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
