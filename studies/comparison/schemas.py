"""The shapes of a study's answer: summaries, differences, axes, confounds, verdict; and how to read them, in words.

Numbers are in the metric's own unit; what can't be computed is None.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from studies.spec import Splits
from studies.stats import Interval, bounds, gap, is_share, listed

Decision = Literal["better", "worse", "equivalent", "undecided"]
State = Literal["decided", "undecided", "exploratory", "too_few_seeds", "withheld"]


class FrozenModel(BaseModel):
    """Base of all answers about a study: once made, they don't change."""

    model_config = ConfigDict(frozen=True)


class SeedValue(FrozenModel):
    """One job's value: None when there is none; `at_chance`: it is what guessing would score."""

    seed: int
    job_id: int
    value: float | None
    at_chance: bool = False


class Epochs(FrozenModel):
    """Evaluation periods trained until the end, and until the one whose weights were kept; seconds until
    then, evaluations included. Means over the jobs that have them."""

    mean: float | None
    best_mean: float | None
    best_seconds: float | None = None


class ToThreshold(FrozenModel):
    """Jobs that reached the study's threshold, and their mean optimizer steps until the evaluation that
    saw it."""

    reached: int
    steps: float | None


class Sensitivity(FrozenModel):
    """The difference once more without the seeds at which a job failed, diverged or is missing."""

    left_out: tuple[int, ...]
    n: int
    mean: float | None
    interval: Interval | None
    p_value: float | None


class Difference(FrozenModel):
    """Variant minus baseline, paired by seed.

    `p_value`: two-sided paired t; `p_adjusted`: after Holm over all comparisons of the study, which is
    what decides; Wilcoxon's signed ranks and the bootstrap (BCa) stand beside it. `effect_size`: mean over
    standard deviation of the differences. `equivalence_p_value`: the larger of two one-sided tests
    against the study's margin, after Holm. `seeds_needed`: for a power of 80 % to see `to_see`.
    """

    n: int
    mean: float | None
    interval: Interval | None
    p_value: float | None
    p_adjusted: float | None = None
    wilcoxon_p_value: float | None = None
    bootstrap_interval: Interval | None = None
    probability_of_improvement: float | None = None
    effect_size: float | None = None
    equivalence_p_value: float | None = None
    repeated_interval: Annotated[
        Interval | None,
        Field(
            description="with several looks: at the level of the present one, so that those of all looks together hold the "
            "true difference with 95 %, wherever the study stops"
        ),
    ] = None
    decision: Annotated[
        Decision | None, Field(description="none: no p-value, or the verdict is withheld")
    ] = None
    seeds_needed: int | None = None
    to_see: float | None = None
    sensitivity: Sensitivity | None = None


class VariantSummary(FrozenModel):
    """One arm of the comparison: a variant at one matrix point; `validation`: the mean it is ranked by;
    `still_improving`: jobs that ended at the limit of their training with their best evaluation among the
    last tenth (`studies.comparison.verdict`)."""

    name: str
    variant: str
    point: dict[str, Any]
    n: int
    mean: float | None
    std: float | None
    median: float | None = None
    interquartile_mean: float | None = None
    interval: Interval | None
    best: float | None = None
    worst: float | None = None
    validation: float | None = None
    difference: Difference | None
    epochs: Epochs
    to_threshold: ToThreshold | None = None
    still_improving: int = 0
    diverged: int
    failed: int
    cancelled: int
    pending: int
    incomplete: bool
    values: tuple[SeedValue, ...]


class Slope(FrozenModel):
    """How a variant's metric moves along an axis: per seed the least-squares slope over the axis, then its
    mean with interval; `difference` is to the baseline's slope, the interaction."""

    variant: str
    n: int
    mean: float | None
    interval: Interval | None
    difference: Difference | None


class Axis(FrozenModel):
    """One path of the matrix. `scale`: a slope is per unit, or per doubling; None where the values are no
    numbers, and then there are no slopes. `table`: mean per variant at each value, over the other axes."""

    path: str
    values: tuple[Any, ...]
    scale: Literal["per unit", "per doubling"] | None
    table: dict[str, tuple[float | None, ...]]
    slopes: tuple[Slope, ...]


