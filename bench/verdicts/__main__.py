"""`python -m bench.verdicts`: every verdict of every preset that was run, computed anew from what REST gives, by
numpy, scipy and statsmodels instead of our own code. Reads a running service (NORMLAB_URL, or the local stack)."""

import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.verdicts.measures import Job, value_of
from normlab import Client
from studies.spec.claims import Claim
from studies.spec.study import arm_name

Values = Mapping[str, Mapping[int, float]]


def main() -> int:
    """0 if all agree."""
    wrong = 0
    with Client() as client:
        for preset in client.presets():
            for run in client.items(f"presets/{preset['name']}/runs"):
                if run["study"]["status"] != "succeeded" or len(run["study"]["planned_seeds"]) < 8:
                    continue
                for claim, ours, theirs in check(client, run["study"]):
                    wrong += ours != theirs
                    sign = "ok " if ours == theirs else "NOT"
                    print(f"{sign} s{run['study']['id']} {preset['name']}, {claim}: {ours}")
                    if ours != theirs:
                        print(f"    computed anew: {theirs}")
    return 1 if wrong else 0


def check(client: Client, study: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Claim, the service's verdict, and the one computed anew; other where a job's number is other."""
    claims = [Claim.model_validate(one) for one in study["spec"]["claims"]]
    jobs = read_jobs(client, study["id"], claims)
    values = [values_of(claim, jobs) for claim in claims]
    found = [tested(*one) for one in zip(claims, values, strict=True)]
    p_values = [1.0 if one is None else one[0] for one in found]
    adjusted = multipletests(p_values, method="holm")[1]
    verdicts = client.verdicts(f"s{study['id']}")
    for claim, verdict, mine, one, p_value in zip(
        claims, verdicts, values, found, adjusted, strict=True
    ):
        apart = differing(verdict, mine)
        again = decided(claim, one, p_value)
        yield (
            claim.name,
            verdict["verdict"],
            f"{again}, with other numbers: {apart}" if apart else again,
        )


def differing(verdict: Mapping[str, Any], values: Values) -> list[str]:
    """Arms and seeds where the service's number is not the one computed anew."""
    theirs = {
        (one["arm"], int(seed)): value
        for one in verdict["arms"]
        for seed, value in one["values"].items()
    }
    compared = {one["arm"] for one in verdict["arms"]}
    mine = {
        (arm, seed): value
        for arm, known in values.items()
        for seed, value in known.items()
        if arm in compared
    }
    return [
        f"{arm}, seed {seed}"
        for arm, seed in sorted(theirs.keys() | mine.keys())
        if not math.isclose(
            theirs.get((arm, seed), math.nan),
            mine.get((arm, seed), math.nan),
            rel_tol=1e-9,
            abs_tol=1e-12,
        )
    ]


def read_jobs(client: Client, study: int, claims: Sequence[Claim]) -> list[Job]:
    """Curves and looks only where a claim is of more than metrics."""
    metrics_alone = all("look" not in str(one) and "curve" not in str(one) and "steps" not in str(one) for one in claims)  # fmt: skip
    # The planned steps are a fact of a job.
    columns = "job_id,variant,point,seed,status,reason,metrics,facts"
    found = []
    for row in client.result_rows(f"s{study}", columns=columns):
        path = f"jobs/{row['job_id']}"
        curve = [] if metrics_alone else list(client.items(f"{path}/epochs"))
        looks = [] if metrics_alone else list(client.items(f"{path}/diagnostics"))
        found.append(Job(row, curve, looks))
    return found


def values_of(claim: Claim, jobs: Sequence[Job]) -> dict[str, dict[int, float]]:
    """By arm and seed; without what is not a number."""
    found: dict[str, dict[int, float]] = {}
    statistic = claim.model_dump(mode="json")["statistic"]
    for job in jobs:
        arm, seed = arm_name(job.row["variant"], job.row["point"]), job.row["seed"]
        peers = {
            (one.row["variant"], str(one.row["point"])): one
            for one in jobs
            if one.row["seed"] == seed
        }
        if arm in claim.arms and math.isfinite(value := value_of(statistic, job, peers)):
            found.setdefault(arm, {})[seed] = value
    return found


def tested(claim: Claim, values: Values) -> tuple[float, bool] | None:
    """The two-sided p-value, and whether it speaks for the claim; None where a job has no value."""
    pairs = list(_pairs(claim, values))
    if any(one is None for one in pairs):
        return None
    holds = max(one for one, _ in pairs)  # type: ignore[misc]
    opposite = min(1.0, len(pairs) * min(other for _, other in pairs))  # type: ignore[misc]
    smaller = min(holds, opposite)
    return smaller if claim.is_flat else min(1.0, 2 * smaller), holds <= opposite


def _pairs(claim: Claim, values: Values) -> Iterator[tuple[float, float] | None]:
    for chain in claim.rising:
        for before, after in itertools.pairwise(chain):
            yield _directed(values, after, before, 1.0)
    for chain in claim.falling:
        for before, after in itertools.pairwise(chain):
            yield _directed(values, after, before, -1.0)
    for chain in claim.flat:
        for before, after in itertools.pairwise(chain):
            yield _within(_gaps(values, after, before), claim.margin or 0.0)
    for arm, number in claim.above.items():
        yield _directed(values, arm, number, 1.0)
    for arm, number in claim.below.items():
        yield _directed(values, arm, number, -1.0)
    for arm, number in claim.near.items():
        yield _within(_gaps(values, arm, number), claim.margin or 0.0)


def _gaps(values: Values, arm: str, other: str | float) -> list[float] | None:
    own = values.get(arm, {})
    if isinstance(other, str):
        others = values.get(other, {})
        if set(own) != set(others):
            return None
        return [own[seed] - others[seed] for seed in sorted(own)]
    return [own[seed] - other for seed in sorted(own)]


def _directed(
    values: Values, arm: str, other: str | float, sign: float
) -> tuple[float, float] | None:
    gaps = _gaps(values, arm, other)
    return None if not gaps else (_above(gaps, sign), _above(gaps, -sign))


def _above(gaps: Sequence[float], sign: float) -> float:
    signed = [sign * gap for gap in gaps]
    if max(signed) - min(signed) < 1e-12:
        # Without variance Student's t is undefined: the exact sign-flip test.
        mean = signed[0]
        if abs(mean) < 1e-12:
            return 0.5
        return 2.0 ** -len(signed) if mean > 0 else 1 - 2.0 ** -len(signed)
    return float(stats.ttest_1samp(signed, 0.0, alternative="greater").pvalue)


def _within(gaps: Sequence[float] | None, margin: float) -> tuple[float, float] | None:
    if not gaps:
        return None
    below = _above([gap - margin for gap in gaps], -1.0)
    above = _above([gap + margin for gap in gaps], 1.0)
    outside = min(
        _above([gap - margin for gap in gaps], 1.0), _above([gap + margin for gap in gaps], -1.0)
    )
    return max(below, above), min(1.0, 2 * outside)


def decided(claim: Claim, found: tuple[float, bool] | None, p_value: float) -> str:
    if found is None or math.isnan(p_value) or p_value > 0.05:
        return "undecided"
    if not found[1]:
        return "does not hold"
    return "equivalent" if claim.is_flat else "holds"


if __name__ == "__main__":
    sys.exit(main())
