"""Groups side by side whose jobs do not all split their data alike."""

import dataclasses
from collections.abc import Mapping, Sequence

import pytest

from store.results import ComparedJob
from studies.stats import inference
from tests.support.compared import change, compare, draw, group_of, make_compared, plant
from tests.support.result_rows import NORMS


def plant_resampled(values: Mapping[str, Sequence[float | None]]) -> list[ComparedJob]:
    """By norm, at each seed; the split follows the seed."""
    planted = [(norm, seed, one) for norm in values for seed, one in enumerate(values[norm])]
    return [
        make_compared(
            number,
            value,
            by={"norm.kind": norm},
            norm=NORMS[norm],
            seed=seed,
            dataset={"name": "digits", "split_seed": seed},
        )
        for number, (norm, seed, value) in enumerate(planted)
    ]


def test_splits_that_follow_the_seed_widen_the_interval() -> None:
    none, batch = draw(0.8), draw(0.82)
    jobs = plant_resampled({"none": none, "batch": batch})
    gaps = [(one or 0.0) - (other or 0.0) for one, other in zip(batch, none, strict=True)]
    difference = group_of(compare(jobs), "batch").difference
    assert difference is not None
    assert difference.interval == inference.t_interval(gaps, overlap=200 / 800)


def test_studies_that_fix_their_splits_in_two_ways_are_not_resampled() -> None:
    none, batch = draw(0.8), draw(0.82)
    jobs = [
        dataclasses.replace(job, job_id=job.job_id + 1000 * split, study_id=split)
        for split in (1, 2)
        for job in plant(
            {"none": none, "batch": batch}, dataset={"name": "digits", "split_seed": split}
        )
        # The second has fewer seeds, so that not every seed has both splits.
        if split == 1 or job.seed < 5
    ]
    comparison = compare(jobs)
    gaps = [(one or 0.0) - (other or 0.0) for one, other in zip(batch, none, strict=True)]
    group = group_of(comparison, "batch")
    assert group.difference is not None
    assert group.difference.interval == pytest.approx(inference.t_interval(gaps))
    assert not any("Nadeau" in note for note in comparison.notes)
    # Jobs of one seed are one value of a group's own interval, too.
    assert (group.jobs, group.interval) == (15, inference.t_interval([v or 0.0 for v in batch]))


def test_overlaps_that_differ_withhold_the_judgement_and_the_largest_is_allowed_for() -> None:
    none, batch = draw(0.8), draw(0.9)
    jobs = plant_resampled({"none": none, "batch": batch})
    for number in (3, 13):
        [job] = [job for job in jobs if job.job_id == number]
        change(jobs, number, facts={**(job.facts or {}), "val_size": 400})
    comparison = compare(jobs)
    gaps = [(one or 0.0) - (other or 0.0) for one, other in zip(batch, none, strict=True)]
    difference = group_of(comparison, "batch").difference
    assert difference is not None
    assert difference.interval == pytest.approx(inference.t_interval(gaps, overlap=400 / 800))
    assert difference.decision is None
    assert (
        "batch isn't judged: the overlap of its training sets isn't the same in all jobs"
        in comparison.notes
    )
