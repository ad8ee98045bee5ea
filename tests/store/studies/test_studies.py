"""Studies and the status that follows from their jobs."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from store.db.errors import DatasetUnavailable, MixedDevices, NotFound, Overtaken
from store.db.models import Dataset, Job, Study
from store.jobs import commands
from store.results import result_rows
from store.studies import studies, tallies
from tests.support.factories import (
    acquire_job,
    cancel_registration,
    make_cells,
    make_dataset,
    make_study,
    make_user,
    make_worker,
)

Sessions = sessionmaker[Session]


def test_a_study_has_a_job_for_each_cell(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = make_user(session, "ada")
        made = studies.create(
            session, owner, {"name": "norms"}, "digits", "norms", make_cells(), ["careful"]
        )

    with sessions.begin() as session:
        study = studies.find(session, made.id)
        assert study is not None
        cells = studies.jobs_of(session, study.id)

    assert (study.owner.name, study.project.name, study.name) == ("ada", "digits", "norms")
    assert (study.spec, study.warnings, study.numerics) == ({"name": "norms"}, ["careful"], None)
    assert [(job.variant, job.seed, job.name) for job in cells] == [
        ("none", 0, "none | seed 0"),
        ("none", 1, "none | seed 1"),
        ("batch", 0, "batch | seed 0"),
        ("batch", 1, "batch | seed 1"),
    ]
    assert {job.project.name for job in cells if job.project} == {"digits"}


def test_cells_may_be_on_different_datasets(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_dataset(session, "cats")
        cells = [
            *make_cells(("none",)),
            *make_cells(("batch",), dataset={"name": "cats"}),
        ]
        study = make_study(session, cells=cells)
        names = session.scalars(
            select(Dataset.name)
            .join(Job, Job.dataset_id == Dataset.id)
            .where(Job.study_id == study.id)
            .order_by(Job.id)
        ).all()

    assert names == ["digits", "digits", "cats", "cats"]


def test_an_unregistered_dataset_is_refused_and_nothing_is_stored(sessions: Sessions) -> None:
    with (
        pytest.raises(DatasetUnavailable, match="not registered: dogs"),
        sessions.begin() as session,
    ):
        make_study(session, cells=make_cells(dataset={"name": "dogs"}))

    with sessions.begin() as session:
        assert session.scalars(select(Study)).all() == []


def test_what_one_cell_asks_of_the_device_holds_for_all(sessions: Sessions) -> None:
    with sessions.begin() as session:
        gpu = {"device": "cuda"}
        cells = [*make_cells(("none",)), *make_cells(("batch",), resources=gpu)]
        study = make_study(session, cells=cells)
        assert {job.device for job in studies.jobs_of(session, study.id)} == {"cuda"}

        cells = [*cells, *make_cells(("layer",), resources={"device": "cpu"})]
        with pytest.raises(MixedDevices):
            make_study(session, cells=cells)


def test_a_study_grows_by_the_cells_that_it_lacks(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = make_study(session)
        more = make_cells(seeds=(0, 1, 2))
        new = studies.add_jobs(session, study, more, "bob", {"seeds": 3})

        assert [(job.variant, job.seed) for job in new] == [("none", 2), ("batch", 2)]
        assert studies.add_jobs(session, study, more, "bob") == []
        assert result_rows.transitions(session, new[0].id)[0].who == "bob"
        found = studies.find(session, study.id)

    assert found is not None
    assert found.spec == {"seeds": 3}
    assert found.planned_seeds == [0, 1]
    assert new[0].owner_id == study.owner_id


def test_of_two_that_grow_a_study_at_once_the_second_is_told(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = make_study(session, make_user(session))
    # Both saw it as it was at first.
    with sessions.begin() as session:
        studies.add_jobs(session, study, (), "ada", {**study.spec, "seeds": 3})
    with sessions.begin() as session, pytest.raises(Overtaken):
        studies.add_jobs(session, study, (), "bob", {**study.spec, "seeds": 4})
    with sessions.begin() as session:
        assert session.get_one(Study, study.id).spec["seeds"] == 3


def test_new_cells_keep_to_the_studys_device(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = make_study(session, cells=make_cells(resources={"device": "cpu"}))
        new = studies.add_jobs(session, study, make_cells(seeds=(5,)), "ada")
        assert {job.device for job in new} == {"cpu"}

        on_gpu = make_cells(seeds=(6,), resources={"device": "cuda"})
        with pytest.raises(MixedDevices):
            studies.add_jobs(session, study, on_gpu, "ada")


def test_an_unknown_study_is_not_found(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert studies.find(session, 10**9) is None
        with pytest.raises(NotFound):
            studies.add_jobs(session, Study(id=10**9), [], "ada")


def test_a_growing_study_waits_for_a_failed_dataset_no_more(sessions: Sessions) -> None:
    with sessions.begin() as session:
        dataset = make_dataset(session, "cats", ready=False)
        study = make_study(session, cells=make_cells(dataset={"name": "cats"}))
        cancel_registration(session, dataset)

        with pytest.raises(DatasetUnavailable):
            studies.add_jobs(session, study, make_cells(("layer",), dataset={"name": "cats"}), "a")


def test_studies_are_listed_newest_first(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ada = make_user(session, "ada")
        ids = [make_study(session, ada).id for _ in range(3)]
        make_study(session)

        first = studies.list_studies(session, owner="ada", project="default", limit=2)
        second = studies.list_studies(session, owner="ada", cursor=first.next_cursor, limit=2)
        assert studies.list_studies(session, project="other").items == []

    assert [study.id for study in (*first.items, *second.items)] == ids[::-1]
    assert second.next_cursor is None


def test_jobs_are_counted_by_status(sessions: Sessions) -> None:
    with sessions.begin() as session:
        make_worker(session)
        study, empty = make_study(session), make_study(session, cells=[])
        assignment = acquire_job(session)
        assert assignment is not None
        commands.request_action(session, studies.jobs_of(session, study.id)[-1], "cancel", "ada")

        tallied = tallies.count_jobs(session, [study.id, empty.id])

    assert tallied[study.id].counts == {
        "queued": 2, "running": 1, "paused": 0, "succeeded": 0, "failed": 0, "cancelled": 1,
    }  # fmt: skip
    assert set(tallied[empty.id].counts.values()) == {0}


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"queued": 3}, "queued"),
        ({"queued": 3, "paused": 1}, "queued"),
        ({"queued": 3, "running": 1}, "running"),
        ({"queued": 3, "succeeded": 1}, "running"),
        ({"running": 1, "paused": 3, "failed": 1}, "running"),
        ({"paused": 2}, "paused"),
        ({"paused": 2, "succeeded": 2}, "paused"),
        ({"succeeded": 4}, "succeeded"),
        ({"cancelled": 4}, "cancelled"),
        ({"succeeded": 3, "cancelled": 1}, "partial"),
        ({"succeeded": 3, "failed": 1}, "partial"),
        ({"failed": 4}, "partial"),
    ],
)
def test_the_status_follows_from_the_jobs(counts: dict[str, int], status: Any) -> None:
    assert tallies.status_of(counts) == status
