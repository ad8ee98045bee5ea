"""The line as people see it."""

from sqlalchemy.orm import Session, sessionmaker

from store.jobs import commands, queue
from tests.support.factories import acquire_job, make_dataset, make_job, make_user, make_worker

Sessions = sessionmaker[Session]


def test_the_queue_is_shown_in_the_order_of_acquisition(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session, cpu=2)
        ada, bob = make_user(session, "ada", "admin"), make_user(session, "bob")
        running = make_job(session, ada)
        acquire_job(session)
        first, second = make_job(session, ada), make_job(session, bob)
        urgent = make_job(session, ada, resources={"priority": "urgent"})

        waiting = queue.waiting(session)
        assignment = acquire_job(session)

        assert [job.id for job in queue.running(session)] == [running.id, urgent.id]
    assert [(place.position, place.job.id) for place in waiting] == [
        (1, urgent.id),
        (2, second.id),
        (3, first.id),
    ]
    assert [place.job.owner.name for place in waiting] == ["ada", "bob", "ada"]
    assert all(place.runnable and place.waiting_seconds >= 0 for place in waiting)
    assert assignment is not None
    assert assignment.job_id == urgent.id


def test_a_job_without_its_data_is_shown_as_such(sessions: Sessions) -> None:
    with sessions.begin() as session:
        dataset = make_dataset(session, ready=False)
        job = make_job(session, dataset=dataset)

        runnable = {place.job.id: place.runnable for place in queue.waiting(session)}

    assert runnable.pop(job.id) is False
    assert list(runnable.values()) == [True]


def test_a_changed_priority_changes_the_line(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        first, second = make_job(session, ada), make_job(session, ada)
        commands.prioritize(session, second, "high", "ada")
        assert [place.job.id for place in queue.waiting(session)] == [second.id, first.id]
        commands.prioritize(session, second, "low", "ada")
        assert [place.job.id for place in queue.waiting(session)] == [first.id, second.id]


def test_people_take_turns_in_the_list_as_their_jobs_will_start(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        ada, bob = make_user(session, "ada"), make_user(session, "bob")
        make_job(session, bob)
        assert acquire_job(session) is not None
        for _ in range(4):
            make_job(session, ada)
        for _ in range(2):
            make_job(session, bob)

        waiting = queue.waiting(session, 5)

        # Each counts as long as the one that runs; of two who have used as much, the older job starts.
        assert [place.job.owner.name for place in waiting] == ["ada", "ada", "bob", "ada", "bob"]
        assert queue.waiting(session)[-1].position == 6
