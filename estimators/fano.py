"""Fano's ceiling on re-identification: the greatest success of any attacker, whatever its method.

An attacker sees T and picks one of N equally likely candidates. With I(X; T) <= `nats`, its success a obeys Fano's
inequality (Cover & Thomas, *Elements of Information Theory*, thm. 2.10.1):

    ln N - nats <= H(a) + (1 - a) ln(N - 1),        H(a) = -a ln a - (1 - a) ln(1 - a)

solved for the largest a; the familiar a <= (nats + ln 2) / ln N is weaker. `nats` must be an upper bound on the
information under noise that is really added: for a gallery of the samples themselves, KDE's KL end. q releases of one
input with fresh noise carry at most q times as much.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq


def reidentification_ceiling(nats: float, candidates: int, releases: int = 1) -> float:
    """The largest share of right picks, between 1 / candidates and 1.

    Args:
        nats: an upper bound on the information of one release.
        candidates: N, at least 2.
        releases: of each input.

    Examples:
        >>> round(reidentification_ceiling(0.0, candidates=100), 6)
        0.01
    """
    least, total = 1 / candidates, releases * nats
    if total >= math.log(candidates):
        return 1.0

    def excess(success: float) -> float:
        """Information needed for this success, less the information available; increasing above 1 / candidates."""
        wrong = 1 - success
        entropy = -sum(p * math.log(p) for p in (success, wrong) if p > 0)
        return math.log(candidates) - entropy - wrong * math.log(candidates - 1) - total

    if excess(least) >= 0:
        return least
    return min(1.0, float(brentq(excess, least, 1.0, xtol=1e-9)) + 1e-9)
