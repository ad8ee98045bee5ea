"""Jobs that share a GPU: measured alone, booked by what they took, beside what others use."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Attempt, Footprint, Job, Lease, Transition
from store.hosts import PATIENCE_SECONDS, GpuMemory, footprints, gpu_memory, host_views
from store.jobs import commands, leases, order, queue
from store.jobs.acquire import Assignment
from store.jobs.preemption import preempt
from store.jobs.wakeups import due
from tests.support.factories import acquire_job, make_job, make_user, set_job

Sessions = sessionmaker[Session]
GB = 10**9
TOTAL = 24 * GB


def make_gpus(session: Session, *, gpus: int = 1, slots: int = 4, foreign: int = 0) -> None:
    devices = [("cuda", number, "a GPU", slots) for number in range(gpus)]
    leases.register_worker(session, "alpha", 100, devices, memory=dict.fromkeys(range(gpus), TOTAL))
    tell(session, *[foreign] * gpus)


def tell(session: Session, *foreign: int) -> None:
    """What others use of each GPU."""
    gpus = [GpuMemory(number, TOTAL, used, 0) for number, used in enumerate(foreign)]
    gpu_memory.report(session, "alpha", gpus)


def submit(session: Session, width: int, **resources: Any) -> Job:
    """Jobs of one width have one shape."""
    model = {"name": "mlp", "hidden": [width]}
    owner = make_user(session, role="admin")
    return make_job(session, owner, model=model, resources={"device": "cuda", **resources})


def measure(session: Session, width: int, peak: int) -> None:
    """A job of this width has run, and took so much."""
    submit(session, width)
    end(session, acquire_job(session), peak)


def end(session: Session, job: Assignment | None, peak: int) -> None:
    assert job is not None
    commands.finish(session, job.job_id, job.attempt, reason="completed", memory_bytes=peak)


def acquired(session: Session, **options: Any) -> tuple[int, int | None] | None:
    """Of the next job: its GPU, and what it has booked."""
    job = acquire_job(session, **options)
    return job and (job.devices[0].number, job.devices[0].booked_bytes)


def test_the_first_job_of_a_shape_has_a_gpu_for_itself_and_the_next_share_one(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        first, *_ = [submit(session, 8) for _ in range(6)]
        probe = acquire_job(session)
        assert probe is not None
        assert (probe.job_id, probe.devices[0].booked_bytes) == (first.id, None)
        # Nothing else starts beside it, and nobody is woken for it.
        assert acquire_job(session) is None
        assert due(session) == {}
        end(session, probe, 10 * GB)
        booked = footprints.with_headroom(10 * GB)
        assert [acquired(session) for _ in range(3)] == [(0, booked), (0, booked), None]
        started = select(Transition.why).where(Transition.to_status == "running")
        whys = session.scalars(started.order_by(Transition.id))
        assert whys.all() == ["attempt 1 on cuda 0 alone", *["attempt 1 on cuda 0"] * 2]


def test_a_job_of_an_unknown_shape_waits_for_an_idle_gpu(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_gpus(session, gpus=2)
        measure(session, 8, 2 * GB)
        for width in (8, 16, 24, 8):
            submit(session, width)
        booked = footprints.with_headroom(2 * GB)
        assert [acquired(session) for _ in range(4)] == [(0, booked), (1, None), (0, booked), None]


@pytest.mark.parametrize("peak", [1 * GB, 12 * GB])
def test_a_booking_has_the_same_headroom_in_sql(sessions: Sessions, peak: int) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, peak)
        submit(session, 8)
        assert acquired(session) == (0, footprints.with_headroom(peak))
        assert session.scalars(select(Lease.booked_bytes)).all() == [footprints.with_headroom(peak)]


def test_the_highest_peak_of_a_shape_is_kept(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        for peak in (2 * GB, 3 * GB, 1 * GB):
            measure(session, 8, peak)
        assert session.scalars(select(Footprint.memory_bytes)).all() == [3 * GB]


def test_a_host_is_woken_for_what_fits_into_the_memory_of_its_gpus(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 6 * GB)
        measure(session, 16, 20 * GB)
        submit(session, 8)
        assert acquired(session) is not None
        large, *_ = [submit(session, width) for width in (16, 8, 8, 8)]
        # Each of the three would fit.
        assert due(session) == {"alpha": 3}
        tell(session, 15 * GB)
        assert due(session) == {}
        waited = func.now() - timedelta(seconds=PATIENCE_SECONDS + 1)
        set_job(session, large.id, queued_at=waited)
        assert due(session) == {}
        tell(session, 0)
        assert due(session) == {"alpha": 3}


def test_what_others_use_is_left_to_them(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 6 * GB)
        for _ in range(3):
            submit(session, 8)
        tell(session, 11 * GB)
        assert acquired(session) is not None
        assert acquired(session) is not None
        assert acquired(session) is None
        tell(session, 0)
        assert acquired(session) is not None
        # More than half of it is theirs: nothing is measured beside them.
        make_gpus(session, gpus=2, foreign=13 * GB)
        submit(session, 16)
        assert acquired(session) is None


def test_nothing_starts_on_a_gpu_until_its_host_has_said_what_others_use(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        leases.register_worker(session, "alpha", 100, [("cuda", 0, "a GPU", 4)], memory={0: TOTAL})
        submit(session, 8)
        assert acquired(session) is None
        tell(session, 0)
        assert acquired(session) == (0, None)


def test_where_processes_cannot_be_told_apart_others_use_what_jobs_do_not(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 5 * GB)
        submit(session, 8)
        job = acquire_job(session)
        assert job is not None
        commands.renew(session, job.job_id, job.attempt, 60.0, 1.0, used_bytes=4 * GB)
        gpu_memory.report(session, "alpha", [GpuMemory(0, TOTAL, 7 * GB, None)])
        [view] = host_views.devices_view(session)
    assert view.memory is not None
    booked = footprints.with_headroom(5 * GB)
    assert (view.memory.foreign_bytes, view.memory.booked_bytes) == (3 * GB, booked)


def test_who_runs_out_of_memory_runs_once_more_alone_and_then_fails(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 5 * GB)
        job, other = submit(session, 8), submit(session, 8)
        assert acquired(session) is not None
        beside = acquire_job(session)
        assert beside is not None
        assert beside.job_id == other.id
        commands.end_attempt(session, job.id, 1, "oom", error="out of memory")
        assert session.scalars(select(Footprint.memory_bytes)).all() == []
        # The other goes on; beside it nobody is alone.
        assert acquired(session) is None
        end(session, beside, 6 * GB)
        # What another of its shape took is known, but this one has shown that it may take more.
        assert acquired(session) == (0, None)
        commands.end_attempt(session, job.id, 2, "oom", error="out of memory again")
        session.refresh(job)
        assert (job.status, job.reason, job.error) == ("failed", "oom", "out of memory again")


def test_whom_the_kernel_killed_keeps_its_booking_and_all_of_its_attempts(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 5 * GB)
        job = submit(session, 8)
        booked = footprints.with_headroom(5 * GB)
        for number in (1, 2):
            assert acquired(session) == (0, booked)
            commands.end_attempt(session, job.id, number, "oom", by_kernel=True)
        assert acquired(session) == (0, booked)
        commands.end_attempt(session, job.id, 3, "oom", by_kernel=True)
        session.refresh(job)
        assert (job.status, job.reason) == ("failed", "oom")


def test_a_job_of_one_attempt_runs_out_of_memory_once_until_it_is_retried(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        job = submit(session, 8, max_attempts=1)
        assert acquired(session) == (0, None)
        commands.end_attempt(session, job.id, 1, "oom")
        assert (job.status, job.reason) == ("failed", "oom")
        measure(session, 8, 5 * GB)
        commands.retry(session, job, "ada")
        assert acquired(session) == (0, footprints.with_headroom(5 * GB))


def test_jobs_that_fit_pass_one_that_does_not_until_it_has_waited_for_long(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 5 * GB)
        measure(session, 16, 20 * GB)
        running = submit(session, 8)
        assert acquired(session) is not None
        large, small, last = submit(session, 16), submit(session, 8), submit(session, 8)
        passing = acquire_job(session)
        assert passing is not None
        assert passing.job_id == small.id
        waited = func.now() - timedelta(seconds=PATIENCE_SECONDS + 1)
        set_job(session, large.id, queued_at=waited)
        assert acquire_job(session) is None
        commands.finish(session, running.id, 1, reason="completed")
        assert acquire_job(session) is None
        commands.finish(session, small.id, 1, reason="completed")
        started = acquire_job(session)
        assert started is not None
        assert started.job_id == large.id
        session.refresh(last)
        assert last.status == "queued"


def test_a_job_larger_than_what_others_leave_keeps_nothing_free(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 5 * GB)
        measure(session, 16, 20 * GB)
        tell(session, 10 * GB)
        large, small = submit(session, 16), submit(session, 8)
        set_job(session, large.id, queued_at=func.now() - timedelta(seconds=PATIENCE_SECONDS + 1))
        started = acquire_job(session)
        assert started is not None
        assert started.job_id == small.id


@pytest.mark.parametrize("resources", [{"exclusive": True}, {"devices": 2}])
def test_a_job_that_wants_whole_gpus_gets_idle_ones(
    sessions: Sessions, resources: Mapping[str, Any]
) -> None:
    with sessions.begin() as session:
        make_gpus(session, gpus=2)
        measure(session, 8, 2 * GB)
        beside = submit(session, 8)
        assert acquired(session) == (0, footprints.with_headroom(2 * GB))
        wide = submit(session, 8, **resources)
        if "devices" in resources:
            assert acquired(session) is None
            commands.finish(session, beside.id, 1, reason="completed")
        assert acquired(session) == (1 if "exclusive" in resources else 0, None)
        held = session.scalars(select(Lease.booked_bytes).where(Lease.job_id == wide.id)).all()
        assert held == [None] * 4 * wide.devices
        attempt = session.get_one(Attempt, (wide.id, 1))
        assert attempt.slots == len(held)


def test_a_process_that_holds_memory_of_a_gpu_acquires_for_no_other(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_gpus(session, gpus=2)
        submit(session, 8)
        submit(session, 16)
        assert acquired(session, warm=("cuda", 1), only_warm=True) == (1, None)
        assert acquired(session, warm=("cuda", 1), only_warm=True) is None
        assert acquired(session) == (0, None)


def test_a_waiting_job_of_a_higher_class_gets_the_memory_of_the_newest_of_a_lower(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 10 * GB)
        for _ in range(2):
            low = submit(session, 8, priority="low")
            assert acquired(session) is not None
        high = submit(session, 8, priority="high")
        assert acquired(session) is None
        assert preempt(session, protected_seconds=0.0) == [low.id]
        # The room that it will leave is enough.
        assert preempt(session, protected_seconds=0.0) == []
        commands.end_attempt(session, low.id, 1, "preempted")
        started = acquire_job(session)
        assert started is not None
        assert started.job_id == high.id


def test_a_job_that_fits_is_found_behind_any_number_of_those_that_do_not(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 5 * GB)
        measure(session, 16, 23 * GB)
        owner, resources = make_user(session), {"device": "cuda"}
        submit(session, 8)
        assert acquired(session) is not None
        large = {"name": "mlp", "hidden": [16]}
        for is_exclusive in [True] * 12 + [False] * 12:
            one = {**resources, "exclusive": is_exclusive}
            make_job(session, owner, model=large, resources=one)
        assert acquired(session) is None
        behind = make_job(session, owner, model={"name": "mlp", "hidden": [8]}, resources=resources)
        started = acquire_job(session)
        assert started is not None
        assert started.job_id == behind.id


def test_of_very_many_shapes_the_first_are_looked_at_and_that_of_the_oldest_job(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "MOST_SHAPES", 2)
    queue._fairest.cache_clear()
    with sessions.begin() as session:
        make_gpus(session)
        measure(session, 8, 5 * GB)
        submit(session, 8)
        assert acquired(session) is not None
        owner, resources = make_user(session), {"device": "cuda"}
        model = {"name": "mlp", "hidden": [8]}
        booked = session.scalars(select(Footprint.shape)).one()
        # Nothing is known of the first two, which may not share the GPU; the last is not looked at.
        for shape in ("", "0", booked):
            last = make_job(session, owner, model=model, resources=resources)
            set_job(session, last.id, shape=shape)
        assert acquired(session) is None
        set_job(session, last.id, queued_at=func.now() - timedelta(seconds=10))
        started = acquire_job(session)
        assert started is not None
        assert started.job_id == last.id
    queue._fairest.cache_clear()
