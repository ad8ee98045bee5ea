"""Who wants to be told of an end is told, once, and nobody else."""

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks.webhooks import Webhook as Judge

from store.access import members
from store.accounts import users
from store.db import lifecycle
from store.db.models import Delivery, EndedJob, Project, Study, User, Webhook
from store.jobs import commands
from store.studies import studies, verdicts
from tests.support.factories import (
    make_dataset,
    make_job,
    make_study,
    make_user,
)
from tests.support.receiver import Receiver
from tests.support.statements import counting_statements
from tests.support.webhooks import bodies, count, fail, register, submit, train
from worker.sweep.notifier import Notifier, queue_messages

Sessions = sessionmaker[Session]


def test_whom_a_study_concerns_is_told_once_when_it_has_ended(
    sessions: Sessions,
    own: Sessions,
    notifier: Notifier,
    receiver: Receiver,
) -> None:
    with sessions.begin() as session:
        ada, bob, eve = (make_user(session, name) for name in ("ada", "bob", "eve"))
        study = submit(session, ada)
        other = make_study(session, eve)
        project = session.scalars(select(Project).where(Project.name == "digits")).one()
        concerned = [
            register(session, ada, f"{receiver.url}/ada"),
            register(session, bob, f"{receiver.url}/study", study_id=study.id),
            register(session, bob, f"{receiver.url}/project", project_id=project.id),
        ]
        register(session, bob, f"{receiver.url}/bob")
        register(session, ada, f"{receiver.url}/other", study_id=other.id)
        for job in studies.jobs_of(session, other.id):
            commands.request_action(session, job, "pause", "eve")
    notifier.run()
    assert receiver.seen == []

    train(sessions)
    notifier.run()
    notifier.run()

    assert sorted(path for path, *_ in receiver.seen) == [
        "/hook/ada", "/hook/project", "/hook/study",
    ]  # fmt: skip
    for path, headers, body in receiver.seen:
        secret = dict(zip(("/hook/ada", "/hook/study", "/hook/project"), concerned, strict=True))
        said = Judge(secret[path][1]).verify(body, headers)
        assert said["type"] == "study.ended"
        assert said["data"] == {
            "study": study.id,
            "name": "norms",
            "project": "digits",
            "owner": "ada",
            "status": "succeeded",
            "jobs": {"succeeded": 4},
            "verdict": "No verdict with 2 seeds: from 8 on there is one. On validation, none is best so far.",
            "claims": [],
            "url": f"http://normlab.example/studies/{study.id}",
        }
    assert len({headers["webhook-id"] for _, headers, _ in receiver.seen}) == 3


def test_of_two_jobs_that_end_at_once_the_later_is_their_study_s_end(
    sessions: Sessions, own: Sessions
) -> None:
    with sessions.begin() as session:
        ada = make_user(session)
        register(session, ada, "https://hooks.example")
        first, second = studies.jobs_of(session, submit(session, ada, seeds=1).id)
    with sessions.begin() as unfinished:
        commands.request_action(unfinished, lifecycle.lock(unfinished, first.id), "cancel", "ada")
        with sessions.begin() as session:
            commands.request_action(session, lifecycle.lock(session, second.id), "cancel", "ada")
        queue_messages(own, None)
        assert (count(sessions, Delivery), count(sessions, EndedJob)) == (0, 0)
    queue_messages(own, None)
    assert (count(sessions, Delivery), count(sessions, EndedJob)) == (1, 0)


def test_a_dataset_that_could_not_be_registered_is_told_to_its_person_alone(
    sessions: Sessions, own: Sessions
) -> None:
    with sessions.begin() as session:
        for _ in range(2):
            dataset = make_dataset(session, ready=False)
            assert dataset.owner_id is not None
            register(session, session.get_one(User, dataset.owner_id), "https://hooks.example")
        fail(session, "not a dataset")
    queue_messages(own, None)
    assert count(sessions, Delivery) == 1


