"""Hosts without room on their disks: they get no jobs, others take over, and no job is tried for ever."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from store.db.models import Attempt, Job, Worker
from store.hosts import host_health, host_views
from store.hosts.host_health import Shortage
from store.jobs import commands, leases, obstacles, wakeups
from store.jobs.acquire import Assignment
from store.jobs.attempts import DISK_TRIES
from store.results import result_rows
from tests.support.factories import acquire_job, make_job, make_user, make_worker, set_job

Sessions = sessionmaker[Session]
FULL = Shortage("/data", 3_000_000, 512_000_000, "/data has 3 MB free but 512 MB are needed")
ERROR = "host alpha has no room for the job: /data has 3 MB free\n\nTraceback …"


def run_full(session: Session, host: str = "alpha") -> Assignment:
    """The host acquires a job, under which its disk runs full."""
    assignment = acquire_job(session, host)
    assert assignment is not None
    commands.end_attempt(session, assignment.job_id, assignment.attempt, "disk", error=ERROR)
    return assignment


def let_pass(session: Session, seconds: float) -> None:
    """As if it were so much later, for what a full disk has caused."""
    past = timedelta(seconds=seconds)
    session.execute(update(Worker).values(held_until=Worker.held_until - past))
    session.execute(update(Attempt).values(ended_at=Attempt.ended_at - past))


def test_a_host_without_room_is_not_woken_and_the_others_are(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=4)
        make_worker(session, "beta", cpu=1)
        for _ in range(2):
            make_job(session)
        host_health.report_shortage(session, "alpha", FULL)
        assert wakeups.due(session) == {"beta": 1}

        assert not host_health.report(session, "alpha", FULL, 0.0)
        assert host_health.report(session, "alpha", None, 0.0)
        assert not host_health.report(session, "alpha", None, 0.0)
        assert sum(wakeups.due(session).values()) == 2


def test_a_full_disk_ends_the_attempt_but_neither_the_job_nor_its_tries(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, "alpha")
        make_worker(session, "beta")
        ada = make_user(session, "ada")
        job = make_job(session, ada, resources={"max_attempts": 1})
        make_job(session, ada)
        run_full(session)
        attempt = result_rows.attempts(session, job.id)[0]
        last = result_rows.transitions(session, job.id)[-1]
        assert (job.status, attempt.end, attempt.counts, attempt.error) == (
            "queued", "disk", False, ERROR,
        )  # fmt: skip
        assert last.why == f"attempt 1 disk: {ERROR.splitlines()[0]}"
        # Others first: the host is held, and its neighbour takes what stands at the head of the line.
        assert acquire_job(session, "alpha") is None
        assert wakeups.due(session) == {"beta": 1}
        again = acquire_job(session, "beta")
    assert again is not None
    assert (again.job_id, again.attempt) == (job.id, 2)


def test_a_host_goes_on_with_other_jobs_before_it_tries_that_one_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        ada = make_user(session, "ada")
        large, small = make_job(session, ada), make_job(session, ada)
        run_full(session)
        let_pass(session, host_health.FIRST_HOLD_SECONDS)
        assignment = acquire_job(session)
        assert assignment is not None
        assert assignment.job_id == small.id
        commands.finish(session, small.id, 1, reason="completed")
        assert acquire_job(session) is None
        let_pass(session, 60.0)
        assert run_full(session).job_id == large.id
        # Twice as long the second time.
        let_pass(session, 90.0)
        assert acquire_job(session) is None
        let_pass(session, 30.0)
        again = acquire_job(session)
    assert again is not None
    assert (again.job_id, again.attempt) == (large.id, 3)


def test_the_hold_of_a_host_doubles_until_a_job_completes_there(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        for _ in range(4):
            make_job(session)
        held = []
        for _ in range(3):
            run_full(session)
            worker = host_views.workers_view(session)[0]
            assert worker.held_until is not None
            held.append(worker.held_until - session.scalars(func.clock_timestamp().select()).one())
            let_pass(session, 1000.0)
        seconds = [round(one.total_seconds(), -1) for one in held]
        assignment = acquire_job(session)
        assert assignment is not None
        commands.finish(session, assignment.job_id, assignment.attempt, reason="completed")
        assert session.get_one(Worker, "alpha", populate_existing=True).disk_failures == 0
    assert seconds == [30, 60, 120]


def test_a_host_that_has_room_again_takes_jobs_at_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_job(session)
        host_health.report(session, "alpha", FULL, 0.0)
        assert host_health.report(session, "alpha", None, 0.0)
        assert acquire_job(session) is not None


def test_room_that_a_failed_job_has_given_back_does_not_end_its_hosts_hold(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_job(session)
        make_job(session)
        for failures in (1, 2):
            assignment = acquire_job(session)
            assert assignment is not None
            # The parent looks while the job writes, and again after the partial file was deleted.
            host_health.report(session, "alpha", FULL, 0.0)
            commands.end_attempt(
                session, assignment.job_id, assignment.attempt, "disk", error=ERROR
            )
            assert host_health.report(session, "alpha", None, 0.0)
            assert acquire_job(session) is None
            worker = session.get_one(Worker, "alpha", populate_existing=True)
            assert worker.disk_failures == failures
            let_pass(session, host_health.FIRST_HOLD_SECONDS * failures)


def test_a_job_that_fits_nowhere_fails_with_its_reason_in_words(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        job = make_job(session)
        for _ in range(DISK_TRIES):
            assert job.status == "queued"
            run_full(session)
            let_pass(session, 3600.0)
        last = result_rows.transitions(session, job.id)[-1]
        assert (job.status, job.reason, job.error) == ("failed", "disk", ERROR)
        assert last.why.endswith("; the disk ran full under 5 attempts (the limit)")

        commands.retry(session, job, "ada")
        run_full(session)
        assert job.status == "queued"


def test_a_waiting_job_says_which_host_has_how_little_room(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session)
        assert obstacles.find_obstacle(session, job) == "no worker is running"
        make_worker(session, "alpha")
        make_worker(session, "beta")
        assert obstacles.find_obstacle(session, job) is None
        run_full(session)
        assert obstacles.find_obstacle(session, job) == f"attempt 1: {ERROR.splitlines()[0]}"
        for host in ("alpha", "beta"):
            host_health.report(session, host, FULL, 0.0)
        said = f"takes no jobs: {FULL.detail}"
        assert obstacles.find_obstacle(session, job) == (
            f"attempt 1: {ERROR.splitlines()[0]}; alpha {said}; beta {said}"
        )


def test_a_job_that_needs_a_gpu_says_what_is_wrong_with_the_hosts_that_have_one(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        job = make_job(session, resources={"device": "cuda"})
        make_worker(session, "alpha")
        assert obstacles.find_obstacle(session, job) == (
            "no worker with a device of kind cuda is running"
        )
        make_worker(session, "beta", cuda=1)
        assert obstacles.find_obstacle(session, job) is None
        host_health.report(session, "beta", FULL, 0.0)
        assert obstacles.find_obstacle(session, job) == f"beta takes no jobs: {FULL.detail}"


def test_a_job_that_needs_more_devices_than_any_host_has_says_so(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session, resources={"device": "cuda"})
        set_job(session, job.id, devices=2)
        session.refresh(job)
        for host in ("alpha", "beta"):
            make_worker(session, host, cuda=1)
        assert obstacles.find_obstacle(session, job) == (
            "no worker with 2 devices of kind cuda is running"
        )
        make_worker(session, "gamma", cuda=2)
        assert obstacles.find_obstacle(session, job) is None


def test_the_slots_of_a_cpu_count_as_devices(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = make_job(session, resources={"device": "cpu", "devices": 3})
        make_worker(session, "alpha", cpu=2, cuda=3)
        assert obstacles.find_obstacle(session, job) == (
            "no worker with 3 slots on its CPU is running"
        )
        make_worker(session, "beta", cpu=3)
        assert obstacles.find_obstacle(session, job) is None


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0.0, []),
        (4.9, []),
        (-61.0, ["its clock is 61 s behind the database's"]),
        (3600.0, ["its clock is 3600 s ahead of the database's"]),
    ],
)
def test_a_clock_that_is_off_is_said_and_keeps_no_host_from_work(
    sessions: Sessions, ahead: float, words: list[str]
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_job(session)
        host_health.report(session, "alpha", None, ahead)
        [worker] = host_views.workers_view(session)
        assert [one.split(":")[0] for one in worker.problems] == words
        assert worker.clock_ahead_seconds == ahead
        assert worker.claims
        assert wakeups.due(session) == {"alpha": 1}


def test_a_host_that_stopped_reporting_is_no_longer_counted(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(hours=1)))
        assert not host_views.workers_view(session)[0].claims
        host_health.report(session, "alpha", None, 0.0)
        assert host_views.workers_view(session)[0].claims


def test_a_report_of_a_host_that_nobody_registered_is_no_error(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert not host_health.report(session, "alpha", None, 0.0)
        assert session.query(Job).count() == 0


def test_other_libraries_than_the_services_are_said_and_keep_no_host_from_work(
    sessions: Sessions,
) -> None:
    ours = host_health.own_versions()
    with sessions.begin() as session:
        for host, version in (("alpha", f"{ours['torch']}+cu130"), ("beta", "1.0")):
            offer = {"numerics": {}, "environment": {"torch": version, "numpy": ours["numpy"]}}
            leases.register_worker(session, host, 100, [("cpu", 0, "a CPU", 1)], offers=[offer])
        same, other = host_views.workers_view(session)
        assert (same.problems, other.claims) == ([], True)
        [sentence] = other.problems
        assert f"torch 1.0 (the service has {ours['torch']})" in sentence
        assert other.versions == {"torch": "1.0", "numpy": ours["numpy"]}
