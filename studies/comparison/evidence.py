"""All that the answers about a study rest on, read once: jobs, arms, analysed seeds and confounds.

Comparison, claims, figures and report are handed a `StudyEvidence` and read nothing else of the study.

An arm is a variant at a matrix point. A diverged job counts with what its best checkpoint on validation reached,
else with what guessing would score: it is a result. A job that failed, was cancelled or isn't finished has no
value, and withholds the verdict. Nothing is dropped.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from sqlalchemy.orm import Session

from store.db import Study
from store.results import LayerSnapshot, ResultRow, result_rows, series
from studies.comparison.confounds import find_confounds, find_varying
from studies.comparison.schemas import Confound
from studies.spec import StudySpec, arm_name, read_study
from studies.stats import Design, Score, finite, held_out_share, score

#: The evaluation periods of each job, in order.
Curves: TypeAlias = Mapping[int, Sequence[Mapping[str, Any]]]
#: What was recorded of each job's layers, in order.
Snapshots: TypeAlias = Mapping[int, Sequence[LayerSnapshot]]


# Without slots: `cached_property` keeps its value in the instance's `__dict__`.
@dataclass(frozen=True)
class Arm:
    """The jobs of a variant at a point, in the order in which they were made, and what each counts with."""

    variant: str
    point: dict[str, Any]
    rows: dict[int, ResultRow]
    metric: str
    scores: dict[int, Score] = field(repr=False)
    #: Held-out over training examples where splits are resampled, else 0.
    overlap: float

    @cached_property
    def name(self) -> str:
        return arm_name(self.variant, self.point)

    @cached_property
    def place(self) -> str:
        """The same for all arms at one point."""
        return json.dumps(self.point, sort_keys=True)

    @cached_property
    def values(self) -> dict[int, float]:
        """By seed; those that have none are not there."""
        return {seed: one.value for seed, one in self.scores.items() if one.value is not None}

    @cached_property
    def affected(self) -> frozenset[int]:
        """Seeds at which a job failed, diverged or isn't finished."""
        return frozenset(
            seed
            for seed, row in self.rows.items()
            if row.status != "succeeded" or row.reason == "diverged"
        )

    def chosen(self, seeds: Sequence[int]) -> list[float]:
        """The values at these seeds that have one."""
        return [self.values[seed] for seed in seeds if seed in self.values]

    def pair_with(self, reference: "Arm", seeds: Sequence[int]) -> list[tuple[float, float]]:
        """(own value, the reference's) at each of these seeds at which both have a value."""
        return [
            (self.values[seed], reference.values[seed])
            for seed in seeds
            if seed in self.values and seed in reference.values
        ]

    def scored(self, metric: str, seeds: Sequence[int]) -> list[float]:
        """What the jobs count with by another metric."""
        found = [score(self.rows[seed], metric).value for seed in seeds if seed in self.rows]
        return [value for value in found if value is not None]

    def numbers(self, metric: str, seeds: Sequence[int]) -> list[float]:
        """Another metric of the jobs that succeeded; what isn't finite is left out."""
        return _list_finite(row.metrics.get(metric) for row in self._succeeded(seeds))

    def best_seconds(self, seeds: Sequence[int]) -> list[float]:
        """How long the jobs that succeeded trained until the epoch whose weights were kept."""
        return _list_finite(row.best_seconds for row in self._succeeded(seeds))

    def _succeeded(self, seeds: Sequence[int]) -> list[ResultRow]:
        found = (self.rows[seed] for seed in seeds if seed in self.rows)
        return [row for row in found if row.status == "succeeded"]


