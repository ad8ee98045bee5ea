"""Whether MLflow says what SQL says: each ended run is compared, and what differs can be put right.

MLflow can change or delete no single point of a metric. So a run that differs is put right by a new one: the old one is
deleted, and the mirror at work sends the job or study again.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from mlflow.entities import Metric, Run
from sqlalchemy.orm import Session, sessionmaker

from store.db import JOBS_CHANNEL, notify
from store.mlflow import JobToMirror, experiments, mirror, written
from store.results import result_rows
from studies.comparison import read_comparison
from worker.mirror import runs
from worker.mirror.tracking import KEY_TAG, Tracking, milliseconds

RUNS_AT_ONCE = 50
#: Points of one metric that are asked for at once: MLflow answers with 25,000 at most.
POINTS_AT_ONCE = 10_000
#: Differences that are named of one run.
MOST_NAMED = 5
#: Tags by which people find and read runs; others change with MLflow and with Normlab.
_TAGS = ("normlab.", "mlflow.parentRunId")

#: A step and a value, which is None where it is no number: NaN is not even equal to itself.
Point: TypeAlias = tuple[int, float | None]


@dataclass(frozen=True, slots=True)
class Expected:
    """A run as it should be. `results`: metrics that were sent once for each end of the job, of which the last is here;
    `may_lack`: those of them that earlier versions didn't send."""

    subject: str
    run_id: str
    experiment_id: str
    status: str
    ended_at: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Mapping[str, frozenset[Point]]
    results: frozenset[str] = frozenset()
    may_lack: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one run: whose it is, and what MLflow has otherwise than SQL."""

    subject: str
    run_id: str
    texts: Sequence[str]

    def __str__(self) -> str:
        more = len(self.texts) - MOST_NAMED
        named = [*self.texts[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
        return f"{self.subject} (run {self.run_id}): {'; '.join(named)}"


class Verification:
    """One comparison of all runs; `compared` counts them."""

    def __init__(self, sessions: sessionmaker[Session], tracking: Tracking) -> None:
        self._sessions = sessions
        self._tracking = tracking
        self.compared = 0

    def differences(self) -> Iterator[Difference]:
        """Beside the mirror at work: what it still has to send isn't looked at."""
        for batch in self._expected():
            found = self._tracking.read_runs(
                [one.run_id for one in batch], {one.experiment_id for one in batch}
            )
            histories = self._histories([one for one in batch if one.run_id in found])
            for one in batch:
                self.compared += 1
                texts = list(_compare(one, found.get(one.run_id), histories))
                if texts:
                    yield Difference(one.subject, one.run_id, texts)
        yield from self._strangers()

    def repair(self, difference: Difference) -> None:
        """The run is deleted; whose it was is sent again, by the mirror at work."""
        with self._sessions.begin() as session:
            job_id, model_id = written.forget_run(session, difference.run_id)
            notify(session, JOBS_CHANNEL, "" if job_id is None else str(job_id))
        self._tracking.retire_run(difference.run_id, model_id)

    def summary(self, count: int, *, repaired: bool) -> str:
        """Of a comparison with so many differences."""
        runs_compared = f"compared {self.compared} ended run{'' if self.compared == 1 else 's'} with the database"
        if not count:
            return f"{runs_compared}: MLflow has the same"
        found = f"{runs_compared}: {count} differ{'s' if count == 1 else ''}"
        return (
            f"{found}; the mirror sends {'it' if count == 1 else 'them'} again"
            if repaired
            else found
        )

    def _expected(self) -> Iterator[list[Expected]]:
        after = 0
        while True:
            with self._sessions.begin() as session:
                job_ids = written.ended_jobs(session, after, RUNS_AT_ONCE)
                batch = _expected_jobs(session, job_ids)
            if not job_ids:
                break
            after = job_ids[-1]
            yield batch
        with self._sessions.begin() as session:
            study_ids = written.ended_studies(session)
        for start in range(0, len(study_ids), RUNS_AT_ONCE):
            with self._sessions.begin() as session:
                found = [_expected_study(session, one) for one in study_ids[start:][:RUNS_AT_ONCE]]
            yield [one for one in found if one is not None]

    def _histories(self, batch: Sequence[Expected]) -> Mapping[tuple[str, str], set[Point]]:
        """By run and metric, all points that MLflow has of the expected metrics."""
        wanted: dict[str, list[Expected]] = defaultdict(list)
        for one in batch:
            for key in one.points:
                wanted[key].append(one)
        found: dict[tuple[str, str], set[Point]] = defaultdict(set)
        for key, owners in wanted.items():
            for group in _grouped(key, owners):
                for run_id, step, value in self._tracking.history(group, key):
                    found[run_id, key].add(_point(step, value))
        return found

    def _strangers(self) -> Iterator[Difference]:
        """Runs that pose as a job's or study's and are nobody's."""
        with self._sessions.begin() as session:
            projects = experiments.projects(session)
        ids = sorted({one.experiment_id for one in projects if one.experiment_id})
        posing = [
            (run.info.run_id, run.data.tags.get(KEY_TAG, ""))
            for run in self._tracking.active_runs(ids)
            if _poses(run)
        ]
        # Read after the runs, so that one that was just made is known.
        with self._sessions.begin() as session:
            keys = written.keys(session)
        for run_id, key in posing:
            known = keys.get(key)
            if known is None or known.run_id not in ("", run_id):
                yield Difference("–", run_id, ["no job and no study has this run"])


