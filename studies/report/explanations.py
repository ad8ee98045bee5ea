"""What is said beside a comparison's tables: how to read them, what changes without the affected seeds, what
else differs between variants."""

from collections.abc import Iterator

from studies.comparison import Comparison, Confound
from studies.stats import bounds, gap, is_share, listed


def reading(comparison: Comparison) -> str:
    """How to read the table of variants."""
    baseline, confidence = comparison.baseline, f"{comparison.confidence * 100:.0f} %"
    said = [
        f"Mean ± standard deviation over n seeds, with the {confidence} interval of the mean (Student's t). IQM: the "
        "mean without the lowest and the highest quarter.",
        f"Differences to {baseline} are paired: the same seed has the same data order and start in every "
        f"variant{'; they are in percentage points' if is_share(comparison.metric) else ''}.",
        "An interval that leaves out zero means that chance alone hardly explains the difference.",
    ]
    if any(one.difference and one.difference.p_value is not None for one in comparison.variants):
        said.append(
            "What decides is p after Holm: a paired t-test, corrected for the "
            f"{comparison.plan.comparisons} comparisons of the study, at {_level(comparison)}. "
            "Intervals are for one comparison each."
        )
    return " ".join(said)


def sensitivities(comparison: Comparison) -> Iterator[str]:
    """A line for each comparison in which something went wrong: what is left without those seeds."""
    for one in comparison.variants:
        found = one.difference.sensitivity if one.difference is not None else None
        if found is None:
            continue
        seeds = listed([str(seed) for seed in found.left_out])
        said = "nothing is left"
        if found.mean is not None:
            said = gap(found.mean, comparison.metric)
            said += f" ({bounds(found.interval, comparison.metric)})" if found.interval else ""
        yield (
            f"{one.name} to {comparison.baseline} without the seeds at which a job failed, diverged or is "
            f"missing ({seeds}): {said}, n = {found.n}."
        )


def open_confounds(comparison: Comparison) -> list[Confound]:
    """Which withhold the ranking."""
    return [one for one in comparison.confounds if one.is_open]


def declared_confounds(comparison: Comparison) -> list[Confound]:
    """Which a user has acknowledged."""
    found = comparison.confounds
    return [one for one in found if not one.causes and one.declared is not None]


def consequences(comparison: Comparison) -> list[str]:
    """What differs because of what the study declares, each with its causes."""
    causes: dict[str, dict[str, None]] = {}
    for one in comparison.confounds:
        if one.causes:
            causes.setdefault(one.what, {}).update(dict.fromkeys(one.causes))
    return [f"{what}, by {listed(list(found))}" for what, found in causes.items()]


def difference_between(one: Confound, baseline: str) -> str:
    """`group and none differ in the number of weights: 1010 and 1000`."""
    return (
        f"{one.variant} and {baseline} differ in {one.what}: "
        f"{_value(one.variant_value)} and {_value(one.baseline_value)}"
    )


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return str(value)


def _level(comparison: Comparison) -> str:
    return f"{comparison.plan.level * 100:.3g} %"