def _list_finite(values: Iterable[Any]) -> list[float]:
    return [number for value in values if (number := finite(value)) is not None]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job: its result row, its evaluation periods and the snapshots of its layers, in order."""

    row: ResultRow
    curve: Sequence[Mapping[str, Any]] = ()
    snapshots: Sequence[LayerSnapshot] = ()


@dataclass(frozen=True, slots=True)
class StudyEvidence:
    """A study's jobs as they are now, and what was fixed before anybody saw a result.

    `arms` and `records` are by the arm's name; `references`: the baseline's arm at the point of each arm that is
    compared with it. `seeds`: those that are analysed, in order; `taken_looks`: how
    many seeds each look taken so far has, the present one last; `planned`: how many seeds the study was
    planned with; `is_exploratory`: it has grown without having said so beforehand. `varying`: what no spec explains and
    isn't the same in all jobs, with the number of its values. `first_steps`: job → step
    at which it reached the study's threshold. `tried`: arm → settings that its tuning or search has tried, once it has
    chosen. `pretraining`: the jobs that those of the arms begin from, which are no arm of the comparison. Curves and snapshots are there where they were asked for.
    """

    study: StudySpec
    metric: str
    rows: tuple[ResultRow, ...]
    arms: Mapping[str, Arm]
    references: Mapping[str, Arm]
    records: Mapping[str, Mapping[int, JobRecord]]
    curves: Curves
    seeds: tuple[int, ...]
    taken_looks: tuple[int, ...]
    planned: int
    is_exploratory: bool
    pretraining: Arm | None
    confounds: tuple[Confound, ...]
    varying: tuple[tuple[str, int], ...]
    first_steps: Mapping[int, int]
    tried: Mapping[str, int]

    @property
    def design(self) -> Design:
        """By which its comparisons are decided."""
        study = self.study
        return Design(study.looks, study.spending, study.margin)

    @property
    def family(self) -> int:
        """How many comparisons there are."""
        return len(self.references)


def read_evidence(
    session: Session, study: Study, metric: str | None = None, *, with_records: bool = False
) -> StudyEvidence:
    """Of the study as it is now; `metric`: None for the study's own; `with_records`: with all curves and
    snapshots, if the study has claims or a figure of its own to need them."""
    spec = read_study(study.spec)
    is_recorded = with_records and bool(spec.claims or spec.figure)
    has_pretraining = spec.pretrain is not None
    threshold = spec.threshold
    return gather_evidence(
        spec,
        result_rows.study_rows(session, study.id),
        metric=metric,
        planned_seeds=study.planned_seeds,
        declared={kind: declaration["why"] for kind, declaration in study.declared.items()},
        first_steps=series.first_steps(session, study.id, threshold.metric, threshold.value)
        if threshold
        else None,
        curves=series.curves(session, study.id) if is_recorded else None,
        snapshots=series.study_snapshots(session, study.id) if is_recorded else None,
        tried={arm["arm"]: len(arm["tried"]) for arm in (study.tuning or {}).get("arms", ())},
        pretrainings=result_rows.study_rows(session, study.id, trials=True)
        if has_pretraining
        else (),
    )


def gather_evidence(
    study: StudySpec,
    rows: Iterable[ResultRow],
    *,
    metric: str | None = None,
    planned_seeds: Sequence[int] | None = None,
    declared: Mapping[str, str] | None = None,
    first_steps: Mapping[int, int] | None = None,
    curves: Curves | None = None,
    snapshots: Snapshots | None = None,
    tried: Mapping[str, int] | None = None,
    pretrainings: Iterable[ResultRow] = (),
) -> StudyEvidence:
    """`planned_seeds`: those that the study was submitted with (None: all that it has); `declared`: kind of
    difference → why it doesn't matter, besides what the study document declares."""
    metric, rows = metric or study.metric, tuple(rows)
    curves, snapshots = curves or {}, snapshots or {}
    arms = group_arms(study, rows, metric)
    references = _find_references(study, arms)
    seeds = _all_seeds(study, arms)
    taken_looks = _taken_looks(study, arms, seeds)
    return StudyEvidence(
        study=study,
        metric=metric,
        rows=rows,
        arms={arm.name: arm for arm in arms},
        references=references,
        records={
            arm.name: {
                seed: JobRecord(row, curves.get(row.job_id, ()), snapshots.get(row.job_id, ()))
                for seed, row in arm.rows.items()
            }
            for arm in arms
        },
        curves=curves,
        # Between two looks the verdict stays that of the last one: whoever looks at every seed finds something.
        seeds=seeds[: taken_looks[-1]] if taken_looks else seeds,
        taken_looks=taken_looks,
        planned=_planned_count(study, seeds, planned_seeds),
        is_exploratory=_is_exploratory(study, seeds, planned_seeds),
        pretraining=next(iter(group_arms(study, pretrainings, metric)), None),
        confounds=tuple(
            find_confounds(
                study,
                [_pair_rows(arm, references[arm.name]) for arm in arms if arm.name in references],
                {**study.declared, **(declared or {})},
            )
        ),
        varying=tuple(find_varying(row for arm in arms for row in arm.rows.values())),
        first_steps=first_steps or {},
        tried=tried or {},
    )


