"""Tests at several declared looks: what each may spend of the chance of a false claim.

scipy is imported where it is used, as in `studies.stats.inference`.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from studies.spec import Spending
from studies.stats.inference import LEVEL

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray

    Numbers: TypeAlias = NDArray[float64]

#: With which probability a look is reached and its |z| exceeds each of some values; z has the p-value of t as a normal
#: quantile.
Tail: TypeAlias = Callable[["ArrayLike"], "Numbers"]

#: The distribution of a look's statistic is carried to the next look in so many cells, and integrated over the share of
#: the earlier seeds at so many points: levels are then right to 0.2 %, and computed in a tenth of a second.
_CELLS, _SHARES = 64, 8
#: |z| at which nothing is left to carry on.
_FAR = 8.0
#: Less than this is lost in the rounding of the integrals.
_LEAST_SPENT = 1e-12


def sequential_holm(
    p_values_by_look: Sequence[Sequence[float]],
    looks: Sequence[int],
    level: float = LEVEL,
    spending: Spending = "obrien_fleming",
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
            share = level / rejected.count(None)
            if p_values[index] > nominal_levels(looks, share, spending)[look]:
                break
            rejected[index] = look
    return rejected


def nominal_levels(
    looks: Sequence[int], level: float, spending: Spending = "obrien_fleming"
) -> list[float]:
    """The two-sided p-value of a paired t-test that rejects at each look, so that all looks together err at `level`.
    `looks`: seeds, increasing.

    Lan & DeMets (1983), "Discrete sequential boundaries for clinical trials". Up to the share t of the last look's seeds
    is spent: with the function of O'Brien and Fleming's type on either side, half the level each, 2 (1 - Φ(z / √t)), z being
    the normal quantile at 1 - level / 4; with Kim and DeMets' (1987), level · t².
    """
    return list(_nominal_levels(tuple(looks), level, spending))


# Cached: Holm asks for the same looks at level / m for every m, in each of a report's comparisons.
@lru_cache(maxsize=4096)
def _nominal_levels(looks: tuple[int, ...], level: float, spending: Spending) -> tuple[float, ...]:
    # Exactly the level, without the rounding of the integrals below: a study without looks must decide as Holm
    # does.
    if len(looks) == 1:
        return (level,)
    import numpy as np

    spent = [_spend(look / looks[-1], level, spending) for look in looks]
    return tuple(_list_levels(looks, np.diff(spent, prepend=0.0).tolist()))


def _spend(time: float, level: float, spending: Spending) -> float:
    """Of the level, up to this share of the last look's seeds."""
    from scipy.special import ndtr, ndtri

    match spending:
        case "obrien_fleming":
            # Of 5 % over looks at 8 and 16, about 0.3 % is spent at the first.
            return 4 * float(ndtr(ndtri(level / 4) / math.sqrt(time)))
        case "kim_demets":
            return level * time**2


def _list_levels(looks: Sequence[int], to_spend: Sequence[float]) -> list[float]:
    """The levels at which the looks' t-tests reject with these probabilities, each where no earlier one has.

    Jennison & Turnbull (1991), "Exact calculations for sequential t, χ² and F tests": the t-statistics of normal values
    are a Markov chain. The boundaries of a Brownian motion, which assume that the variance is known, let looks at 8, 16, …, 40
    seeds err at 5.2 % instead of 5 %, and looks at 8, 9, …, 12 at 5.4 %.
    """
    import numpy as np
    from scipy.special import ndtr

    tail: Tail = _exceed_first
    levels: list[float] = []
    for number, probability in enumerate(to_spend):
        bound = _find_bound(tail, probability)
        # So little is spent where it is as if no other look were taken.
        levels.append(probability if number == 0 or bound is None else 2 * float(ndtr(-bound)))
        if number + 1 < len(looks):
            # Only those that have stayed below the bound go on to the next look; the others have been rejected.
            edges = np.linspace(0.0, min(bound or _FAR, _FAR), _CELLS + 1)
            tail = _carry_on(edges, -np.diff(tail(edges)), looks[number], looks[number + 1])
    return levels


def _exceed_first(z: "ArrayLike") -> "Numbers":
    """The `Tail` of the first look."""
    import numpy as np
    from scipy.special import ndtr

    return np.asarray(2 * ndtr(-np.asarray(z)))


def _find_bound(tail: Tail, probability: float) -> float | None:
    """What |z| exceeds with this probability; None where that is too small to tell."""
    from scipy.optimize import brentq

    if probability < _LEAST_SPENT:
        return None
    return float(brentq(lambda z: float(tail([z])[0]) - probability, 0.0, _FAR, xtol=1e-9))


def _carry_on(edges: "Numbers", masses: "Numbers", seeds: int, more_seeds: int) -> Tail:
    """With which probability |z| after `more_seeds` exceeds a value, where after `seeds` it lay in the cells between
    these edges with these masses.

    The direction of a vector of normal values is independent of its length. So that of all seeds' is made of the earlier
    ones' direction, of the new ones' mean, which takes the share sin²φ of all squares, and of what the new ones vary by;
    of the rest of the squares the earlier ones have the share `shares`, which has a beta distribution.
    """
    import numpy as np
    from scipy.special import stdtr

    new = more_seeds - seeds
    shares, weights = _integrate_shares(seeds, new)
    cosines = _to_cosine((edges[1:] + edges[:-1]) / 2, seeds)
    # The sum of all values is A cos φ + √new sin φ = R cos(φ - turn), for either sign of the earlier seeds' mean.
    along = np.sqrt(shares * seeds) * np.concatenate([cosines, -cosines])[:, None]
    radius, turn = np.sqrt(along**2 + new), np.arctan2(math.sqrt(new), along)

    def below(angle: "Numbers") -> "Numbers":
        # φ's tangent is a t-statistic; beyond a right angle there is nothing.
        right = math.pi / 2 - 1e-9
        tangent = np.tan(np.clip(angle, -right, right))
        return np.asarray(stdtr(more_seeds - 1, tangent * math.sqrt(more_seeds - 1)))

    def tail(z: "ArrayLike") -> "Numbers":
        needed = _to_cosine(z, more_seeds)[:, None, None] * math.sqrt(more_seeds)
        width = np.arccos(np.minimum(needed / radius, 1.0))
        above = (below(turn + width) - below(turn - width)) @ weights
        return np.asarray(above @ np.concatenate([masses, masses]))

    return tail


def _to_cosine(z: "ArrayLike", seeds: int) -> "Numbers":
    """Of the angle between the values and their mean."""
    import numpy as np
    from scipy.special import ndtr, stdtrit

    t = -stdtrit(seeds - 1, ndtr(-np.asarray(z)))
    return np.asarray(t / np.sqrt(t**2 + seeds - 1))


def _integrate_shares(seeds: int, new: int) -> "tuple[Numbers, Numbers]":
    """Points and weights of Gauss and Jacobi for the beta distribution with seeds / 2 and (new - 1) / 2."""
    import numpy as np
    from scipy.special import roots_sh_jacobi

    if new == 1:
        # A single new value varies by nothing.
        return np.ones(1), np.ones(1)
    points, weights = roots_sh_jacobi(_SHARES, (seeds + new - 1) / 2 - 1, seeds / 2)
    return points, weights / weights.sum()
