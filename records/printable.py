"""Text from somebody else, made safe for a terminal and for a log.

Escape sequences, line breaks and the marks that turn the direction of writing could otherwise rewrite a terminal or
forge a line of a log.
"""

from __future__ import annotations

MOST_LETTERS = 500


def without_escapes(text: str) -> str:
    """`text` with question marks for letters that do not print. Line breaks stay.

    Examples:
        >>> without_escapes("two" + chr(10) + "lines" + chr(27))
        'two\\nlines?'
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def printable(text: str, most: int = MOST_LETTERS) -> str:
    """One line of `text`: white space becomes blanks, and whatever else does not print becomes question marks.

    Args:
        text: as it came.
        most: letters that are kept.

    Examples:
        >>> printable("refused" + chr(10) + chr(27) + "[2J")
        'refused ?[2J'
    """
    return without_escapes(" ".join(text[: 4 * most].split()))[:most]
