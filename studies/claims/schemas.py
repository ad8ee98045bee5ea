"""The shapes of what became of a study's claims.

Numbers are in the statistic's own unit (accuracies and errors as shares); what can't be computed is None.
"""

from typing import Annotated, Literal

from pydantic import Field

from studies.comparison import FrozenModel
from studies.stats import Interval

Verdict = Literal["holds", "does not hold", "equivalent", "undecided"]
Relation = Literal["above", "below", "within"]


class ArmValue(FrozenModel):
    """The claim's statistic in one arm over the analysed seeds."""

    arm: str
    n: int
    mean: float | None
    interval: Interval | None
    values: Annotated[dict[int, float], Field(description="by seed")]


class ClaimPart(FrozenModel):
    """One comparison of a claim: `difference` is `arm` minus `reference`, paired by seed.

    `p_value`: one-sided, for what is claimed; `opposite_p_value`: one-sided, for its opposite (of
    "within": that the difference is larger than the margin, either way).
    """

    arm: str
    relation: Relation
    reference: str | float
    n: int
    difference: float | None
    interval: Interval | None
    p_value: float | None
    opposite_p_value: float | None


class ClaimVerdict(FrozenModel):
    """Whether a claim holds here.

    `p_value`: of the claim or its opposite, whichever speaks louder: the intersection-union test over its
    parts (every part must hold; the opposite of one is enough), two-sided; `p_adjusted`: after Holm over
    all claims of the study, and what decides. `seeds_needed`: in all, for a power of 80 % to see what was
    seen.
    """

    name: str
    says: str
    paper: str
    verdict: Verdict
    sentence: str
    reasons: tuple[str, ...] = ()
    is_exploratory: bool = False
    n: int
    margin: float | None
    p_value: float | None
    p_adjusted: float | None
    seeds_needed: int | None = None
    unit: str
    parts: tuple[ClaimPart, ...]
    arms: tuple[ArmValue, ...]
