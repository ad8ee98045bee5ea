"""Verdicts on claims: against scipy and statsmodels, on planted truths, with labels swapped, and on nothing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri
from statsmodels.stats.multitest import multipletests

from store.results.result_rows import ResultRow
from studies.claims.judge import are_open, judge_claims
from studies.claims.schemas import ClaimVerdict
from studies.comparison.evidence import JobRecord, StudyEvidence, gather_evidence, group_arms
from studies.spec.expand import expand
from studies.spec.study import StudyError, StudySpec, read_study
from studies.stats.group_sequential import nominal_levels
from tests.support.result_rows import BASE, alter, change, fake_rows, make_study

RISES = {"name": "rises", "says": "group is better", "statistic": "test_accuracy"}


def claim(**parts: Any) -> dict[str, Any]:
    return {**RISES, **parts}


def evidence_of(study: StudySpec, rows: Sequence[ResultRow]) -> StudyEvidence:
    return gather_evidence(study, rows, planned_seeds=study.seed_list)


def judged(
    claims: Sequence[dict[str, Any]],
    means: Mapping[str, float],
    *,
    seed: int = 1,
    own: float = 0.01,
    change: Callable[[list[ResultRow]], None] = lambda rows: None,
    **fields: Any,
) -> tuple[ClaimVerdict, ...]:
    study = make_study(tuple(means), claims=list(claims), **fields)
    rows = fake_rows(study, lambda variant, point: means[variant], seed=seed, own=own)
    change(rows)
    return judge_claims(evidence_of(study, rows))


def values(verdict: ClaimVerdict, arm: str) -> list[float]:
    found = next(one for one in verdict.arms if one.arm == arm)
    return [found.values[seed] for seed in sorted(found.values)]


def test_a_direction_is_a_paired_t_test_and_holm_goes_over_the_claims() -> None:
    found = judged(
        [
            claim(rising=["none", "group"]),
            claim(name="falls", falling=["batch", "layer"]),
            claim(name="same", rising=["batch", "group"]),
        ],
        {"none": 0.90, "group": 0.915, "batch": 0.91, "layer": 0.905},
    )
    pairs = [("group", "none"), ("layer", "batch"), ("group", "batch")]
    expected = [
        float(stats.ttest_rel(values(one, arm), values(one, other)).pvalue)
        for one, (arm, other) in zip(found, pairs, strict=True)
    ]
    assert [one.p_value for one in found] == pytest.approx(expected, rel=1e-9)
    adjusted = multipletests(expected, method="holm")[1]
    assert [one.p_adjusted for one in found] == pytest.approx(list(adjusted), rel=1e-9)
    for one, p_adjusted in zip(found, adjusted, strict=True):
        assert (one.verdict == "undecided") == (p_adjusted > 0.05)
    part = found[0].parts[0]
    interval = stats.ttest_rel(
        values(found[0], "group"), values(found[0], "none")
    ).confidence_interval()
    assert part.interval == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_a_margin_is_two_one_sided_tests() -> None:
    (found,) = judged([claim(flat=["none", "group"], margin=0.02)], {"none": 0.90, "group": 0.903})
    gaps = np.subtract(values(found, "group"), values(found, "none"))
    lower = stats.ttest_1samp(gaps, -0.02, alternative="greater").pvalue
    upper = stats.ttest_1samp(gaps, 0.02, alternative="less").pvalue
    assert found.p_value == pytest.approx(max(lower, upper), rel=1e-9)
    assert found.verdict == "equivalent"


def test_what_is_surely_farther_apart_than_the_margin_is_not_flat() -> None:
    (found,) = judged([claim(flat=["none", "group"], margin=0.02)], {"none": 0.8, "group": 0.9})
    gaps = np.subtract(values(found, "group"), values(found, "none"))
    beyond = stats.ttest_1samp(gaps, 0.02, alternative="greater").pvalue
    assert found.p_value == pytest.approx(2 * beyond, rel=1e-9)
    assert found.verdict == "does not hold"


def test_an_order_is_as_sure_as_its_least_sure_step() -> None:
    means = {"none": 0.80, "batch": 0.85, "layer": 0.857, "group": 0.95}
    (found,) = judged([claim(rising=["none", "batch", "layer", "group"])], means)
    steps = [("batch", "none"), ("layer", "batch"), ("group", "layer")]
    one_sided = [
        stats.ttest_rel(values(found, arm), values(found, other), alternative="greater").pvalue
        for arm, other in steps
    ]
    assert found.p_value == pytest.approx(2 * max(one_sided), rel=1e-9)
    assert len(found.parts) == 3


def test_one_reversed_step_is_enough_for_an_order_not_to_hold() -> None:
    means = {"none": 0.80, "batch": 0.90, "group": 0.85}
    (found,) = judged([claim(rising=["none", "batch", "group"])], means)
    assert found.verdict == "does not hold"


def test_a_u_shape_falls_and_then_rises() -> None:
    means = {"none": 0.90, "batch": 0.80, "group": 0.90}
    shape = claim(falling=["none", "batch"], rising=["batch", "group"])
    (found,) = judged([shape], means)
    assert found.verdict == "holds"
    (flat,) = judged([shape], {"none": 0.90, "batch": 0.80, "group": 0.80})
    assert flat.verdict == "undecided"


def test_an_arm_may_be_held_against_a_number() -> None:
    (found,) = judged(
        [claim(above={"group": 0.85}, below={"none": 0.85})], {"none": 0.8, "group": 0.9}
    )
    assert found.verdict == "holds"
    (near,) = judged([claim(near={"group": 0.9}, margin=0.02)], {"none": 0.8, "group": 0.9})
    assert near.verdict == "equivalent"
    (far,) = judged([claim(near={"group": 0.8}, margin=0.02)], {"none": 0.8, "group": 0.9})
    assert far.verdict == "does not hold"


def swapped(rows: list[ResultRow]) -> None:
    """The labels, and all else of the two arms stays with its job."""
    other = {"none": "group", "group": "none"}
    for row in rows:
        alter(rows, [row], variant=other[row.variant])


def test_swapped_labels_flip_a_directional_verdict() -> None:
    means = {"none": 0.90, "group": 0.93}
    told = [claim(rising=["none", "group"])]
    (straight,) = judged(told, means)
    (flipped,) = judged(told, means, change=swapped, declared={"norm_parameters": "labels swapped"})
    assert (straight.verdict, flipped.verdict) == ("holds", "does not hold")
    assert flipped.p_value == pytest.approx(straight.p_value, rel=1e-9)
    assert flipped.parts[0].difference == pytest.approx(-(straight.parts[0].difference or 0))


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_claimed_of_one_variant_over_disjoint_seeds(count: int) -> None:
    """Two arms of one truth, unpaired: family-wise, no more often than promised but by chance."""
    draws, seeds = 600, 8
    names = ["none", "batch", "layer", "group"][: count + 1]
    claims = [claim(name=one, rising=["none", one]) for one in names[1:]]
    study = make_study(tuple(names), claims=claims, seeds=seeds)
    draw = np.random.default_rng(20261127)
    rows = fake_rows(study, lambda variant, point: 0.9, seed=0)
    plain = evidence_of(study, rows)
    wrong = 0
    for _ in range(draws):
        for row, value in zip(rows, draw.normal(0.9, 0.02, len(rows)).tolist(), strict=True):
            change(row, "metrics", test_accuracy=value)
        found = judge_claims(_quick(plain, study, rows))
        wrong += any(one.verdict != "undecided" for one in found)
    bound = 0.05 + float(ndtri(0.999)) * math.sqrt(0.05 * 0.95 / draws)
    assert wrong / draws <= bound
    assert wrong > 0


def _quick(plain: StudyEvidence, study: StudySpec, rows: Sequence[ResultRow]) -> StudyEvidence:
    arms = group_arms(study, rows, study.metric)
    records = {arm.name: {seed: JobRecord(row) for seed, row in arm.rows.items()} for arm in arms}
    return replace(plain, arms={}, records=records, confounds=())


def test_without_enough_seeds_there_is_no_verdict() -> None:
    (found,) = judged([claim(rising=["none", "group"])], {"none": 0.5, "group": 0.9}, seeds=7)
    assert found.verdict == "undecided"
    assert found.p_value is None
    assert "a verdict needs 8" in found.sentence


def test_a_missing_job_withholds_the_verdict_and_is_named() -> None:
    def fail(rows: list[ResultRow]) -> None:
        alter(rows, [rows[3]], status="failed", reason="error")

    (found,) = judged([claim(rising=["none", "group"])], {"none": 0.5, "group": 0.9}, change=fail)
    assert found.verdict == "undecided"
    assert "none has no value at 1 seed (3)" in found.sentence


def test_a_claim_without_a_p_value_stays_in_the_family() -> None:
    def fail(rows: list[ResultRow]) -> None:
        alter(rows, [next(row for row in rows if row.variant == "batch")], status="failed")

    found = judged(
        [claim(rising=["none", "group"]), claim(name="other", rising=["none", "batch"])],
        {"none": 0.90, "group": 0.915, "batch": 0.9},
        change=fail,
    )
    assert found[0].p_value is not None
    assert found[0].p_adjusted == pytest.approx(2 * found[0].p_value)
    assert found[1].p_adjusted is None


def test_an_open_confound_withholds_the_verdict() -> None:
    def confound(rows: list[ResultRow]) -> None:
        for row in rows:
            if row.variant == "group":
                change(row, "environment", torch="1.0")

    means = {"none": 0.5, "group": 0.9}
    (found,) = judged([claim(rising=["none", "group"])], means, change=confound)
    assert found.verdict == "undecided"
    assert "nothing declared explains" in found.sentence


@pytest.mark.parametrize("size", [64, 8])
def test_a_confound_at_one_place_of_a_matrix_withholds_the_claims_of_that_place(size: int) -> None:
    def confound(rows: list[ResultRow]) -> None:
        for row in rows:
            if row.variant == "group" and row.point["training.batch_size"] == size:
                change(row, "environment", torch="1.0")

    places = [f"batch_size={one}" for one in (64, 8)]
    found = judged(
        [claim(name=place, rising=[f"none · {place}", f"group · {place}"]) for place in places],
        {"none": 0.5, "group": 0.9},
        change=confound,
        matrix={"training.batch_size": [64, 8]},
    )
    assert {one.name: one.verdict for one in found} == {
        place: "undecided" if place == f"batch_size={size}" else "holds" for place in places
    }


REACHING: dict[str, Any] = {"kind": "steps_to_reach", "value": 0.8}


def judged_by_curves(there: Callable[[int, str], int], **parts: Any) -> ClaimVerdict:
    """A claim on `none` and `group`, trained for 200 steps: `there` is the step, by seed and arm, at which a
    job's accuracy is above 0.8."""
    study = make_study(claims=[claim(**parts)])
    plain = evidence_of(study, fake_rows(study, lambda *_: 0.9, seed=1))

    def trained(job: JobRecord, step: int) -> JobRecord:
        curve = [
            {
                "step": at,
                "val_accuracy": 0.9 if at >= step else 0.1,
                "val_loss": 1.0,
                "train_loss": 1.0,
            }
            for at in range(5, 205, 5)
        ]
        row = replace(job.row, facts={**(job.row.facts or {}), "total_steps": 200})
        return replace(job, row=row, curve=curve)

    records = {
        arm: {seed: trained(job, there(seed, arm)) for seed, job in jobs.items()}
        for arm, jobs in plain.records.items()
    }
    (found,) = judge_claims(replace(plain, records=records))
    return found


