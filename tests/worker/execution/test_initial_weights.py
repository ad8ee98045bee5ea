"""A job that begins from another one's weights, trained by a worker from the storage; the training is real."""

import functools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from runtime.storage import FolderStorage
from store.db.models import Checkpoint, Job
from store.studies import studies
from tests.support import factories
from tests.support.following_jobs import acquire_all, create_study
from tests.support.result_rows import make_study
from trainer.data.loading import load
from worker.execution.context import Drain, ExecutionContext
from worker.execution.execute import execute
from worker.execution.heartbeat import LeaseTiming
from worker.execution.space import Space

Sessions = sessionmaker[Session]
STILL = {
    "optimizer": {"kind": "sgd", "lr": 1e-30, "momentum": 0.0},
    "training": {"steps": 1, "eval_every": 1},
}


@pytest.fixture
def context(sessions: Sessions, tmp_path: Path) -> ExecutionContext:
    return ExecutionContext(
        sessions=sessions,
        host="alpha",
        storage=FolderStorage(tmp_path),
        space=Space((tmp_path,), 1),
        data_roots=(),
        parent=os.getppid(),
        load=functools.partial(load, folder=tmp_path / "datasets"),
        timing=LeaseTiming(lease=300, renewal=0.05, stall=300),
        drain=Drain(),
    )


def train(context: ExecutionContext, *, forget: bool = False, **parts: Any) -> Job:
    with context.sessions.begin() as session:
        number = factories.make_job(session, **parts).id
        factories.make_worker(session)
        assignment = factories.acquire_job(session)
        assert assignment is not None
    # As of a checkpoint that a restored backup has lost.
    execute(replace(assignment, initial=None) if forget else assignment, context, time.monotonic())
    with context.sessions.begin() as session:
        return session.get_one(Job, number)


def best(context: ExecutionContext, job: Job) -> tuple[str, dict[str, torch.Tensor]]:
    with context.sessions.begin() as session:
        row = session.scalars(
            select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.kind == "best")
        ).one()
        return row.digest, torch.load(context.storage.root / row.path, weights_only=True)


def test_a_job_begins_with_the_weights_of_another_one(context: ExecutionContext) -> None:
    source = train(context)
    digest, weights = best(context, source)
    wanted = {"job": source.id, "checkpoint": "best", "digest": digest}
    job = train(context, init_from=wanted, **STILL)
    assert (job.status, job.error) == ("succeeded", None)
    assert (job.facts or {})["initial_weights"] == digest
    _, begun = best(context, job)
    assert begun.keys() == weights.keys()
    assert all(torch.equal(begun[name], weights[name]) for name in weights)
    other = train(context, **STILL)
    assert "initial_weights" not in (other.facts or {})
    assert not torch.equal(best(context, other)[1]["linear1.weight"], weights["linear1.weight"])


def test_a_job_whose_weights_are_gone_fails_once_and_says_so(context: ExecutionContext) -> None:
    source = train(context)
    digest, _ = best(context, source)
    wanted = {"job": source.id, "checkpoint": "best", "digest": digest}
    job = train(context, init_from=wanted, forget=True, **STILL)
    assert (job.status, job.attempt) == ("failed", 1)
    assert f"the weights of job {source.id}, to begin from, are gone" in (job.error or "")


def test_arms_of_a_study_begin_with_the_weights_of_its_pretraining(
    context: ExecutionContext,
) -> None:
    study = make_study(
        {"batch": {}, "frozen": {"norm": {"frozen": "all"}}},
        base={
            "dataset": {"name": "digits", "train_size": 50},
            "model": {"name": "mlp", "hidden": [8]},
            "norm": {"kind": "batch"},
            **STILL,
        },
        pretrain={"optimizer": {"lr": 0.1}},
        seeds=2,
    )
    with context.sessions.begin() as session:
        factories.make_worker(session, cpu=4)
        study_id = create_study(session, study).id
    for count in (2, 4):
        assignments = acquire_all(context.sessions)
        assert len(assignments) == count
        for assignment in assignments:
            execute(assignment, context, time.monotonic())
    with context.sessions.begin() as session:
        jobs = {(job.variant, job.seed): job for job in studies.jobs_of(session, study_id)}
    assert {job.status for job in jobs.values()} == {"succeeded"}
    for seed in range(2):
        digest, weights = best(context, jobs["pretraining", seed])
        for variant in ("batch", "frozen"):
            arm = jobs[variant, seed]
            assert arm.spec["init_from"]["job"] == jobs["pretraining", seed].id
            assert (arm.facts or {})["initial_weights"] == digest
            begun = best(context, arm)[1]
            assert torch.equal(begun["linear1.weight"], weights["linear1.weight"])