class Confound(FrozenModel):
    """Something that differs between a variant and the baseline at the same seed.

    `causes`: the declared spec fields that it follows from; without any, and not `declared` by somebody,
    it withholds the ranking.
    """

    kind: str
    what: str
    variant: str
    baseline_value: Any
    variant_value: Any
    seeds: int
    causes: tuple[str, ...]
    declared: str | None

    @property
    def is_open(self) -> bool:
        return not self.causes and self.declared is None

    def describe(self, baseline: str) -> str:
        """`group and none differ in the number of weights: 1010 and 1000`."""
        values = f"{_write(self.variant_value)} and {_write(self.baseline_value)}"
        return f"{self.variant} and {baseline} differ in {self.what}: {values}"


class Plan(FrozenModel):
    """What was fixed beforehand: seeds, looks, margin; `look` is the number of looks taken so far,
    `analysed` how many seeds the verdict rests on, and `level` what the smallest p-value, times the
    comparisons, must not exceed (with looks, all of them together make 5 %)."""

    seeds: int
    looks: tuple[int, ...]
    look: int | None
    analysed: int
    level: float
    margin: float | None
    splits: Splits
    comparisons: int


class Best(FrozenModel):
    """The arm with the best mean on validation; test has no part in the choice."""

    name: str
    variant: str
    point: dict[str, Any]
    metric: str
    mean: float


class Verdict(FrozenModel):
    """The answer in a sentence, and why there is none where there is none."""

    state: State
    sentence: str
    reasons: tuple[str, ...] = ()


class Comparison(FrozenModel):
    """All arms against the baseline, in the order of the study."""

    metric: str
    baseline: str
    higher_is_better: bool
    confidence: float
    verdict: Verdict
    best: Best | None
    plan: Plan
    variants: tuple[VariantSummary, ...]
    axes: tuple[Axis, ...]
    confounds: tuple[Confound, ...]
    notes: tuple[str, ...]

    # mypy doesn't know that pydantic takes a property here.
    @computed_field(  # type: ignore[prop-decorator]
        description="how to read the numbers, what changes without the affected seeds, and what else differs"
    )
    @property
    def explanations(self) -> tuple[str, ...]:
        """A paragraph each."""
        return (self.reading, *self.sensitivities, *self._explain_confounds())

    @property
    def reading(self) -> str:
        """How to read the summaries of the variants."""
        points = "; they are in percentage points" if is_share(self.metric) else ""
        sentences = [
            f"Mean ± standard deviation over n seeds, with the {self.confidence * 100:.0f} % interval of the mean "
            "(Student's t).",
            f"Differences to {self.baseline} are paired: the same seed has the same data order and random draws in every "
            f"variant{points}.",
            "An interval that leaves out zero means that chance alone hardly explains the difference.",
        ]
        if any(one.difference and one.difference.p_value is not None for one in self.variants):
            sentences.append(
                "What decides is p after Holm: a paired t-test with Holm's correction for the "
                f"{self.plan.comparisons} comparisons of the study, at {self.plan.level * 100:.3g} %. Intervals are "
                "for one comparison each."
            )
        return " ".join(sentences)

    @property
    def sensitivities(self) -> tuple[str, ...]:
        """For each comparison in which something went wrong: what is left without those seeds."""
        return tuple(
            f"{arm.name} to {self.baseline} without the seeds at which a job failed, diverged or is missing "
            f"({listed(list(map(str, rest.left_out)))}): {self._write_gap(rest)}, n = {rest.n}."
            for arm in self.variants
            if arm.difference is not None and (rest := arm.difference.sensitivity) is not None
        )

    @property
    def consequences(self) -> tuple[str, ...]:
        """What differs because of what the study declares, each with its causes."""
        causes: dict[str, dict[str, None]] = {}
        for confound in self.confounds:
            if confound.causes:
                causes.setdefault(confound.what, {}).update(dict.fromkeys(confound.causes))
        return tuple(f"{what}, by {listed(list(fields))}" for what, fields in causes.items())

    def _explain_confounds(self) -> Iterator[str]:
        """What follows from the declared is one paragraph; anything else has one of its own."""
        for confound in self.confounds:
            if not confound.causes:
                reason = (
                    "nothing declared explains it"
                    if confound.declared is None
                    else f"declared: {confound.declared}"
                )
                yield f"{confound.describe(self.baseline)}; {reason}."
        if self.consequences:
            yield f"Differs as a consequence of what the study declares: {'; '.join(self.consequences)}."

    def _write_gap(self, rest: Sensitivity) -> str:
        if rest.mean is None:
            return "nothing is left"
        interval = f" ({bounds(rest.interval, self.metric)})" if rest.interval else ""
        return gap(rest.mean, self.metric) + interval


def _write(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)
