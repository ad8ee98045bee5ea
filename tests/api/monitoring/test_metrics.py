"""What Prometheus scrapes: each metric, after a small scene in the database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import delete, update
from sqlalchemy.orm import Session, sessionmaker

from api.monitoring import database_figures
from api.settings import Settings
from store.db.engine import make_engine, make_readers, make_sessions
from store.db.models import Attempt, Device, Lease, Mirrored, MirrorProblem, Worker
from tests.support.factories import (
    acquire_job,
    finish_training,
    make_job,
    make_user,
    make_worker,
    set_job,
)
from tests.support.statements import counting_statements

TOKEN = "nothing but a token for the metrics"
Sessions = sessionmaker[Session]
Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def scraper(
    app: FastAPI,
    settings: Settings,
    replace: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> TestClient:
    """A client with the scrape token; the figures are read anew for each request."""
    monkeypatch.setattr(database_figures, "KEPT_SECONDS", 0.0)
    replace(settings=settings.model_copy(update={"metrics_token": SecretStr(TOKEN)}))
    return TestClient(
        app, headers={"Authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False
    )


def scrape(scraper: TestClient) -> Samples:
    """By name and the values of the labels in the order of their names."""
    answer = scraper.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_only_the_scrape_token_opens_them(scraper: TestClient, member: TestClient) -> None:
    for headers in ({"Authorization": ""}, dict(member.headers)):
        answer = scraper.get("/metrics", headers=headers)
        assert answer.status_code == 401
        assert "NORMLAB_METRICS_TOKEN" in answer.json()["detail"]
    assert scraper.get("/api/v1/jobs").status_code == 401


def test_without_a_scrape_token_there_are_none(app: FastAPI) -> None:
    answer = TestClient(app).get("/metrics")
    assert answer.status_code == 404
    assert "NORMLAB_METRICS_TOKEN" in answer.json()["detail"]


def test_the_queue_is_there_by_person_and_priority(scraper: TestClient, sessions: Sessions) -> None:
    with sessions.begin() as session:
        ann, bob = make_user(session, "ann"), make_user(session, "bob")
        jobs = [make_job(session, ann) for _ in range(2)]
        make_job(session, bob, resources={"priority": "high"})
        set_job(session, jobs[1].id, queued_at=datetime.now(UTC) - timedelta(hours=1))
    samples = scrape(scraper)
    assert samples["normlab_queued_jobs", ("ann", "normal")] == 2
    assert samples["normlab_queued_jobs", ("bob", "high")] == 1
    assert 3600 <= samples["normlab_oldest_queued_job_age_seconds", ("ann", "normal")] < 7200
    assert samples["normlab_oldest_queued_job_age_seconds", ("bob", "high")] < 3600


def test_claims_attempts_slots_and_memory_are_there(
    scraper: TestClient, sessions: Sessions
) -> None:
    before = scrape(scraper)
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2, cuda=1)
        ann = make_user(session, "ann")
        for _ in range(2):
            make_job(session, ann, resources={"device": "cpu"})
        done, running = acquire_job(session), acquire_job(session)
        assert done is not None
        assert running is not None
        finish_training(session, done)
        gpu = update(Device).where(Device.kind == "cuda")
        session.execute(gpu.values(memory_bytes=10**9, foreign_bytes=10**8))
        session.execute(update(Lease).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
        session.execute(update(Worker).values(seen_at=datetime.now(UTC) - timedelta(hours=1)))
        attempt = update(Attempt).where(Attempt.job_id == running.job_id)
        session.execute(attempt.values(seconds=3.0, first_step=10))
        set_job(session, running.job_id, step=40)
    samples = scrape(scraper)
    assert samples["normlab_claims_total", ()] - before["normlab_claims_total", ()] == 2
    completed = ("normlab_attempts_ended_total", ("completed",))
    assert samples[completed] - before[completed] == 1
    assert samples["normlab_running_jobs", ("ann", "normal")] == 1
    assert samples["normlab_slots", ("cpu:0", "alpha")] == 2
    assert samples["normlab_slots_used", ("cpu:0", "alpha")] == 1
    assert samples["normlab_slots_used", ("cuda:0", "alpha")] == 0
    assert samples["normlab_device_memory_bytes", ("cuda:0", "alpha")] == 10**9
    assert samples["normlab_device_memory_booked_bytes", ("cuda:0", "alpha")] == 0
    assert samples["normlab_device_memory_used_bytes", ("cuda:0", "alpha")] == 0
    assert samples["normlab_device_memory_foreign_bytes", ("cuda:0", "alpha")] == 10**8
    assert ("normlab_device_memory_bytes", ("cpu:0", "alpha")) not in samples
    assert samples["normlab_step_seconds", ("alpha",)] == pytest.approx(0.1)
    assert samples["normlab_expired_leases", ()] == 1
    assert 3600 <= samples["normlab_worker_last_seen_age_seconds", ("alpha",)] < 7200
    assert samples["normlab_worker_draining", ("alpha",)] == 0


def test_claims_only_grow_also_when_jobs_are_deleted(
    scraper: TestClient, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        make_worker(session)
        make_job(session)
        job = acquire_job(session)
        assert job is not None
    counts = [scrape(scraper)["normlab_claims_total", ()]]
    with sessions.begin() as session:
        session.execute(delete(Lease))
        session.execute(delete(Attempt))
    counts.append(scrape(scraper)["normlab_claims_total", ()])
    assert counts[0] == counts[1]


def test_the_mirror_s_lag_is_the_age_of_what_mlflow_lacks(
    scraper: TestClient, sessions: Sessions
) -> None:
    assert scrape(scraper)["normlab_mirror_lag_seconds", ()] == 0
    with sessions.begin() as session:
        make_worker(session)
        make_job(session)
        job = acquire_job(session)
        assert job is not None
        finish_training(session, job)
        ended_at = datetime.now(UTC) - timedelta(hours=1)
        set_job(session, job.job_id, changed_at=ended_at)
        session.add(MirrorProblem(job_id=job.job_id, kind="model", reason="too large", attempts=1))
    samples = scrape(scraper)
    assert 3600 <= samples["normlab_mirror_lag_seconds", ()] < 7200
    assert samples["normlab_mirror_problems", ("model",)] == 1
    with sessions.begin() as session:
        mirrored = Mirrored(job_id=job.job_id, run_id="1", experiment_id="1", seen_at=ended_at)
        session.add(mirrored)
    assert scrape(scraper)["normlab_mirror_lag_seconds", ()] == 0


def test_requests_are_timed_by_the_template_of_their_route(
    scraper: TestClient, member: TestClient
) -> None:
    before = scrape(scraper)
    for path in (
        "/api/v1/jobs/123456",
        "/api/v1/jobs/234567",
        "/nothing/123456",
        "/static/page.js",
    ):
        member.get(path)
    after = scrape(scraper)
    counts = {
        labels: value - before.get((name, labels), 0.0)
        for (name, labels), value in after.items()
        if name == "normlab_http_request_duration_seconds_count"
    }
    assert counts["GET", "/api/v1/jobs/{job_id}", "404"] == 2
    assert counts["GET", "unmatched", "404"] == 1
    assert counts["GET", "/static", "200"] == 1
    assert "123456" not in "".join(" ".join(labels) for labels in counts)


def test_without_a_database_the_rest_is_there(
    scraper: TestClient, replace: Callable[..., None], tmp_path: Path
) -> None:
    sessions = make_sessions(make_engine(f"postgresql://nobody@/nothing?host={tmp_path}"))
    assert scrape(scraper)["normlab_database_up", ()] == 1
    replace(all_readers=make_readers(sessions))
    samples = scrape(scraper)
    assert samples["normlab_database_up", ()] == 0
    assert ("normlab_mirror_lag_seconds", ()) not in samples
    assert samples["process_resident_memory_bytes", ()] > 0


def test_one_statement_is_kept_for_all_who_ask(
    scraper: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_figures, "KEPT_SECONDS", 600.0)
    app.state.metrics = type(app.state.metrics)(app.state.metrics.registry)
    with counting_statements(app.state.services.engine) as statements:
        for _ in range(3):
            scrape(scraper)
    assert len(statements) == 1


def test_prometheus_own_format_is_spoken(scraper: TestClient) -> None:
    answer = scraper.get(
        "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    [build] = [one for one in read_open_metrics(answer.text) if one.name == "normlab_build"]
    assert build.samples[0].labels["process"] == "api"