@pytest.mark.parametrize("relation", ["falling", "rising"])
@pytest.mark.parametrize("late", ["none", "group"])
def test_who_never_gets_there_needs_more_steps(relation: str, late: str) -> None:
    def there(seed: int, arm: str) -> int:
        return 10 + 5 * (seed % 2) if arm != late else 1000 if seed == 3 else 150

    found = judged_by_curves(there, statistic=REACHING, **{relation: ["none", "group"]})
    is_borne_out = (relation == "rising") == (late == "group")
    assert found.verdict == ("holds" if is_borne_out else "does not hold")


@pytest.mark.parametrize("statistic", [REACHING, {"kind": "log10", "of": REACHING}])
def test_who_never_gets_there_is_not_said_to_need_fewer_steps(statistic: dict[str, Any]) -> None:
    """At the other seeds `group` is so much earlier that its bound at seed 3 would still be fewer steps."""

    def there(seed: int, arm: str) -> int:
        return 100 + 5 * seed if arm == "none" else 1000 if seed == 3 else 10

    found = judged_by_curves(there, statistic=statistic, falling=["none", "group"])
    assert found.p_value is not None
    assert found.p_value < 0.05
    assert found.verdict == "undecided"
    assert "group never gets there at 1 seed (3)" in found.sentence
    assert "more seeds" not in found.sentence


