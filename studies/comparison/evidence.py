"""All that the answers about a study rest on, read once: jobs, arms, analysed seeds and confounds.

Comparison, claims, figures and report are handed a `StudyEvidence` and read nothing else of the study.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy.orm import Session

from store.db import Study
from store.results import LayerSnapshot, ResultRow, result_rows, series
from studies.comparison.arms import Arm, baselines, group
from studies.comparison.confounds import find_confounds
from studies.comparison.schemas import Confound
from studies.spec import StudySpec, read_study

#: The evaluation periods of each job, in order.
Curves: TypeAlias = Mapping[int, Sequence[Mapping[str, Any]]]
#: What was recorded of each job's layers, in order.
Snapshots: TypeAlias = Mapping[int, Sequence[LayerSnapshot]]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job: its result row, its evaluation periods and the snapshots of its layers, in order."""

    row: ResultRow
    curve: Sequence[Mapping[str, Any]] = ()
    snapshots: Sequence[LayerSnapshot] = ()


@dataclass(frozen=True, slots=True)
class StudyEvidence:
    """A study's jobs as they are now, and what was fixed before anybody saw a result.

    `arms` and `records` are by the arm's name. `seeds`: those that are analysed, in order; `taken_looks`: how
    many seeds each look taken so far has, the present one last; `planned`: how many seeds the study was
    planned with; `is_exploratory`: it has grown without having said so beforehand. `first_steps`: job → step
    at which it reached the study's threshold. Curves and snapshots are there where they were asked for.
    """

    study: StudySpec
    metric: str
    rows: tuple[ResultRow, ...]
    arms: Mapping[str, Arm]
    records: Mapping[str, Mapping[int, JobRecord]]
    curves: Curves
    seeds: tuple[int, ...]
    taken_looks: tuple[int, ...]
    planned: int
    is_exploratory: bool
    confounds: tuple[Confound, ...]
    first_steps: Mapping[int, int]

    @property
    def family(self) -> int:
        """How many comparisons there are: arms at a point that has the baseline, without the baseline itself."""
        baseline = self.study.baseline
        references = baselines(self.arms.values(), baseline)
        return sum(
            arm.variant != baseline and arm.place in references for arm in self.arms.values()
        )


def read_evidence(
    session: Session, study: Study, metric: str | None = None, *, with_records: bool = False
) -> StudyEvidence:
    """Of the study as it is now; `metric`: None for the study's own; `with_records`: with all curves and
    snapshots, if the study has claims or a figure of its own to need them."""
    spec = read_study(study.spec)
    is_recorded = with_records and bool(spec.claims or spec.figure)
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
) -> StudyEvidence:
    """`planned_seeds`: those that the study was submitted with (None: all that it has); `declared`: kind of
    difference → why it doesn't matter, besides what the study document declares."""
    metric, rows = metric or study.metric, tuple(rows)
    curves, snapshots = curves or {}, snapshots or {}
    arms = group(rows, metric)
    seeds = _all_seeds(study, arms)
    taken_looks = _taken_looks(study, arms, seeds)
    return StudyEvidence(
        study=study,
        metric=metric,
        rows=rows,
        arms={arm.name: arm for arm in arms},
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
        confounds=tuple(find_confounds(study, arms, {**study.declared, **(declared or {})})),
        first_steps=first_steps or {},
    )


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
        return len(seeds) not in study.looks
    return planned is not None and not set(seeds) <= set(planned)
