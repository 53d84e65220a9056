"""Defenses as text: `--defense "projection:rank=4,12 quantizer:bits=3,8"`.

Stages are separated by blanks, the values of one by commas; every combination is one defense, the last stage's values
first. `0.1..0.9` is the range in steps of 0.1 (of 1 for whole numbers), `0.1..0.9/0.2` in steps of 0.2. Rate 0, noise
0, share 1 and `quantizer:none` leave a stage out. Where no quantizer is named, one of 8 bits is meant; `none` is that
alone.

    none                                        8-bit codes and nothing else
    dropout:element:0.1..0.9                    nine rates
    dropout:channel:keyed:0.3,0.6               an input always gets the same mask
    projection:share=1,0.25 noise:laplace:0.05  with and without a projection
    quantizer:bits=4:stochastic
    clip:limit=0.5,1                            a stage of the target file's `defense_stages`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from pydantic import ValidationError

from ..records import (
    CollabplanError,
    DefenseRecord,
    DropoutRecord,
    MaskKind,
    NoiseRecord,
    ProjectionRecord,
    QuantizerRecord,
    Record,
    Rounding,
    StageRecord,
)
from ..records.defense import DIGITS, ORDER
from .catalogue import known_stages, register
from .dropout import DropoutStage
from .interface import CustomStage
from .noise import NoiseStage
from .projection import ProjectionStage
from .quantizer import QuantizerStage

Given = str | DefenseRecord | StageRecord | CustomStage | Sequence[CustomStage | StageRecord]
"""What a defense may be passed as from Python: a family as text, a record, a stage, or several stages."""


class UnknownStage(CollabplanError):
    """A stage that this process was not given: the target may still bring it."""


DEFAULT_STEP = 0.1
MOST_VALUES = 1000


def defenses_of(given: Given | Iterable[Given]) -> tuple[DefenseRecord, ...]:
    """Every defense of one or several families, each once, in the order in which they are given.

    Args:
        given: text as of `--defense`, records, or stage objects, whose classes are registered.

    Raises:
        CollabplanError: a family that cannot be read; it says what is expected.

    Examples:
        >>> [defense.text for defense in defenses_of(["none", "dropout:element:0.1..0.3/0.2"])]
        ['none', 'dropout:element:0.1', 'dropout:element:0.3']
    """
    if isinstance(given, (str, Record, CustomStage)):
        return tuple(dict.fromkeys(_family(given)))
    found: list[DefenseRecord] = []
    for each in given:
        found += _family(each)
    if not found:
        raise CollabplanError('no defense is given; give "none", or one such as "dropout:element:0.3"')
    return tuple(dict.fromkeys(found))


def defense_of(given: Given) -> DefenseRecord:
    """The one defense that `given` spells.

    Raises:
        CollabplanError: it cannot be read, or is a family of several.
    """
    found = defenses_of(given)
    if len(found) > 1:
        raise CollabplanError(f"--defense {given!r} names {len(found)} defenses, and one is needed")
    return found[0]


def _family(given: Given) -> list[DefenseRecord]:
    if isinstance(given, DefenseRecord):
        return [given.unfitted]
    if isinstance(given, str):
        return _parsed(given)
    stages = [given] if isinstance(given, (CustomStage, Record)) else list(given)
    records: list[StageRecord] = []
    for stage in stages:
        if isinstance(stage, CustomStage):
            register(stage)
            records.append(stage.record)
        else:
            records.append(stage)
    if not any(isinstance(record, QuantizerRecord) for record in records):
        records.append(QuantizerRecord())
    return [_made(records, "fresh", " ".join(record.text for record in records)).unfitted]


def _parsed(text: str) -> list[DefenseRecord]:
    """Every combination of the stages' values, the last stage's first."""
    words = [word for word in text.split() if word != "none" or text.strip() != "none"]
    if not words and text.strip() != "none":
        raise CollabplanError('--defense is empty; give "none", or stages such as "dropout:element:0.3"')
    keyed = any("keyed" in word.split(":")[1:] for word in words)
    choices = [_choices(word, text) for word in words]
    if not any(word.partition(":")[0] == "quantizer" for word in words):
        choices.append([QuantizerRecord()])
    made = []
    for chosen in product(*choices):
        records = [record for record in chosen if record is not None]
        draws = DefenseRecord.model_construct(stages=tuple(records)).may_draw
        made.append(_made(records, "keyed" if keyed and draws else "fresh", text))
    if keyed and all(record.masks == "fresh" for record in made):
        raise CollabplanError(f"--defense {text!r} is not possible: nothing in it draws random numbers to be keyed")
    return made


def _made(records: Sequence[StageRecord], masks: MaskKind, text: str) -> DefenseRecord:
    try:
        return DefenseRecord.of(*records, masks=masks)
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise CollabplanError(f"--defense {text!r} is not possible: {why}") from None


def _choices(word: str, text: str) -> list[StageRecord | None]:
    """What one stage of a family may be; None leaves it out."""
    name, *parts = word.split(":")
    parts = [part for part in parts if part != "keyed"]
    if name in _READERS:
        return _READERS[name](parts, text)
    kind = known_stages().get(name)
    if kind is None:
        there = [stage for stage in ORDER if stage != "custom"]
        raise UnknownStage(
            f"--defense {text!r} has the unknown stage {name!r}; there are {', '.join([*there, *known_stages()])}; a "
            "stage of your own is listed in the target file's defense_stages"
        )
    if not parts:
        return [stage.record for stage in kind.search_values()]
    named = [part.partition("=") for part in parts]
    if not all(values for _, _, values in named):
        raise CollabplanError(f"--defense {text!r}: {name} takes parameters such as {name}:limit=0.5,1")
    combinations = product(*([(key, value) for value in values.split(",")] for key, _, values in named))
    return [kind.with_parameters(dict(chosen)).record for chosen in combinations]


def _dropout(parts: list[str], text: str) -> list[StageRecord | None]:
    kind, values = _two(parts, ("element", "channel"), text, "dropout:element:0.1..0.9")
    rates = _numbers(values, text) if values else DropoutStage.search_values
    return [
        _checked(lambda rate=rate: DropoutRecord(granularity=kind, rate=rate), text) if rate else None  # type: ignore[misc]
        for rate in rates
    ]


def _noise(parts: list[str], text: str) -> list[StageRecord | None]:
    kind, values = _two(parts, ("gaussian", "laplace"), text, "noise:gaussian:0.05")
    stds = _numbers(values, text) if values else NoiseStage.search_values
    return [
        _checked(lambda std=std: NoiseRecord(distribution=kind, std=std), text) if std else None  # type: ignore[misc]
        for std in stds
    ]


def _projection(parts: list[str], text: str) -> list[StageRecord | None]:
    example = "projection:share=0.25 or projection:rank=4,12"
    if not parts:
        return [ProjectionRecord(share=share) for share in ProjectionStage.search_values]
    key, _, values = parts[0].partition("=")
    if len(parts) > 1 or key not in ("share", "rank") or not values:
        raise CollabplanError(f"--defense {text!r} is not possible; a projection is spelled {example}")
    if key == "rank":
        return [_checked(lambda rank=rank: ProjectionRecord(rank=rank), text) for rank in _whole(values, text)]  # type: ignore[misc]
    return [
        _checked(lambda share=share: ProjectionRecord(share=share), text) if share != 1 else None  # type: ignore[misc]
        for share in _numbers(values, text)
    ]


def _quantizer(parts: list[str], text: str) -> list[StageRecord | None]:
    stochastic = "stochastic" in parts
    rest = [part for part in parts if part not in ("stochastic", "nearest")]
    if rest == ["none"]:
        return [None]
    key, _, values = (rest or ["bits=" + ",".join(map(str, QuantizerStage.search_values))])[0].partition("=")
    if len(rest) > 1 or key != "bits" or not values:
        raise CollabplanError(
            f"--defense {text!r} is not possible; a quantizer is spelled quantizer:bits=3,8 or quantizer:none"
        )
    rounding: Rounding = "stochastic" if stochastic else "nearest"
    made: list[StageRecord | None] = []
    for value in values.split(","):
        bits = [] if value == "none" else _whole(value, text)
        made += [_checked(lambda n=n: QuantizerRecord(bits=n, rounding=rounding), text) for n in bits] or [None]  # type: ignore[misc]
    return made


_READERS: dict[str, Callable[[list[str], str], list[StageRecord | None]]] = {
    "dropout": _dropout,
    "noise": _noise,
    "projection": _projection,
    "quantizer": _quantizer,
}


def _two(parts: list[str], kinds: Sequence[str], text: str, example: str) -> tuple[str, str]:
    """The kind of a stage and its values."""
    if not parts or parts[0] not in kinds or len(parts) > 2:
        raise CollabplanError(f"--defense {text!r} is not possible; give {' or '.join(kinds)}, as in {example}")
    return parts[0], parts[1] if len(parts) > 1 else ""


def _checked(make: Callable[[], StageRecord], text: str) -> StageRecord:
    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CollabplanError(f"--defense {text!r} is not possible: {where} {first['msg'].lower()}") from None


def _numbers(values: str, text: str) -> list[float]:
    """Values between commas, ranges spelled out, rounded to `DIGITS`."""
    return [number for value in values.split(",") for number in _spread(value, text)]


def _whole(values: str, text: str) -> list[int]:
    found = []
    for value in values.split(","):
        for number in _spread(value, text, step=1.0):
            if number != int(number):
                raise CollabplanError(f"--defense {text!r}: {value} is no whole number")
            found.append(int(number))
    return found


def _spread(value: str, text: str, step: float = DEFAULT_STEP) -> list[float]:
    """One value, or a range with both its ends."""
    try:
        if ".." not in value:
            return [round(_finite(value), DIGITS)]
        low, _, rest = value.partition("..")
        high, _, given = rest.partition("/")
        first, last = _finite(low), _finite(high)
        step = _finite(given) if given else step
        count = round((last - first) / step, DIGITS)
        if step <= 0 or not 0 <= count < MOST_VALUES or count != int(count):
            raise ValueError
        return [round(first + at * step, DIGITS) for at in range(int(count) + 1)]
    except ValueError:
        raise CollabplanError(
            f"--defense {text!r}: {value!r} is neither a number nor a range such as 0.1..0.9 or 0.1..0.9/0.2"
        ) from None


def _finite(text: str) -> float:
    number = float(text)
    if number != number or abs(number) == float("inf"):
        raise ValueError(text)
    return number