def group_arms(study: StudySpec, rows: Iterable[ResultRow], metric: str) -> list[Arm]:
    """In the order in which the jobs were made."""
    by_arm: dict[tuple[str, str], list[ResultRow]] = {}
    for row in sorted(rows, key=lambda row: row.job_id):
        # PostgreSQL's jsonb forgets the order of keys, so that equal points need not be written equally.
        place = json.dumps(row.point, sort_keys=True)
        by_arm.setdefault((row.variant, place), []).append(row)
    return [
        Arm(
            variant=jobs[0].variant,
            point=dict(jobs[0].point),
            rows={row.seed: row for row in jobs},
            metric=metric,
            scores={row.seed: score(row, metric) for row in jobs},
            overlap=_measure_overlap(study, jobs, metric),
        )
        for jobs in by_arm.values()
    ]


def _measure_overlap(study: StudySpec, rows: Sequence[ResultRow], metric: str) -> float:
    """Held-out over training examples where splits are resampled; 0 where the split is fixed."""
    return held_out_share(rows, metric) if study.splits == "resampled" else 0.0


def _find_references(study: StudySpec, arms: Sequence[Arm]) -> dict[str, Arm]:
    """Of each arm that has the baseline at its point, but the baseline itself."""
    at_place = {arm.place: arm for arm in arms if arm.variant == study.baseline}
    return {
        arm.name: at_place[arm.place]
        for arm in arms
        if arm.variant != study.baseline and arm.place in at_place
    }


def _pair_rows(arm: Arm, reference: Arm) -> tuple[str, list[tuple[ResultRow, ResultRow]]]:
    """The arm's name, and its jobs beside the reference's at the same seed."""
    return arm.name, [
        (row, reference.rows[seed]) for seed, row in arm.rows.items() if seed in reference.rows
    ]


def _all_seeds(study: StudySpec, arms: Sequence[Arm]) -> tuple[int, ...]:
    """Those of the study document, then any others that were trained."""
    trained = {seed for arm in arms for seed in arm.rows}
    return (*study.seed_list, *sorted(trained - set(study.seed_list)))


def _taken_looks(study: StudySpec, arms: Sequence[Arm], seeds: tuple[int, ...]) -> tuple[int, ...]:
    """A look is taken once every arm has a value at each of its seeds; seeds are complete from the first on, so
    that the looks before it are taken, too."""

    def is_complete(look: int) -> bool:
        return len(seeds) >= look and all(
            seed in arm.values for arm in arms for seed in seeds[:look]
        )

    return tuple(look for look in study.looks if is_complete(look))


def _planned_count(study: StudySpec, seeds: Sequence[int], planned: Sequence[int] | None) -> int:
    if study.looks:
        return study.looks[-1]
    return len(seeds if planned is None else planned)


def _is_exploratory(study: StudySpec, seeds: Sequence[int], planned: Sequence[int] | None) -> bool:
    if study.looks:
        # The level that has been spent is known at the looks alone: of looks at 8 and 16, 12 seeds are neither.
        return len(seeds) not in study.looks
    return planned is not None and not set(seeds) <= set(planned)
