"""What looks into a network amount to over a training."""

from collections.abc import Mapping

Statistics = Mapping[str, float | None]


def with_drift(statistics: Statistics, first: Statistics) -> dict[str, float | None]:
    """Adds how far the median before and after a norm has moved since the first look, in units of the
    first standard deviation: `before_drift_training`, `after_drift_training`."""
    drifted = dict(statistics)
    for side in ("before", "after"):
        now, then = statistics.get(f"{side}_p50"), first.get(f"{side}_p50")
        std = first.get(f"{side}_std")
        if now is not None and then is not None and std:
            drifted[f"{side}_drift_training"] = abs(now - then) / std
    return drifted
