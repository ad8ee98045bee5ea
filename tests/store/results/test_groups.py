"""Groups of results, read in one statement: who is in which, and what they score."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import true
from sqlalchemy.orm import Session, sessionmaker

from store.results import parse_keys, parse_metric
from store.results.groups import ResultGroup, read_groups
from studies.stats import score
from tests.support.factories import make_job, make_user, set_job

DAY = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def session(sessions: sessionmaker[Session]) -> Iterator[Session]:
    with sessions.begin() as session:
        yield session


def plant(session: Session, status: str, reason: str | None, metrics: Any, **spec: Any) -> int:
    job = make_job(session, make_user(session), **spec)
    finished = DAY if status in ("succeeded", "failed", "cancelled") else None
    set_job(
        session,
        job.id,
        status=status,
        reason=reason,
        metrics=metrics,
        facts={"chance_accuracy": 0.1, "chance_error": 0.25},
        finished_at=finished,
    )
    return job.id


def read(session: Session, by: str, metric: str) -> list[ResultGroup]:
    return read_groups(session, condition=true(), by=parse_keys(by), metric=parse_metric(metric))


def test_rows_are_together_only_if_all_their_values_are_equal(session: Session) -> None:
    for seed, lr, kind in (
        (1, 0.5, "batch"),
        (1, 0.5, "layer"),
        (1, 0.5, "batch"),
        (2, 0.5, "batch"),
    ):
        plant(
            session,
            "queued",
            None,
            {},
            seed=seed,
            norm={"kind": kind},
            optimizer={"kind": "sgd", "lr": lr},
        )
    groups = read(session, "norm.kind,seed,optimizer.lr", "test_accuracy")
    assert sorted((*group.by.values(), group.jobs) for group in groups) == [
        ("batch", 1, 0.5, 2), ("batch", 2, 0.5, 1), ("layer", 1, 0.5, 1),
    ]  # fmt: skip


def test_a_number_and_the_text_that_looks_like_it_are_apart(session: Session) -> None:
    for value in (1, "1", 1):
        plant(session, "queued", None, {"odd": value})
    groups = read(session, "metrics.odd", "test_accuracy")
    assert {repr(group.by["metrics.odd"]): group.jobs for group in groups} == {"1": 2, "'1'": 1}


def test_nothing_is_dropped(session: Session) -> None:
    plant(session, "succeeded", "completed", {"test_accuracy": 0.5}, seed=2**31 - 1)
    plant(session, "succeeded", "diverged", {"test_accuracy": None}, seed=3)
    plant(session, "failed", "oom", {"test_accuracy": 0.9})
    plant(session, "cancelled", "cancelled", {"test_accuracy": 0.9})
    plant(session, "running", None, {"test_accuracy": 0.9})
    plant(session, "paused", None, {"test_accuracy": 0.9})
    [group] = read(session, "norm.kind", "test_accuracy")
    assert (group.jobs, list(group.scores)) == (6, [0.1, 0.5])
    assert list(group.seeds) == [3, 2**31 - 1]
    assert (group.diverged, group.failed, group.cancelled, group.pending) == (1, 1, 1, 2)


@pytest.mark.parametrize("metric", ["test_accuracy", "best_val_accuracy", "odd_error", "odd_thing"])
def test_scores_are_those_of_a_comparison_digit_by_digit(session: Session, metric: str) -> None:
    class Outcome:
        status = "succeeded"
        facts: Mapping[str, Any] = {"chance_accuracy": 0.1, "chance_error": 0.25}

        def __init__(self, reason: str, value: float | None) -> None:
            self.reason, self.metrics = reason, {metric: value}

    values = [0.1 + 0.2, 1e-310, None, -1.7976931348623157e308, 1 / 3, None]
    reasons = ["completed", "diverged", "completed", "completed", "early_stopped", "diverged"]
    for reason, value in zip(reasons, values, strict=True):
        plant(session, "succeeded", reason, {metric: value})
    [group] = read(session, "model.name", f"metrics.{metric}")
    scores = [score(Outcome(*pair), metric).value for pair in zip(reasons, values, strict=True)]
    assert list(group.scores) == [one for one in reversed(scores) if one is not None]


def test_a_group_shows_its_values_as_they_were_written(session: Session) -> None:
    plant(session, "queued", None, {"odd": 1}, training={"epochs": 2, "batch_size": 32})
    plant(session, "queued", None, {"odd": 1.0}, training={"epochs": 2, "batch_size": 32})
    [group] = read(session, "training.batch_size,optimizer.lr", "test_accuracy")
    assert repr(group.by["training.batch_size"]) == "32"
    assert repr(read(session, "metrics.odd", "test_accuracy")[0].by["metrics.odd"]) == "1.0"
    assert len(read(session, "metrics.odd", "test_accuracy")) == 2