def test_undecided_says_how_many_more_seeds_would_be_needed() -> None:
    (found,) = judged([claim(rising=["none", "group"])], {"none": 0.90, "group": 0.904}, seed=4)
    assert found.verdict == "undecided"
    assert found.seeds_needed is not None
    assert found.seeds_needed > found.n
    assert f"About {found.seeds_needed - found.n} more seeds" in found.sentence


def test_a_claim_says_its_numbers() -> None:
    (found,) = judged(
        [claim(statistic="test_error", falling=["none", "group"], paper="2 %")],
        {"none": 0.80, "group": 0.90},
        own=0.0,
    )
    assert found.sentence.startswith("Holds: group ")
    assert "difference -10.00 points" in found.sentence
    assert found.unit == "points"
    assert "p < 0.001" in found.sentence or "p = 0.002" in found.sentence


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "say what holds"),
        ({"flat": ["none", "group"]}, "margin goes with flat and near"),
        ({"rising": ["none", "group"], "margin": 0.1}, "margin goes with flat and near"),
        ({"rising": ["none"]}, "rising"),
        ({"rising": ["none", "group"], "statistic": {"kind": "curve", "column": "val_loss", "take": "at_step"}}, "step goes with"),
        ({"rising": ["none", "group"], "statistic": {"kind": "steps_to_reach"}}, "either value or best_of"),
        ({"rising": ["none", "group"], "statistic": {"kind": "mean"}}, "a statistic is a metric's name"),
    ],
)  # fmt: skip
def test_a_claim_that_says_nothing_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        make_study(("none", "group"), claims=[claim(**parts)])


