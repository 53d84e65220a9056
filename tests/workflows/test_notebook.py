"""Reporters for Python: bars that move in a notebook, log records elsewhere."""

from __future__ import annotations

import logging

import pytest
from collabplan.targets.target import Finding
from collabplan.workflows import notebook
from collabplan.workflows.notebook import Logged, Notebook, usual_reporter


class Page:
    """A notebook's output: what is shown now, in order."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.drawn: list[str] = []

    def display(self, html: str) -> Place:
        self.shown.append(html)
        self.drawn.append(html)
        return Place(self, len(self.shown) - 1)


class Place:
    """One output of the page."""

    def __init__(self, page: Page, at: int) -> None:
        self.page, self.at = page, at

    def update(self, html: str) -> None:
        self.page.shown[self.at] = html
        self.page.drawn.append(html)


def test_a_counted_step_moves_its_bar_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "REDRAW_S", 0.0)
    page = Page()
    with Notebook(page.display).progress("searching", counted=True) as advance:
        advance(1, 4, "layer1")
        assert page.shown == ['<div><progress value="0.2500" max="1"></progress> searching layer1</div>']
    assert page.shown == [""]


def test_a_bar_is_not_drawn_more_often_than_it_can_be_read() -> None:
    page = Page()
    with Notebook(page.display).progress("searching", counted=True) as advance:
        for done in range(1000):
            advance(done, 1_000_000)
    assert len(page.drawn) < 100


def test_a_bar_goes_away_when_the_step_fails() -> None:
    page = Page()
    with pytest.raises(KeyError), Notebook(page.display).progress("tracing"):
        raise KeyError
    assert page.shown == [""]


def test_notes_and_warnings_are_escaped() -> None:
    page = Page()
    Notebook(page.display).note("Data", [Finding("<b>", "3 samples")])
    Notebook(page.display).warning("a < b")
    assert page.shown == [
        "<div>Data</div><ul><li>&lt;b&gt; 3 samples</li></ul>",
        "<div><b>WARNING</b>: a &lt; b</div>",
    ]


def test_without_a_notebook_notes_and_warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "collabplan")
    reporter = usual_reporter()
    assert isinstance(reporter, Logged)
    reporter.note("Data", [Finding("labels", "10")])
    reporter.warning("plaintext")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "Data; labels: 10"),
        ("WARNING", "plaintext"),
    ]
