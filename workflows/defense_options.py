"""The defense as several commands take it: dropout rates, noise and bits, from text."""

from __future__ import annotations

from ..records import CollabplanError, DropoutKind, NoiseKind

MOST_BITS = 16


def parse_rates(text: str) -> tuple[float, ...]:
    """The rates of `--dropout`, ascending. Raises CollabplanError for what is no rate."""
    rates = set()
    for part in parts(text):
        try:
            rate = float(part)
        except ValueError:
            rate = -1.0
        if not 0 <= rate < 1:
            raise CollabplanError(f"--dropout {part} is not possible: a rate is a number from 0 to below 1")
        rates.add(rate)
    if not rates:
        raise CollabplanError("--dropout is empty; give rates such as 0,0.3,0.6")
    return tuple(sorted(rates))


def parse_kinds(text: str) -> tuple[DropoutKind, ...]:
    """The kinds of `--dropout-kinds`; none is none. Raises CollabplanError for what is no kind."""
    named = tuple(dict.fromkeys(parts(text)))
    kinds: dict[str, DropoutKind] = {"element": "element", "channel": "channel"}
    if named == ("none",):
        return ()
    if not named or not set(named) <= kinds.keys():
        raise CollabplanError(
            f"--dropout-kinds {text} is not possible: give element, channel, both with a comma, or none"
        )
    return tuple(kinds[name] for name in named)


def parse_noise(text: str | None) -> tuple[NoiseKind, float]:
    """Kind and size of `--noise`. Raises CollabplanError for what is no noise."""
    if text is None:
        return "none", 0.0
    kind, _, size = text.partition(":")
    try:
        std = float(size)
    except ValueError:
        std = 0.0
    if kind not in ("gaussian", "laplace") or not 0 < std < float("inf"):
        raise CollabplanError(
            f"--noise {text} is not possible: give gaussian:STD or laplace:STD, a share of the range above 0"
        )
    return ("gaussian" if kind == "gaussian" else "laplace"), std


def parse_bits(text: str) -> int | None:
    """The bits of `--bits`. Raises CollabplanError for what no quantizer has."""
    if text == "none":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_BITS:
        raise CollabplanError(f"--bits {text} is not possible: it must be 1 to {MOST_BITS}, or none")
    return int(text)


def parse_kept(text: str) -> float:
    """A share or count of `--keep`. Raises CollabplanError for what is neither."""
    if text.isdecimal() and int(text) > 1:
        return int(text)
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise CollabplanError(
            f"--keep {text} is not possible: give a share of each position's directions, above 0 and at most 1, or a "
            "count of directions of the whole tensor, from 2 on"
        )
    return share


def parts(text: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