def test_a_claim_of_an_arm_that_there_is_not_is_refused_with_those_there_are() -> None:
    study = make_study(("none", "group"), claims=[claim(rising=["none", "batch"])])
    with pytest.raises(StudyError, match=r"/claims/0: there is no arm 'batch'") as refused:
        expand(study)
    assert refused.value.problems[0].remedy == "one of group, none"


@pytest.mark.parametrize(
    ("statistic", "said"),
    [
        ("no_such_metric", "no job of this study records 'no_such_metric'"),
        ({"kind": "difference", "of": ["test_error", "end_error"]}, "no job of this study records 'end_error'"),
        ({"kind": "gain", "of": "test_error", "over": "batch"}, "there is no variant 'batch'"),
        ({"kind": "log10", "of": {"kind": "look", "statistic": "dead"}}, "no job records any"),
    ],
)  # fmt: skip
def test_a_claim_of_what_no_job_could_have_is_refused(statistic: Any, said: str) -> None:
    study = make_study(
        ("none", "group"), claims=[claim(statistic=statistic, rising=["none", "group"])]
    )
    with pytest.raises(StudyError, match=said) as refused:
        expand(study)
    assert refused.value.problems[0].pointer == "/claims/0"


@pytest.mark.parametrize(("step", "is_refused"), [(399, True), (400, False)])
def test_a_curve_before_its_first_evaluation_is_refused(step: int, is_refused: bool) -> None:
    statistic = {"kind": "curve", "column": "val_loss", "take": "at_step", "step": step}
    training = {"steps": 800, "eval_every": 400, "batch_size": 64}
    study = make_study(
        claims=[claim(statistic=statistic, rising=["none", "group"])],
        base={**BASE, "training": training},
    )
    if not is_refused:
        assert expand(study)
        return
    with pytest.raises(StudyError, match="it is first evaluated at step 400"):
        expand(study)


