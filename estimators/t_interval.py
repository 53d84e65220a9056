"""Student's t interval of a mean: the half-width that estimators and accuracies report.

Source: W. S. Gosset ("Student"), "The probable error of a mean", Biometrika 6 (1908).
"""

from __future__ import annotations

import math

from scipy.special import stdtrit

LEVEL = 0.95


def t_half_width(spread: float, count: int) -> float:
    """Half of the 95 % t interval of a mean of independent values.

    Args:
        spread: the sample standard deviation of the values (divisor `count - 1`), in the values' own unit.
        count: how many values there are. One value is treated as two, which is an assumption and not a measurement.

    Returns:
        The half-width in the values' unit: the interval is mean +- half-width.

    Examples:
        >>> round(t_half_width(spread=1.0, count=16), 3)  # 2.131 / 4
        0.533
    """
    return float(stdtrit(max(count - 1, 1), 0.5 + LEVEL / 2)) * spread / math.sqrt(count)
