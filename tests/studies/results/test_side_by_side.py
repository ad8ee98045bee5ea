"""Groups side by side: differences of pairs as scipy and statsmodels compute them, and what withholds a judgement."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from store.db import BadQuery, Study
from store.results import ComparedJob
from studies.results import compare_sides, group_by_arm, group_by_fields
from tests.support.compared import (
    METRIC,
    as_compared,
    change,
    compare,
    draw,
    group_of,
    make_compared,
    plant,
)
from tests.support.result_rows import BASE, NORMS, compare_rows, fake_rows, make_study


def test_differences_are_those_of_a_paired_t_test_with_holm_s_correction() -> None:
    values = {"none": draw(0.8), "batch": draw(0.83), "layer": draw(0.801)}
    found = compare(plant(values))
    tests = {
        name: stats.ttest_rel(np.array(values[name]), np.array(values["none"]))
        for name in ("batch", "layer")
    }
    adjusted = multipletests([one.pvalue for one in tests.values()], method="holm")[1]
    for (name, test), p_adjusted in zip(tests.items(), adjusted, strict=True):
        group = group_of(found, name)
        difference = group.difference
        assert difference is not None
        assert (group.pairs, difference.n, group.unpaired) == (10, 10, ())
        assert difference.p_value == pytest.approx(test.pvalue)
        assert difference.p_adjusted == pytest.approx(p_adjusted)
        assert difference.interval == pytest.approx(tuple(test.confidence_interval()))
    assert [group.name for group in found.groups] == ["batch", "layer", "none"]
    assert group_of(found, "none").difference is None
    assert found.comparisons == 2
    assert found.sentence == (
        "Exploratory, by best val accuracy: batch is better than none; layer can't be distinguished "
        "from none."
    )


def test_of_a_loss_the_lower_is_the_better() -> None:
    jobs = plant({"none": draw(0.8), "batch": draw(0.7)})
    lost = [
        dataclasses.replace(job, metrics={"best_val_loss": job.metrics[METRIC]}) for job in jobs
    ]
    found = compare_sides(
        group_by_fields(lost), "best_val_loss", by=("norm.kind",), reference="none"
    )
    difference = group_of(found, "batch").difference
    assert difference is not None
    assert difference.decision == "better"


def test_pairs_at_one_seed_are_one_value() -> None:
    none, batch = draw(0.8), draw(0.82)
    shift = 0.004
    jobs = plant({"none": none, "batch": batch})
    wide = plant(
        {"none": none, "batch": [(value or 0.0) + shift for value in batch]},
        model={"name": "mlp", "hidden": [16]},
    )
    jobs += [dataclasses.replace(job, job_id=job.job_id + 1000) for job in wide]
    group = group_of(compare(jobs), "batch")
    assert group.difference is not None
    assert (group.pairs, group.difference.n, group.jobs) == (20, 10, 20)
    gaps = [
        (one or 0.0) - (other or 0.0) + shift / 2 for one, other in zip(batch, none, strict=True)
    ]
    assert group.difference.p_value == pytest.approx(stats.ttest_1samp(gaps, 0.0).pvalue)


def test_under_eight_seeds_nothing_is_tested() -> None:
    found = compare(plant({"none": draw(0.1, 7), "batch": draw(0.9, 7)}))
    difference = group_of(found, "batch").difference
    assert difference is not None
    assert (difference.n, difference.p_value, difference.p_adjusted) == (7, None, None)
    assert difference.interval is not None
    assert "batch shares under 8 seeds with none" in found.sentence


def test_what_does_not_pair_is_shown_without_a_test_and_is_no_comparison() -> None:
    jobs = plant({"none": draw(0.8), "batch": draw(0.8)})
    jobs += [
        dataclasses.replace(job, job_id=job.job_id + 500)
        for job in plant({"layer": draw(0.9)}, training={"epochs": 2, "batch_size": 8})
    ]
    found = compare(jobs)
    layer = group_of(found, "layer")
    assert (layer.n, layer.pairs, layer.difference) == (10, 0, None)
    assert layer.mean == pytest.approx(0.9, abs=0.02)
    assert found.unpaired == (
        "layer: 10 of 10 jobs have no partner in none: they differ in training.batch_size",
    )
    assert found.comparisons == 1
    assert "layer has no job that pairs" in found.sentence


def test_a_job_without_a_value_withholds_the_judgement_and_a_diverged_one_counts() -> None:
    jobs = plant({"none": draw(0.8, 9), "batch": draw(0.9, 9)})
    change(jobs, 103, reason="diverged", metrics={METRIC: None})
    batch = group_of(compare(jobs), "batch")
    assert batch.difference is not None
    assert (batch.diverged, batch.worst, batch.difference.n) == (1, 0.1, 9)
    assert batch.difference.decision is not None
    change(jobs, 104, status="failed", reason="oom", metrics={})
    found = compare(jobs)
    batch = group_of(found, "batch")
    assert batch.difference is not None
    assert (batch.incomplete, batch.difference.n, batch.difference.decision) == (1, 8, None)
    assert batch.difference.p_value is not None
    assert "batch isn't judged: 1 of 9 pairs lacks a value" in found.notes


def test_a_difference_that_nothing_compared_explains_withholds_the_judgement() -> None:
    jobs = plant({"none": draw(0.8), "batch": draw(0.9)})
    for number in range(100, 110):
        [job] = [job for job in jobs if job.job_id == number]
        change(jobs, number, facts={**(job.facts or {}), "norm_parameters": 64})
    explained = compare(jobs)
    # The norm's own parameters follow from the norm.
    assert [(one.kind, one.causes) for one in explained.confounds] == [
        ("norm_parameters", ("norm.kind",))
    ]
    assert "batch is better" in explained.sentence
    for number in range(100, 110):
        [job] = [job for job in jobs if job.job_id == number]
        change(jobs, number, environment={**(job.environment or {}), "code": "other"})
    found = compare(jobs)
    assert {one.kind for one in found.confounds if one.is_open} == {"code"}
    assert (
        "batch isn't judged: the jobs of its pairs differ in the code of the trainer, too"
        in found.notes
    )


def test_a_query_by_outcomes_withholds_every_judgement() -> None:
    jobs = plant({"none": draw(0.8), "batch": draw(0.9)})
    comparison = compare_sides(
        group_by_fields(jobs), METRIC, by=("norm.kind",), reference="none", outcomes=("reason",)
    )
    difference = group_of(comparison, "batch").difference
    assert difference is not None
    assert difference.p_value is not None
    assert difference.decision is None
    assert "batch isn't judged: its jobs were selected by reason" in comparison.notes
    assert "those that diverged or did badly may be missing" in comparison.notes[1]


def test_arms_of_one_name_keep_their_own_jobs() -> None:
    """A variant may be named as another one at one of its points is."""
    named = {"none": {"norm": NORMS["none"]}, "none · lr=8": {"norm": NORMS["batch"]}}
    jobs = [
        dataclasses.replace(job, study_id=5, variant=variant, point=point, declared=named[variant])
        for job, variant, point in (
            *((job, "none", {}) for job in plant({"none": draw(0.8)})),
            *((job, "none", {"lr": 8}) for job in number_from(500, plant({"none": draw(0.7)}))),
            *((job, "none · lr=8", {}) for job in number_from(900, plant({"batch": draw(0.9)}))),
        )
    ]
    sides = group_by_arm(jobs, [Study(id=5, spec={"baseline": "none"})])
    assert len({side.name for side in sides}) == 2
    groups = compare_sides(sides, METRIC, reference="s5 none").groups
    assert [(group.jobs, round(group.mean or 0.0, 1)) for group in groups] == [
        (10, 0.8),
        (10, 0.7),
        (10, 0.9),
    ]
    assert [group.is_reference for group in groups] == [True, True, False]


def number_from(start: int, jobs: list[ComparedJob]) -> list[ComparedJob]:
    return [dataclasses.replace(job, job_id=start + job.job_id) for job in jobs]


def test_twins_of_two_devices_are_a_caveat() -> None:
    jobs = plant({"none": draw(0.8), "batch": draw(0.9)})
    environment = {**(jobs[-1].environment or {}), "device": "cuda"}
    jobs.append(dataclasses.replace(jobs[-1], job_id=999, environment=environment))
    comparison = compare(jobs)
    assert group_of(comparison, "batch").repeated == 1
    assert (
        "batch: jobs that repeated a spec did not run alike: the device differed"
        in comparison.notes
    )


def test_within_one_study_it_is_the_study_s_own_comparison() -> None:
    study = make_study(("none", "batch", "group"), matrix={"training.batch_size": [8, 64]})
    rows = fake_rows(study, lambda variant, point: 0.9 if variant == "batch" else 0.88, seed=3)
    whole = compare_rows(study, rows, METRIC)
    jobs = [as_compared(row, 5, dict(study.variants)) for row in rows]
    sides = group_by_arm(jobs, [Study(id=5, spec={"baseline": "none"})])
    found = compare_sides(sides, METRIC)
    assert found.reference == "s5 none"
    assert found.comparisons == 4
    for arm in whole.variants:
        group = group_of(found, f"s5 {arm.name}")
        assert (group.n, group.mean, group.interval) == (arm.n, arm.mean, arm.interval)
        assert group.is_reference is (arm.variant == "none")
        if arm.difference is not None:
            assert group.difference is not None
            for name in (
                "n",
                "mean",
                "interval",
                "p_value",
                "p_adjusted",
                "effect_size",
                "decision",
            ):
                assert getattr(group.difference, name) == getattr(arm.difference, name), name


def test_arms_of_two_studies_pair_where_their_settings_do() -> None:
    one = make_study(("none", "batch"))
    base = {**BASE, "optimizer": {"kind": "sgd", "lr": 0.3}}
    other = make_study(("none", "group"), base=base)
    jobs = [
        *(
            as_compared(row, 3, dict(one.variants))
            for row in fake_rows(one, lambda *_: 0.8, seed=1)
        ),
        *(
            as_compared(dataclasses.replace(row, job_id=row.job_id + 100), 7, dict(other.variants))
            for row in fake_rows(other, lambda *_: 0.9, seed=2)
        ),
    ]
    studies = [Study(id=number, spec={"baseline": "none"}) for number in (7, 3)]
    found = compare_sides(group_by_arm(jobs, studies), METRIC, reference="s3 none")
    assert [group.name for group in found.groups] == ["s7 none", "s7 group", "s3 none", "s3 batch"]
    assert group_of(found, "s3 batch").pairs == 10
    assert group_of(found, "s7 group").difference is None
    assert (
        "s7 group: 10 of 10 jobs have no partner in s3 none: they differ in optimizer.lr"
        in found.unpaired
    )


@pytest.mark.parametrize(
    ("norms", "reference", "said"),
    [
        (("none",), None, "two groups or more"),
        (
            ("none", "batch"),
            "layer",
            "there is no 'layer' to compare with; there are batch and none",
        ),
    ],
)
def test_what_can_not_be_compared_is_refused(
    norms: tuple[str, ...], reference: str | None, said: str
) -> None:
    with pytest.raises(BadQuery, match=said):
        compare(plant({norm: [0.5] for norm in norms}), reference)


def test_more_than_twenty_groups_are_refused() -> None:
    jobs = [make_compared(number, 0.5, by={"seed": number}) for number in range(21)]
    with pytest.raises(BadQuery, match="21 groups, and at most 20"):
        group_by_fields(jobs)


def test_groups_are_named_by_their_values() -> None:
    jobs = [
        make_compared(number, 0.5, by={"norm.kind": norm, "optimizer.lr": lr})
        for number, (norm, lr) in enumerate([("none", None), ("null", 1), ("null", 1.0)])
    ]
    assert [(side.name, len(side.jobs)) for side in group_by_fields(jobs)] == [
        ("norm.kind=none, optimizer.lr=null", 1),
        ('norm.kind="null", optimizer.lr=1', 2),
    ]
