"""Groups side by side as CSV."""

import csv
import io
from typing import Any

from studies.results.findings import ComparedGroup, SideBySide


def write_csv(comparison: SideBySide) -> str:
    """For programs: a row per group, numbers unrounded and in the metric's own unit, the reference named in each."""
    content = io.StringIO()
    rows = [_flatten(group, comparison) for group in comparison.groups]
    # There are two groups or more.
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue()


def _flatten(group: ComparedGroup, comparison: SideBySide) -> dict[str, Any]:
    difference = group.difference
    low, high = group.interval or (None, None)
    difference_low, difference_high = (difference and difference.interval) or (None, None)
    return {
        "group": group.name,
        "reference": comparison.reference,
        "metric": comparison.metric,
        **{name: getattr(group, name) for name in _OF_GROUP},
        "low": low,
        "high": high,
        **{name: getattr(group, name) for name in _OF_JOBS},
        "seeds": difference and difference.n,
        "difference": difference and difference.mean,
        "difference_low": difference_low,
        "difference_high": difference_high,
        **{name: difference and getattr(difference, name) for name in _OF_DIFFERENCE},
        "withheld": "; ".join(group.withheld),
        "unpaired": "; ".join(f"{reason.jobs}: {reason.why}" for reason in group.unpaired),
    }


_OF_GROUP = ("jobs", "n", "mean", "std", "median", "best", "worst")
_OF_JOBS = ("diverged", "failed", "cancelled", "pending", "repeated", "pairs", "incomplete")
_OF_DIFFERENCE = ("p_value", "p_adjusted", "effect_size", "decision")
