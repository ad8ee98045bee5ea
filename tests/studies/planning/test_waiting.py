"""Every waiting job has one reason, a place, and an expected start where something tells."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from store.db import Attempt, StartEstimate
from store.hosts import GpuMemory, Shortage, gpu_memory, host_health, reservations
from store.jobs import WaitReason, commands, leases, limits
from store.results import start_estimates
from studies.planning import Place, read_free, read_line
from tests.support.factories import (
    acquire_job,
    make_cells,
    make_dataset,
    make_job,
    make_study,
    make_user,
    make_worker,
)
from tests.support.statements import counting_statements
from trainer.events import Started

Sessions = sessionmaker[Session]


def places(session: Session) -> dict[int, Place]:
    return {one.waiting.job.id: one for one in read_line(session).places}


def test_a_job_waits_for_those_before_it_on_its_kind_of_device(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=1, cuda=1)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        running = make_job(session, ada, resources={"device": "cpu"})
        assert acquire_job(session) is not None
        of_bob = make_job(session, bob, resources={"device": "cpu"})
        of_ada = make_job(session, ada, resources={"device": "cpu"})
        last = make_job(session, ada, resources={"device": "cpu"})
        on_gpu = make_job(session, ada, resources={"device": "cuda"})

        found = places(session)

    assert running.id not in found
    said = {job_id: (place.reason, place.why) for job_id, place in found.items()}
    assert said == {
        of_bob.id: (WaitReason.NO_FREE_SLOT, "next in line: the only cpu slot is in use"),
        of_ada.id: (WaitReason.BEHIND, "behind 1 job of bob"),
        last.id: (WaitReason.BEHIND, "behind 2 jobs: 1 of ada, 1 of bob"),
        on_gpu.id: (WaitReason.STARTING, "next in line: a slot is free"),
    }


def test_slots_are_free_for_jobs_unless_their_device_is_reserved(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2, cuda=1)
        make_job(session, resources={"device": "cpu"})
        assert acquire_job(session) is not None
        # Nothing tells when the one that has just begun will end.
        free = read_free(session, unknown=7.0)
        assert {kind: sorted(seconds) for kind, seconds in free.items()} == {
            "cpu": [0.0, 7.0], "cuda": [0.0],
        }  # fmt: skip
        ada = make_user(session, "ada")
        reservations.reserve(session, ada, "alpha", ("cpu", 0), 3600, "new memory")
        assert read_free(session, unknown=7.0) == {"cuda": [0.0]}


def test_a_job_that_wants_a_device_for_itself_says_so(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        make_job(session)
        acquire_job(session)
        alone = make_job(session, resources={"exclusive": True, "device": "cpu"})
        place = places(session)[alone.id]

    assert (place.reason, place.why, place.starts_in) == (
        WaitReason.NO_FREE_SLOT,
        "next in line: it needs a cpu device with no other job beside it",
        None,
    )


def test_a_job_for_which_no_gpu_has_memory_says_how_much_it_needs_and_what_is_free(
    sessions: Sessions,
) -> None:
    total, resources = 24 * 10**9, {"device": "cuda"}
    with sessions.begin() as session:
        leases.register_worker(session, "alpha", 1, [("cuda", 0, "a GPU", 4)], memory={0: total})
        gpu_memory.report(session, "alpha", [GpuMemory(0, total, 3 * 10**9, 0)])
        measured = make_job(session, resources=resources)
        assert acquire_job(session) is not None
        commands.finish(session, measured.id, 1, reason="completed", memory_bytes=12 * 10**9)
        make_job(session, resources=resources)
        assert acquire_job(session) is not None
        second = make_job(session, resources=resources)
        unknown = make_job(session, model={"name": "mlp", "hidden": [9]}, resources=resources)
        found = places(session)

    free = "alpha cuda:0 has 8.6 GB of 24.0 GB (3.0 GB used by others)"
    alone = "it runs alone, so that what it takes of a GPU is measured, and no GPU is idle"
    assert {
        job_id: (place.reason, place.why, place.starts_in) for job_id, place in found.items()
    } == {
        second.id: (WaitReason.NO_MEMORY, f"no GPU has 12.4 GB free: {free}", None),
        unknown.id: (WaitReason.NO_MEMORY, f"{alone}: {free}", None),
    }


SHORTAGE = Shortage("/tmp", 1, 2, "only 1 byte is free")


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (WaitReason.NO_WORKER, "no worker is running"),
        (WaitReason.DRAINING, "alpha is being stopped"),
        (WaitReason.NO_SPACE, "alpha takes no jobs: only 1 byte is free"),
        (WaitReason.DATASET, "its dataset is not ready"),
        (
            WaitReason.LIMIT,
            "limit running: ada may have no running jobs; this job waits until an admin raises the limit",
        ),
    ],
)
def test_what_keeps_a_job_from_starting_is_its_reason(
    sessions: Sessions, reason: WaitReason, why: str
) -> None:
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        dataset = make_dataset(session, ready=False) if reason is WaitReason.DATASET else None
        job = make_job(session, ada, dataset=dataset)
        if reason is not WaitReason.NO_WORKER:
            make_worker(session)
        match reason:
            case WaitReason.DRAINING:
                leases.set_draining(session, "alpha")
            case WaitReason.NO_SPACE:
                host_health.report(session, "alpha", SHORTAGE, 0.0)
            case WaitReason.LIMIT:
                limits.change(session, ada, {"running": 0})

        place = places(session)[job.id]

    assert (place.reason, place.why, place.starts_in) == (reason, why, None)


def test_after_the_day_s_device_time_jobs_start_at_midnight(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        ada = make_user(session, "ada")
        limits.change(session, ada, {"device_seconds_per_day": 0.0})
        job = make_job(session, ada)
        line = read_line(session)
    [place] = line.places
    assert (place.waiting.job.id, place.reason) == (job.id, WaitReason.LIMIT)
    assert place.starts_in is not None
    assert (line.at + timedelta(seconds=place.starts_in)).timestamp() % 86400 == pytest.approx(0)


def test_jobs_of_a_study_start_as_its_running_job_tells(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_study(session, cells=make_cells(seeds=(0,), variants=("none", "batch", "layer")))
        run_half(session, seconds=60.0)
        starts = [place.starts_in for place in read_line(session).places]
    # The first half took a minute: two of them on the only slot, one after the other.
    assert starts == [pytest.approx(60, abs=30), pytest.approx(180, abs=60)]


def test_the_error_of_the_first_estimate_is_known_once_the_job_has_started(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_study(session, cells=make_cells(seeds=(0,), variants=("none", "batch")))
        running = run_half(session, seconds=60.0)
        [waiting] = read_line(session).places
        new = start_estimates.missing(session)
        assert list(new) == [waiting.waiting.job.id]
        now = session.scalars(select(func.clock_timestamp())).one()
        start_estimates.record(session, now - timedelta(seconds=100), {new[0]: 40.0})
        start_estimates.record(session, now, {new[0]: 7.0})
        assert start_estimates.missing(session) == []
        assert start_estimates.read_error(session) is None

        commands.finish(session, running, 1, reason="completed")
        assert acquire_job(session) is not None
        error = start_estimates.read_error(session)
        assert error is not None
        assert error.count == 1
        assert error.median_seconds == pytest.approx(60, abs=20)
        assert error.median_wait_seconds == pytest.approx(100, abs=20)

        start_estimates.forget(session, timedelta(0))
        assert session.scalars(select(StartEstimate.job_id)).all() == []


def test_estimates_of_however_many_jobs_are_recorded(sessions: Sessions, engine: Engine) -> None:
    with sessions.begin() as session:
        starts = {make_job(session).id: seconds for seconds in (None, 40.0)}
        now = session.scalars(select(func.clock_timestamp())).one()
        with counting_statements(engine) as statements:
            start_estimates.record(session, now, starts)
        # One statement takes no more than 65,535 parameters: each row is given its own.
        assert statements[-1].count("expected_at)s") == 1
        assert session.scalars(select(func.count()).select_from(StartEstimate)).one() == 2


def run_half(session: Session, *, seconds: float) -> int:
    """The next job starts, and has done half of its steps in so many seconds."""
    assignment = acquire_job(session)
    assert assignment is not None
    job, attempt = assignment.job_id, assignment.attempt
    commands.record_start(session, job, attempt, Started(0, 0, 100, 10))
    commands.record_step(session, job, attempt, 50)
    began = func.clock_timestamp() - timedelta(seconds=seconds)
    session.execute(update(Attempt).where(Attempt.job_id == job).values(started_at=began))
    return job
