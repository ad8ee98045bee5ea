"""Tests at several declared looks: what each may spend of the chance of a false claim.

scipy is imported where it is used, as in `studies.stats.inference`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from studies.stats.inference import LEVEL

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


def sequential_holm(
    p_values_by_look: Sequence[Sequence[float]], looks: Sequence[int], level: float = LEVEL
) -> list[int | None]:
    """For each hypothesis the index of the look at which it is rejected, or None.

    Holm inside each look (Ye, Li, Liu & Yao 2013, "A group sequential Holm procedure"): with m hypotheses
    not yet rejected, the smallest p-value must not exceed the look's nominal level within `level` / m, the
    next one that within `level` / (m - 1). `looks` are all that were declared; some may lie ahead.
    """
    count = len(p_values_by_look[0]) if p_values_by_look else 0
    rejected: list[int | None] = [None] * count
    for look, p_values in enumerate(p_values_by_look):
        for index in sorted(range(count), key=p_values.__getitem__):
            if rejected[index] is not None:
                continue
            # Each rejection hands its share of the level on to those that are left, as Holm does; a level that has
            # grown this way holds from here on, and earlier looks are not taken again.
            if p_values[index] > nominal_levels(looks, level / rejected.count(None))[look]:
                break
            rejected[index] = look
    return rejected


def nominal_levels(looks: Sequence[int], level: float) -> list[float]:
    """The two-sided p-value that rejects at each look, so that all looks together err at `level`.

    Lan & DeMets (1983), "Discrete sequential boundaries for clinical trials", with the function of O'Brien
    and Fleming's type on either side, half the level each: up to the share t of the last look's seeds,
    2 (1 - Φ(z / √t)) is spent, z being the normal quantile at 1 - level / 4. `looks`: seeds, increasing.
    """
    return list(_nominal_levels(tuple(looks), level))


# Cached: Holm asks for the same looks at level / m for every m, in each of a report's comparisons.
@lru_cache(maxsize=4096)
def _nominal_levels(looks: tuple[int, ...], level: float) -> tuple[float, ...]:
    # Exactly the level, without the rounding of the integrals below: a study without looks must decide as Holm
    # does.
    if len(looks) == 1:
        return (level,)
    from scipy.special import ndtr, ndtri

    # Information time: the share of the last look's seeds, which a mean of equal variances accumulates linearly.
    times = [look / looks[-1] for look in looks]
    # O'Brien and Fleming's spending: of 5 % over looks at 8 and 16, about 0.3 % is spent at the first.
    spent = [2 * float(ndtr(ndtri(level / 4) / math.sqrt(time))) for time in times]
    return tuple(
        2 * float(ndtr(-bound / math.sqrt(time)))
        for bound, time in zip(_bounds(times, spent), times, strict=True)
    )


def _bounds(times: Sequence[float], spent: Sequence[float]) -> list[float]:
    """The heights that a Brownian motion exceeds at one of the times so far with probability `spent`.

    Armitage, McPherson & Rowe (1969), "Repeated significance tests on accumulating data": the density of
    the paths that have stayed below is carried from look to look by numerical integration.
    """
    import numpy as np

    heights, masses = np.zeros(1), np.ones(1)
    steps = np.sqrt(np.diff(times, prepend=0.0))
    bounds: list[float] = []
    for time, step, to_spend in zip(times, steps, np.diff(spent, prepend=0.0), strict=True):
        bounds.append(_bound(heights, masses, step, to_spend))
        # Only the paths that stayed below the bound go on to the next look; the others have been rejected.
        nodes, widths = _nodes(time, bounds[-1])
        density = np.exp(-(((nodes[:, None] - heights) / step) ** 2) / 2) @ masses
        heights, masses = nodes, density * widths / (step * math.sqrt(2 * math.pi))
    return bounds


def _bound(
    heights: "NDArray[float64]", masses: "NDArray[float64]", step: float, to_spend: float
) -> float:
    """What a path at `heights` exceeds with probability `to_spend` when it moves by N(0, step²)."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    def excess(bound: float) -> float:
        return float(masses @ ndtr((heights - bound) / step)) - to_spend

    # Beyond forty deviations a normal probability is zero in floating point.
    return float(brentq(excess, 0.0, 40.0))


def _nodes(time: float, bound: float) -> "tuple[NDArray[float64], NDArray[float64]]":
    """Where paths below the bound matter, and the widths of their intervals (Gauss & Legendre).

    Eight deviations above zero none arrives, and from eight below none gets above zero any more.
    """
    import numpy as np

    points, weights = np.polynomial.legendre.leggauss(256)
    # A path that is far below can't come back in the time that is left, and early on none has come far.
    low = -8 * math.sqrt(min(time, 1 - time))
    high = min(bound, 8 * math.sqrt(time))
    return low + (high - low) * (points + 1) / 2, weights * (high - low) / 2