@pytest.mark.parametrize("name", ["test_error", "best_val_accuracy", "epochs", "best_epoch"])
def test_metrics_that_every_job_has_may_be_claimed_of(name: str) -> None:
    assert expand(
        make_study(("none", "group"), claims=[claim(statistic=name, rising=["none", "group"])])
    )


def test_claims_need_names_of_their_own() -> None:
    twice = [claim(rising=["none", "group"])] * 2
    with pytest.raises(StudyError, match="names of claims must be unique"):
        make_study(("none", "group"), claims=twice)


def test_a_study_with_claims_reads_back_as_it_was() -> None:
    study = make_study(
        ("none", "group"),
        claims=[
            claim(statistic={"kind": "ratio", "of": ["test_loss", {"kind": "log10", "of": "epochs"}]},
                  flat=[["none", "group"], ["group", "none"]], margin=0.1),
        ],
    )  # fmt: skip
    assert read_study(study.model_dump(mode="json")) == study


def looked(seeds: int, gain: float, seed: int = 3) -> ClaimVerdict:
    [verdict] = judged(
        [claim(rising=["none", "group"])],
        {"none": 0.90, "group": 0.90 + gain},
        seed=seed,
        seeds=seeds,
        looks=[8, 16],
    )
    return verdict


def test_a_claim_is_held_to_the_level_of_its_look() -> None:
    first, last = nominal_levels([8, 16], 0.05)
    found = [looked(8, 0.008, seed=seed) for seed in range(40)]
    verdicts = [one.verdict for one in found]
    assert set(verdicts) == {"holds", "undecided"}
    for one in found:
        assert one.p_value is not None
        assert (one.verdict == "holds") == (one.p_value <= first)
    # Of one look alone, some of them would hold.
    assert any(first < (one.p_value or 1.0) <= 0.05 for one in found)
    at_last = [looked(16, 0.008, seed=seed) for seed in range(40)]
    assert {one.n for one in at_last} == {16}
    for before, now in zip(found, at_last, strict=True):
        assert now.p_value is not None
        # What was borne out stays so.
        assert (now.verdict == "holds") == (now.p_value <= last or before.verdict == "holds")


def test_a_claim_that_has_turned_to_its_opposite_is_borne_out_no_more() -> None:
    study = make_study(("none", "group"), claims=[claim(rising=["none", "group"])], seeds=16, looks=[8, 16])  # fmt: skip
    rows = fake_rows(study, lambda variant, point: 0.9, seed=1, own=0.001)
    for row in rows:
        if row.variant == "group":
            value = 0.95 + 0.001 * (row.seed % 2) if row.seed < 8 else 0.7
            change(row, "metrics", test_accuracy=value)
    [now] = judge_claims(evidence_of(study, rows))
    then_study = study.model_copy(update={"seeds": 8})
    [then] = judge_claims(evidence_of(then_study, [row for row in rows if row.seed < 8]))
    assert (then.verdict, now.verdict) == ("holds", "undecided")


def test_more_seeds_may_decide_what_is_undecided_and_nothing_else() -> None:
    def opened(gain: float, **fields: Any) -> bool:
        claims = [claim(rising=["none", "group"])]
        study = make_study(("none", "group"), claims=claims, seeds=8, looks=[8, 16], until="decided", **fields)  # fmt: skip
        rows = fake_rows(study, lambda variant, point: 0.9 + gain * (variant == "group"), seed=1)
        return are_open(evidence_of(study, rows))

    assert opened(0.0)
    assert not opened(0.5)
    # Without a value there is no test, with however many seeds.
    claims = [claim(rising=["none", "group"])]
    study = make_study(("none", "group"), claims=claims, seeds=8, looks=[8, 16], until="decided")
    rows = fake_rows(study, lambda *_: 0.9, seed=1)
    change(rows[0], "metrics", test_accuracy=None)
    assert not are_open(evidence_of(study, rows))
