"""Datasets and the jobs that decode them."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from store.catalog import datasets
from store.db.errors import NameTaken
from store.db.models import Dataset, Job
from store.jobs import commands
from store.results import result_rows
from tests.support.factories import (
    acquire_job,
    find_digits,
    make_dataset,
    make_info,
    make_job,
    make_spec,
    make_user,
    make_worker,
)
from trainer.spec.builtin import BUILT_IN
from trainer.spec.dataset import Parquet
from trainer.spec.job import content_hash

Sessions = sessionmaker[Session]
SOURCE = Parquet(kind="parquet", path="/data/cats")


def test_the_built_in_ones_are_ready_and_seeded_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        datasets.seed_built_in(session)

        digits = find_digits(session)
        assert len(datasets.list_datasets(session).items) == len(BUILT_IN)
        assert datasets.registrations(session, [digits]) == {}
    assert (digits.status, digits.source) == ("ready", {"kind": "builtin"})
    assert digits.info == BUILT_IN["digits"].model_dump(mode="json")


def test_a_registration_is_a_job_that_makes_the_dataset_ready(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        ada = make_user(session, "ada")
        dataset, job = datasets.register(session, ada, "cats", SOURCE)
        assert (dataset.status, job.kind, job.status) == ("registering", "dataset", "queued")
        assert datasets.registrations(session, [dataset]) == {dataset.id: job}

        assignment = acquire_job(session)
        assert assignment is not None
        assert assignment.dataset_id == dataset.id
        datasets.mark_ready(session, assignment.dataset_id, make_info("cats"))
        commands.finish(session, assignment.job_id, assignment.attempt, reason="completed")

    with sessions.begin() as session:
        found = datasets.find(session, "cats")
    assert found is not None
    assert (found.status, found.info) == ("ready", make_info("cats").model_dump(mode="json"))


def test_a_name_is_taken_while_it_is_not_failed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada, bob = make_user(session), make_user(session)
        dataset, job = datasets.register(session, ada, "cats", SOURCE)
        with pytest.raises(NameTaken, match="cats"):
            datasets.register(session, bob, "cats", SOURCE)
        with pytest.raises(NameTaken):
            datasets.register(session, bob, "digits", SOURCE)

        commands.request_action(session, job, "cancel", "ada")
        other = Parquet(kind="parquet", path="/data/other")
        again, new = datasets.register(session, bob, "cats", other)

    assert again.id == dataset.id
    assert (again.status, again.error, again.owner_id) == ("registering", None, bob.id)
    assert again.source["path"] == "/data/other"
    assert new.id != job.id


def test_a_registration_that_fails_takes_the_jobs_that_wait_for_it_along(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        dataset = make_dataset(session, "cats", ready=False)
        queued, paused = make_job(session, dataset=dataset), make_job(session, dataset=dataset)
        commands.request_action(session, paused, "pause", "ada")
        unconcerned = make_job(session)
        assignment = acquire_job(session)
        assert assignment is not None
        commands.fail(session, assignment.job_id, 1, "error", "no such folder")

        found = session.get_one(Dataset, dataset.id, populate_existing=True)
        last = result_rows.transitions(session, queued.id)[-1]

    assert (found.status, found.error) == ("failed", "no such folder")
    for job in (queued, paused):
        assert (job.status, job.reason) == ("failed", "error")
        assert job.error == "dataset cats could not be registered: no such folder"
    assert last.who == "system"
    assert unconcerned.status == "queued"


def test_a_cancelled_registration_fails_the_dataset_and_its_retry_revives_it(
    sessions: Sessions,
) -> None:
    with sessions.begin() as session:
        _, job = datasets.register(session, make_user(session), "cats", SOURCE)
        commands.request_action(session, job, "cancel", "ada")
        found = datasets.find(session, "cats")
        assert found is not None
        session.refresh(found)
        assert (found.status, found.error) == ("failed", "its registration was cancelled")

        commands.retry(session, job, "ada")
        assert (found.status, found.error, job.status) == ("registering", None, "queued")


TRACEBACK = """\
Traceback (most recent call last):
  File "trainer/decode.py", line 52, in decode
    shape = yield from _write(temporary, part)
            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
pyarrow.lib.ArrowInvalid: the footer is damaged
in two places"""
STALL = """\
Nothing moved for too long. It was here:
  File "trainer/decode.py", line 52, in decode
    content = file.read()"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TRACEBACK, "pyarrow.lib.ArrowInvalid: the footer is damaged\nin two places"),
        (STALL, "Nothing moved for too long."),
        (
            "train/cat/1.png is no image:\n  it is empty",
            "train/cat/1.png is no image:\n  it is empty",
        ),
    ],
)
def test_a_dataset_says_why_it_failed_in_words_and_its_job_keeps_the_stack(
    sessions: Sessions, error: str, said: str
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        dataset = make_dataset(session, "cats", ready=False)
        waiting = make_job(session, dataset=dataset)
        assignment = acquire_job(session)
        assert assignment is not None
        commands.fail(session, assignment.job_id, 1, "error", error)
        found = session.get_one(Dataset, dataset.id, populate_existing=True)
        job = session.get_one(Job, assignment.job_id)
    assert (found.error, job.error) == (said, error)
    assert waiting.error == f"dataset cats could not be registered: {said}"


def test_a_cancelled_second_try_is_not_blamed_on_the_first(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        dataset = make_dataset(session, "cats", ready=False)
        assignment = acquire_job(session)
        assert assignment is not None
        job = commands.fail(session, assignment.job_id, 1, "error", "no such folder")
        commands.retry(session, job, "ada")
        commands.request_action(session, job, "cancel", "ada")
        found = session.get_one(Dataset, dataset.id, populate_existing=True)
    assert (found.status, found.error) == ("failed", "its registration was cancelled")


def test_a_job_made_before_its_dataset_was_ready_gets_its_hash(sessions: Sessions) -> None:
    with sessions.begin() as session:
        dataset = make_dataset(session, "cats", ready=False)
        job = make_job(session, dataset=dataset)
        assert job.hash == ""
        datasets.mark_ready(session, dataset.id, make_info("cats"))

    with sessions.begin() as session:
        found = session.get_one(Job, job.id)
    spec = make_spec(dataset={"name": "cats"})
    assert found.hash == content_hash(spec, make_info("cats").digest)
