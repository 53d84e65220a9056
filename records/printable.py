"""Text from somebody else, made safe for a terminal and for a log: one line, without escapes."""

from __future__ import annotations

MOST_LETTERS = 500


def printable(text: str, most: int = MOST_LETTERS) -> str:
    """One line of `text`: white space becomes blanks, and whatever else does not print becomes question marks.

    Escape sequences, line breaks and the marks that turn the direction of writing could otherwise rewrite a terminal or
    forge a line of a log.

    Args:
        text: as it came.
        most: letters that are kept.

    Examples:
        >>> printable("refused" + chr(10) + chr(27) + "[2J")
        'refused ?[2J'
    """
    words = " ".join(text[: 4 * most].split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:most]
