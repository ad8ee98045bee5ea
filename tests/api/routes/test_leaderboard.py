"""Leaderboards over REST: by validation alone, on equal terms, and nobody leads by the survivors."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from store.catalog import annotations
from store.catalog.annotations import Annotation
from store.db.models import Job, Study
from store.jobs import commands
from tests.support.factories import acquire_job, make_cells, make_study, make_worker, set_job
from trainer.events import Started

Sessions = sessionmaker[Session]
FACTS = {"chance_accuracy": 0.1}


def train(sessions: Sessions, values: dict[str, list[float | None]], **parts: Any) -> int:
    """A study with a job per value; None diverges before any checkpoint."""
    with sessions.begin() as session:
        make_worker(session)
        cells = [
            cell
            for variant, some in values.items()
            for cell in make_cells((variant,), range(len(some)), **parts)
        ]
        study = make_study(session, cells=cells)
        for value in [one for some in values.values() for one in some]:
            assignment = acquire_job(session)
            assert assignment is not None
            commands.record_start(session, assignment.job_id, 1, Started(0, 0, 9, 9, facts=FACTS))
            metrics = {"best_val_accuracy": value, "test_accuracy": 1.0 - (value or 0.0)}
            reason = "diverged" if value is None else "completed"
            commands.finish(session, assignment.job_id, 1, reason=reason, seconds_used=1.0)
            set_job(session, assignment.job_id, metrics=metrics)
        return study.id


def board(client: TestClient, **parameters: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/leaderboard", params=parameters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_specs_are_ranked_by_their_mean_on_validation(
    member: TestClient, sessions: Sessions
) -> None:
    study = train(sessions, {"none": [0.8, 0.9], "batch": [0.95, 0.85], "layer": [0.7, 0.7]})
    found = board(member)
    assert [(one["rank"], one["name"], one["n"]) for one in found] == [
        (1, "batch", 2), (2, "none", 2), (3, "layer", 2),
    ]  # fmt: skip
    assert found[0]["mean"] == pytest.approx(0.9)
    assert found[0]["interval"][0] < 0.9 < found[0]["interval"][1]
    assert found[0]["studies"] == [study]
    assert not [key for one in found for key in one if "test" in key]


def test_nobody_leads_by_the_survivors(member: TestClient, sessions: Sessions) -> None:
    train(sessions, {"none": [0.6, 0.6], "batch": [0.99, None]})
    assert [(one["name"], one["diverged"]) for one in board(member)] == [("none", 0), ("batch", 1)]
    assert board(member)[1]["mean"] == pytest.approx((0.99 + 0.1) / 2)


def test_a_job_without_a_value_has_no_rank(member: TestClient, sessions: Sessions) -> None:
    study = train(sessions, {"none": [0.6, 0.6], "batch": [0.99, 0.99]})
    with sessions.begin() as session:
        last = max(job.id for job in commands.list_jobs(session, study_id=study).items)
        set_job(session, last, status="failed", reason="oom", metrics={})
    none, batch = board(member)
    assert (none["name"], none["rank"]) == ("none", 1)
    assert (batch["rank"], batch["failed"], batch["n"]) == (None, 1, 1)


def test_the_same_spec_is_one_entry_whoever_trained_it_and_a_seed_counts_once(
    member: TestClient, sessions: Sessions
) -> None:
    studies = [train(sessions, {"none": [0.6, 0.8]}), train(sessions, {"none": [0.6, 0.8, 1.0]})]
    [one] = board(member)
    assert (one["n"], one["studies"]) == (3, [studies[1]])
    assert one["mean"] == pytest.approx(0.8)


def test_what_was_trained_on_other_data_is_on_a_board_of_its_own(
    member: TestClient, sessions: Sessions
) -> None:
    train(sessions, {"none": [0.9]})
    small = {"dataset": {"name": "digits", "train_size": 100}}
    train(sessions, {"none": [0.5], "batch": [0.6]}, **small)
    found = board(member)
    assert [(one["rank"], one["dataset"]["train_size"]) for one in found] == [
        (1, 100), (2, 100), (1, None),
    ]  # fmt: skip
    assert len(board(member, limit=1)) == 2
    assert board(member, dataset="other") == board(member, project="other") == []


def test_what_is_archived_is_on_no_board(member: TestClient, sessions: Sessions) -> None:
    study = train(sessions, {"none": [0.9]})
    with sessions.begin() as session:
        annotations.annotate_study(session, study, Annotation(archived=True))
    assert board(member) == []


@pytest.mark.parametrize("metric", ["test_accuracy", "test_loss", "epochs", ""])
def test_test_results_rank_nothing(member: TestClient, metric: str) -> None:
    answer = member.get("/api/v1/leaderboard", params={"metric": metric})
    assert answer.status_code == 422
    assert "leaderboards rank by validation" in answer.json()["errors"][0]["detail"]
    assert ("sealed" in answer.text) == metric.startswith("test")


def test_a_loss_ranks_the_other_way_round(member: TestClient, sessions: Sessions) -> None:
    study = train(sessions, {"none": [0.9], "batch": [0.8]})
    with sessions.begin() as session:
        for job in commands.list_jobs(session, study_id=study).items:
            loss = 0.3 if job.variant == "none" else 0.2
            set_job(session, job.id, metrics={"best_val_loss": loss})
    assert [one["name"] for one in board(member, metric="best_val_loss")] == ["batch", "none"]


def test_where_the_seed_cuts_the_data_the_seeds_are_one_entry(
    member: TestClient, sessions: Sessions
) -> None:
    first = train(sessions, {"none": [0.6, 0.8]})
    with sessions.begin() as session:
        session.get_one(Study, first).spec = {"name": "norms", "splits": "resampled"}
        for job in commands.list_jobs(session, study_id=first).items:
            cut = {**job.spec["dataset"], "split_seed": job.seed}
            set_job(session, job.id, spec={**job.spec, "dataset": cut})
    [one] = board(member)
    assert one["n"] == 2


def test_another_cut_of_the_data_is_another_board(member: TestClient, sessions: Sessions) -> None:
    train(sessions, {"none": [0.6]})
    train(sessions, {"none": [0.9]}, dataset={"name": "digits", "split_seed": 1})
    assert [one["rank"] for one in board(member)] == [1, 1]


def test_arms_of_one_study_that_begin_from_pretrainings_are_one_entry_each(
    member: TestClient, sessions: Sessions
) -> None:
    study = train(sessions, {"none": [0.8, 0.9], "batch": [0.95, 0.85]})
    other = train(sessions, {"batch": [0.5]})
    with sessions.begin() as session:
        for study_id in (study, other):
            row = session.get_one(Study, study_id)
            row.spec = {**row.spec, "pretrain": {}}
            for job in session.scalars(select(Job).where(Job.study_id == study_id)):
                job.spec = {**job.spec, "init_from": {"job": 1 + job.seed}}
    assert [(one["name"], one["n"], one["studies"]) for one in board(member)] == [
        ("batch", 2, [study]), ("none", 2, [study]), ("batch", 1, [other]),
    ]  # fmt: skip