def test_a_study_of_reused_cells_ends_when_it_is_submitted(
    sessions: Sessions,
    notifier: Notifier,
    receiver: Receiver,
) -> None:
    with sessions.begin() as session:
        ada = make_user(session)
        submit(session, ada)
    train(sessions)
    with sessions.begin() as session:
        register(session, session.get_one(User, ada.id), receiver.url)
        again = submit(session, ada, reuse=True)
    notifier.run()
    [said] = bodies(receiver)
    assert (said["data"]["study"], said["data"]["status"]) == (again.id, "succeeded")


def test_a_study_with_claims_is_told_once_they_are_judged(
    sessions: Sessions,
    notifier: Notifier,
    receiver: Receiver,
) -> None:
    claim = {
        "name": "better",
        "says": "group is better",
        "left": {"kind": "metric", "metric": "test_accuracy", "variant": "group"},
        "relation": "greater",
        "right": {"kind": "metric", "metric": "test_accuracy", "variant": "none"},
    }
    with sessions.begin() as session:
        ada = make_user(session)
        register(session, ada, receiver.url)
        study = submit(session, ada)
        session.execute(
            update(Study).where(Study.id == study.id).values(spec={**study.spec, "claims": [claim]})
        )
    train(sessions)
    notifier.run()
    assert receiver.seen == []

    with sessions.begin() as session:
        now = session.scalars(select(func.clock_timestamp())).one()
        row = studies.find(session, study.id)
        assert row is not None
        kept = verdicts.Kept("better", "holds", 2, None, None, "It is.", {})
        assert verdicts.keep(session, row, now, [kept], [])
    notifier.run()
    [said] = bodies(receiver)
    assert said["data"]["claims"] == [{"name": "better", "verdict": "holds", "sentence": "It is."}]


def test_a_chat_gets_a_text_in_which_nobody_is_mentioned(
    sessions: Sessions,
    notifier: Notifier,
    receiver: Receiver,
) -> None:
    with sessions.begin() as session:
        ada = make_user(session)
        register(session, ada, receiver.url, format="slack")
        make_job(session, ada, name="<!channel>")
        job = fail(session, "no & no")
    notifier.run()
    assert bodies(receiver) == [
        {
            "text": f"*&lt;!channel&gt;* (j{job}) has failed: error.\nno &amp; no\n"
            f"http://normlab.example/jobs/{job}"
        }
    ]


@pytest.mark.parametrize("end", ["disabled", "expired"])
def test_who_may_not_read_any_more_is_told_nothing(
    sessions: Sessions,
    notifier: Notifier,
    receiver: Receiver,
    end: str,
) -> None:
    with sessions.begin() as session:
        ada = make_user(session)
        register(session, ada, receiver.url)
        make_job(session, ada)
        make_job(session, ada)
        fail(session, "one")
    queue_messages(notifier._sessions, None)
    with sessions.begin() as session:
        if end == "disabled":
            users.disable_user(session, session.get_one(User, ada.id))
        else:
            session.execute(update(Webhook).values(expires_at=func.now()))
        fail(session, "two")
    notifier.run()
    assert receiver.seen == []
    assert count(sessions, Delivery) == 1


def test_where_nobody_wants_to_be_told_nothing_is_written(
    sessions: Sessions, own: Sessions, worker_engine: Engine, notifier: Notifier
) -> None:
    with sessions.begin() as session:
        make_study(session, make_user(session))
    train(sessions)
    assert count(sessions, EndedJob) == 0
    with counting_statements(worker_engine) as statements:
        notifier.run()
    assert len(statements) == 3


def test_who_may_no_longer_read_a_project_is_told_nothing_of_it(
    sessions: Sessions, own: Sessions, notifier: Notifier, receiver: Receiver
) -> None:
    with sessions.begin() as session:
        ada, bob = (make_user(session, name) for name in ("ada", "bob"))
        study = submit(session, ada)
        for user in (ada, bob):
            register(session, user, f"{receiver.url}/{user.name}", project_id=study.project_id)
        project = session.get_one(Project, study.project_id)
        members.set_visibility(session, project, "private", ada)
    train(sessions)
    notifier.run()
    assert [path for path, *_ in receiver.seen] == ["/hook/ada"]
