"""Text from somebody else is one line that prints."""

from __future__ import annotations

import pytest
from collabplan.records import printable
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("refused", "refused"),
        ("Größe 東京", "Größe 東京"),
        ("two\nlines\r\nand\ttab\u2028", "two lines and tab"),
        ("\x1b[31mred\x9b0m", "?[31mred?0m"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("\x00\x07\x7f\ud800", "????"),
        ("", ""),
    ],
)
def test_what_does_not_print_is_a_question_mark(text: str, line: str) -> None:
    assert printable(text) == line


@given(st.text(max_size=200))
def test_any_text_is_one_short_line(text: str) -> None:
    line = printable(text, 50)
    assert line.isprintable()
    assert len(line) <= 50
