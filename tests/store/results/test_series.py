"""What a report shows of jobs: curves in order and not too long, looks at norms alone, files of the study alone."""

from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Study
from store.jobs import commands
from store.results import series
from tests.support.factories import acquire_job, make_study, make_worker
from trainer.events import Diagnosed, EpochFinished, EvaluationFinished, FileWritten


def train(sessions: sessionmaker[Session], epochs: int) -> tuple[int, list[int]]:
    """A study whose four jobs have so many periods; its id and theirs."""
    with sessions.begin() as session:
        study: Study = make_study(session)
        make_worker(session, f"host{study.id}", cpu=4)
        study_id = study.id
    jobs = []
    for _ in range(4):
        with sessions.begin() as session:
            assignment = acquire_job(session, f"host{study_id}")
            assert assignment is not None
            jobs.append(assignment.job_id)
            for number in range(1, epochs + 1):
                metrics = {"val_loss": 1 / number, "val_accuracy": float("nan")}
                event = EpochFinished(number, 10 * number, metrics, best=False, seconds=0.1)
                commands.record_epoch(session, assignment.job_id, assignment.attempt, event)
    return study_id, jobs


def test_curves_are_those_of_the_study_in_order(sessions: sessionmaker[Session]) -> None:
    other, _ = train(sessions, 1)
    study, jobs = train(sessions, 5)
    with sessions.begin() as session:
        found = series.curves(session, study, most=1000)
        assert sorted(found) == sorted(jobs)
        assert [row["epoch"] for row in found[jobs[0]]] == [1, 2, 3, 4, 5]
        assert found[jobs[0]][1]["val_loss"] == 0.5
        assert found[jobs[0]][1]["val_accuracy"] is None
        assert len(series.curves(session, other, most=1000)) == 4


def test_long_curves_are_thinned_evenly_and_keep_their_ends(
    sessions: sessionmaker[Session],
) -> None:
    study, jobs = train(sessions, 11)
    with sessions.begin() as session:
        found = series.curves(session, study, most=11)
        assert series.thin(series.curves(session, study), most=11) == found
    for job in jobs:
        assert [row["epoch"] for row in found[job]] == [1, 4, 8, 11]


def test_only_norms_are_looked_at_in_the_order_of_the_network(
    sessions: sessionmaker[Session],
) -> None:
    _, jobs = train(sessions, 1)
    norm, weights = {"after_p50": 0.5}, {"weight_norm": 1.0}
    layers = {"norm2": norm, "conv": weights, "norm1": norm, "network": {"loss_gap": 0.1}}
    with sessions.begin() as session:
        for step in (20, 10):
            commands.record_diagnosis(session, jobs[0], 1, Diagnosed(1, step, layers))
        assert series.norm_layers(session, jobs) == {jobs[0]: ["norm2", "norm1"]}
        snapshots = series.layer_snapshots(session, {jobs[0]: ["norm1"]})[jobs[0]]
        assert [(one.layer, one.step) for one in snapshots] == [("norm1", 10), ("norm1", 20)]
        assert series.layer_snapshots(session, {}) == {}


def test_files_are_those_of_the_studys_jobs(sessions: sessionmaker[Session]) -> None:
    study, jobs = train(sessions, 1)
    files = tuple(FileWritten(name, f"jobs/1/{name}", "d", 3) for name in ("b.npz", "a.npz"))
    with sessions.begin() as session:
        done = EvaluationFinished("test", {}, files)
        commands.record_evaluation(session, jobs[0], 1, done)
        found = series.job_files(session, study)
        assert {job: [one.name for one in of] for job, of in found.items()} == {
            jobs[0]: ["a.npz", "b.npz"]
        }
        assert list(series.dataset_digests(session, study)) == ["digits"]
