"""What a release tells beyond the output that the service returns in any case, and beyond what a label tells."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import AttackFigures, Audit, FloorFigures, Interval, TierFigures

PERCEPTUAL = ("consistency", "ssim", "ms_ssim", "features")
"""Figures that the mean image of the right class reaches a good part of, without any release."""

LEAST_ROOM = 0.1
"""What a floor must surely leave between itself and 1, for what lies beyond it to be a figure.

Of the digits of MNIST, the class's mean keeps every answer. An attack that keeps 99 of 100 is then below the floor, and
an excess of 0 would call it harmless.
"""


def excess(index: Interval, floor: Interval) -> Interval:
    """(index - floor) / (1 - floor), and 0 where that is negative.

    It falls as the floor rises, so its upper end is that of the greatest index over the least floor. Over a floor of 1
    there is nothing to measure: the excess then counts as 1.

    Args:
        index: what attackers recover from the release, 1 being all.
        floor: what attackers recover from the declared output alone.

    Examples:
        >>> found = excess(Interval(value=0.6, low=0.5, high=0.7), Interval(value=0.2, low=0.1, high=0.3))
        >>> [round(end, 3) for end in (found.low, found.value, found.high)]
        [0.286, 0.5, 0.667]
    """
    value, high = _share(index.value, floor.value), _share(index.high, floor.low)
    low = 0.0 if floor.high >= 1 else _share(index.low, floor.high)
    return Interval(value=min(value, high), low=min(low, value, high), high=high, level=index.level)


def _share(index: float, floor: float) -> float:
    return 1.0 if floor >= 1 else max(0.0, (index - floor) / (1 - floor))


def floor_index(floor: Audit | None) -> Interval | None:
    """The index of the strongest tier that was run on the declared output; None if there is none."""
    return floor.tiers[-1].index if floor is not None and floor.tiers else None


def over_floor(audit: Audit, floor: Audit | None) -> Audit:
    """`audit` with the excess of each tier over `floor`, the audit of the declared output; unchanged without one."""
    least = floor_index(floor)
    if least is None:
        return audit
    tiers = [tier.model_copy(update={"excess": excess(tier.index, least)}) for tier in audit.tiers]
    return audit.model_copy(update={"tiers": tuple(tiers)})


def over_class_mean(tiers: Sequence[TierFigures], floors: Sequence[FloorFigures]) -> tuple[TierFigures, ...]:
    """`tiers` with what each perceptual figure has beyond the mean image of the original's class.

    Where the network gives no classes, it is what the figure has beyond the mean image. A figure has no excess without
    a floor, nor where the floor's upper end leaves less than `LEAST_ROOM`: nothing can be told there.

    Args:
        tiers: of one audit.
        floors: of the same audit.
    """
    known = {floor.of: floor.figures for floor in floors}
    least = known.get("class mean") or known.get("mean image")
    return tuple(
        tier.model_copy(update={f"{name}_excess": _beyond(tier, least, name) for name in PERCEPTUAL}) for tier in tiers
    )


def _beyond(tier: TierFigures, least: AttackFigures | None, name: str) -> Interval | None:
    figure, floor = getattr(tier, name), getattr(least, name, None)
    return None if figure is None or floor is None or floor.high > 1 - LEAST_ROOM else excess(figure, floor)
