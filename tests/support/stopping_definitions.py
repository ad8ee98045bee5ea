"""Stopping rules as their definitions have them: of a whole curve, after t evaluations of it."""

import math
from collections.abc import Sequence


def has_waited(validation: Sequence[float], t: int, patience: int) -> bool:
    """So many evaluations since the first of the lowest."""
    return t - 1 - validation.index(min(validation[:t])) >= patience


def generalization_loss(validation: Sequence[float], t: int) -> float:
    lowest, value = min(validation[:t]), validation[t - 1]
    if lowest == 0:
        return 0.0 if value == 0 else math.inf
    return 100 * (value / lowest - 1)


def progress_quotient(
    training: Sequence[float], validation: Sequence[float], t: int, k: int
) -> float:
    """Prechelt's GL / P, with the quotient by zero told apart."""
    loss, strip = generalization_loss(validation, t), training[t - k : t]
    if t % k or loss == 0 or (min(strip) == 0 and max(strip) > 0):
        return 0.0
    progress = 1000 * (math.fsum(strip) / (k * min(strip)) - 1) if min(strip) > 0 else 0.0
    return math.inf if progress <= 0 else loss / progress


def has_risen(validation: Sequence[float], t: int, s: int, k: int) -> bool:
    """UP_s: UP_(s-1) k epochs before, and a rise since then."""
    if s == 0:
        return True
    if t % k or t <= k or validation[t - 1] <= validation[t - k - 1]:
        return False
    return has_risen(validation, t - k, s - 1, k) if s > 1 else True