def _expected_jobs(session: Session, job_ids: Sequence[int]) -> list[Expected]:
    records = mirror.read_jobs(session, job_ids)
    epochs = mirror.read_epochs(session, job_ids)
    again = written.ended_again(session, job_ids)
    studies = {one.job.study_id for one in records if one.job.study_id is not None}
    parents = mirror.runs_of_studies(session, studies)
    expected = []
    for record in records:
        job, row = record.job, record.mirrored
        assert row is not None
        results = runs.final_metrics(job)
        metrics = [*runs.epoch_metrics(epochs.get(job.id, ())), *_diagnoses(session, record)]
        expected.append(
            Expected(
                subject=f"j{job.id}",
                run_id=row.run_id,
                experiment_id=row.experiment_id,
                status=runs.run_status(job.status),
                ended_at=_milliseconds(job.finished_at),
                params=runs.job_params(job.spec),
                tags=runs.job_tags(record, parents.get(job.study_id or 0)),
                points=_points([*metrics, *results]),
                results=frozenset(one.key for one in results if job.id in again),
            )
        )
    return expected


def _diagnoses(session: Session, record: JobToMirror) -> Iterator[Metric]:
    diagnoses = mirror.read_diagnoses(session, record.job.id)
    if diagnoses:
        firsts = result_rows.first_diagnoses(session, record.job.id)
        yield from runs.diagnosis_metrics(diagnoses, firsts, record.job.spec)


def _expected_study(session: Session, study_id: int) -> Expected | None:
    """None: it has been deleted meanwhile."""
    record = mirror.read_study(session, study_id)
    if record is None:
        return None
    row = record.mirrored
    assert row is not None
    points = _points(runs.study_metrics(record, read_comparison(session, record.study)))
    return Expected(
        subject=f"s{study_id}",
        run_id=row.run_id,
        experiment_id=row.experiment_id,
        status=runs.run_status(runs.study_status(record)),
        ended_at=_milliseconds(record.finished_at),
        params=runs.study_params(record),
        tags=runs.study_tags(record),
        points=points,
        results=frozenset(points),
        may_lack=frozenset(points),
    )


def _milliseconds(ended_at: datetime | None) -> int | None:
    return None if ended_at is None else milliseconds(ended_at)


def _points(metrics: Sequence[Metric]) -> dict[str, frozenset[Point]]:
    points: dict[str, set[Point]] = defaultdict(set)
    for one in metrics:
        points[one.key].add(_point(one.step, one.value))
    return {key: frozenset(some) for key, some in points.items()}


def _point(step: int, value: float) -> Point:
    return step, None if math.isnan(value) else value


def _grouped(key: str, owners: Sequence[Expected]) -> Iterator[list[str]]:
    """Their runs, in groups of which MLflow answers all points."""
    group: list[str] = []
    size = 0
    for one in owners:
        count = len(one.points[key])
        if group and size + count > POINTS_AT_ONCE:
            yield group
            group, size = [], 0
        group.append(one.run_id)
        size += count
    yield group


def _poses(run: Run) -> bool:
    return any(key in run.data.tags for key in (KEY_TAG, "normlab.job", "normlab.study"))


def _compare(
    one: Expected, run: Run | None, histories: Mapping[tuple[str, str], set[Point]]
) -> Iterator[str]:
    if run is None or run.info.lifecycle_stage == "deleted":
        yield "it was deleted"
        return
    if run.info.status != one.status:
        yield f"its status is {run.info.status}, not {one.status}"
    if run.info.end_time != one.ended_at:
        yield f"its end is {run.info.end_time}, not {one.ended_at}"
    yield from _compare_texts("parameter", one.params, run.data.params)
    tags = {key: value for key, value in one.tags.items() if key.startswith(_TAGS)}
    shown = {key: value for key, value in run.data.tags.items() if key in tags}
    yield from _compare_texts("tag", tags, shown)
    for key in sorted(run.data.metrics.keys() - one.points.keys()):
        yield f"metric {key} is not in SQL"
    for key, points in sorted(one.points.items()):
        has = histories.get((one.run_id, key), set())
        if not has and key in one.may_lack:
            continue
        yield from (f"metric {key} lacks {_say(point)}" for point in _sorted(points - has))
        more = has - points
        if key in one.results and _shown(run, key) in {value for _, value in points}:
            # An earlier end of the job left them, and MLflow shows the last.
            more = set()
        yield from (f"metric {key} has {_say(point)}" for point in _sorted(more))


def _shown(run: Run, key: str) -> float | None:
    value = run.data.metrics.get(key)
    return None if value is None or math.isnan(value) else value


def _compare_texts(what: str, wanted: Mapping[str, str], has: Mapping[str, str]) -> Iterator[str]:
    for key in sorted(wanted.keys() | has.keys()):
        if wanted.get(key) != has.get(key):
            yield f"{what} {key} is {has.get(key)!r}, not {wanted.get(key)!r}"


def _sorted(points: set[Point] | frozenset[Point]) -> list[Point]:
    return sorted(points, key=lambda point: (point[0], point[1] is None, point[1]))


def _say(point: Point) -> str:
    step, value = point
    return f"{'NaN' if value is None else value} at step {step}"
