"""The first page: what runs, what waits and why, who uses the machines, and what of that is the reader's."""

import html
import json
import re
from datetime import timedelta
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from store.db import Attempt, Job, database_now
from store.hosts import GpuMemory, gpu_memory
from store.jobs import commands, leases
from tests.api.web.test_pages import read
from tests.support.documents import JOB, study
from tests.support.factories import acquire_job, make_worker
from tests.support.trained_study import train_all
from trainer.events import Started

Sessions = sessionmaker[Session]


def test_now_shows_what_runs_what_waits_and_who_uses_the_machines(
    member: TestClient, sessions: Sessions
) -> None:
    empty = read(member, "/")
    assert all(
        part in empty for part in ("No worker is running", "The queue is empty", "Nobody has used")
    )
    with sessions.begin() as session:
        make_worker(session, "alpha", cpu=2)
    for seed in (1, 2, 3):
        member.post("/api/v1/jobs", json={**JOB, "seed": seed})
    with sessions.begin() as session:
        assignment = acquire_job(session, "alpha")
        assert assignment is not None
    page = read(member, "/")
    running, waiting = page.split('id="queue"')
    assert f'href="/jobs/{assignment.job_id}"' in running
    assert running.partition('id="reserve"')[0].count("alpha cpu") == 2
    assert ">free<" in running
    assert waiting.index("next in line") < waiting.index("behind 1 job of max")
    assert re.search(r"max</?[^%]*100 %", waiting, re.DOTALL)


def test_a_gpu_says_how_much_of_its_memory_is_booked_and_used_by_others(
    member: TestClient, sessions: Sessions
) -> None:
    total, used = 24_000_000_000, 3_000_000_000
    with sessions.begin() as session:
        devices = [("cpu", 0, "a processor", 1), ("cuda", 0, "a GPU", 4)]
        leases.register_worker(session, "alpha", 1, devices, memory={0: total})
        gpu_memory.report(session, "alpha", [GpuMemory(0, total, used, 0)])
    cpu, gpu = member.get("/api/v1/devices").json()["items"]
    assert cpu["memory"] is None
    assert gpu["memory"] == {
        "total_bytes": total,
        "booked_bytes": 0,
        "foreign_bytes": used,
        "free_bytes": total - used,
    }
    assert "21.0 GB of 24.0 GB free, 0 B booked, 3.0 GB used by others" in read(member, "/")


def test_a_device_is_reserved_and_released(
    member: TestClient, admin: TestClient, viewer: TestClient, sessions: Sessions
) -> None:
    assert "Reserve a device" not in read(member, "/")
    with sessions.begin() as session:
        make_worker(session, "alpha", cuda=1)
    *_, gpu = offered(member)
    assert gpu == {"host": "alpha", "kind": "cuda", "number": 0}
    assert {"host": "alpha"} not in offered(member)
    assert {"host": "alpha"} in offered(admin)
    assert offered(viewer) == []
    wanted = {**gpu, "lasts": "2h", "why": "a <demonstration>"}
    made = member.post("/api/v1/reservations", json=wanted)
    assert made.status_code == 201, made.text
    release = f"DELETE /api/v1/reservations/{made.json()['id']}"
    for client, may in ((member, True), (admin, True), (viewer, False)):
        page = read(client, "/")
        assert "alpha cuda:0 is reserved by max until" in page
        assert "a &lt;demonstration&gt;" in page
        assert (release in page) is may


def offered(client: TestClient) -> list[dict[str, object]]:
    """What can be reserved."""
    documents = re.findall(r'name="what" required data-document="([^"]+)"', read(client, "/"))
    return [json.loads(html.unescape(one)) for one in documents]


def test_what_waits_says_why_and_when_it_may_start(
    member: TestClient, sessions: Sessions, storage: Path
) -> None:
    study_id = member.post("/api/v1/studies", json=study()).json()["id"]
    train_all(sessions, storage)
    with sessions.begin() as session:
        session.execute(update(Job).values(seconds_used=100.0))
    member.post(f"/api/v1/studies/{study_id}/extend", json={"seeds": 2})
    with sessions.begin() as session:
        running = acquire_job(session)
        assert running is not None
    # It has begun, but nothing tells yet how long it will take.
    first = read(member, "/").split('id="queue"')[1]
    assert "next in line: the only cpu slot is in use" in first
    assert "in about" not in first
    with sessions.begin() as session:
        commands.record_start(session, running.job_id, running.attempt, Started(0, 0, 100, 10))
        commands.record_step(session, running.job_id, running.attempt, 50)
        began = database_now(session) - timedelta(seconds=60)
        session.execute(update(Attempt).where(Attempt.end.is_(None)).values(started_at=began))
    rows = read(member, "/").split('id="queue"')[1]
    # As long again as it took for the first half, then one after the other as long as those before.
    assert re.findall(r"in about (\d+) min", rows) == ["1", "2", "4"]


def test_a_job_that_no_host_can_run_says_so_and_holds_up_no_other(
    member: TestClient, sessions: Sessions
) -> None:
    member.post("/api/v1/jobs", json={**JOB, "resources": {"device": "cuda"}})
    member.post("/api/v1/jobs", json={**JOB, "resources": {"device": "cpu"}})
    with sessions.begin() as session:
        make_worker(session)
    rows = read(member, "/").split('id="queue"')[1]
    assert rows.index("no worker with a device of kind cuda is running") < rows.index(
        "in a moment</td>"
    )


def test_readers_are_told_their_share_and_where_their_next_job_stands(
    member: TestClient, viewer: TestClient, admin: TestClient, sessions: Sessions
) -> None:
    assert own(member) is None
    with sessions.begin() as session:
        make_worker(session)
    admin.post("/api/v1/jobs", json=JOB)
    with sessions.begin() as session:
        assert acquire_job(session) is not None
    admin.post("/api/v1/jobs", json={**JOB, "seed": 2})
    mine = member.post("/api/v1/jobs", json={**JOB, "seed": 3}).json()
    # Who has used less goes first.
    assert own(member) == (
        f"You have used no device time lately. Your next job, {mine['name']}, is at position 1 in the queue "
        "(next in line: the only slot is in use)."
    )
    said = own(admin)
    assert said is not None
    assert "Your share is 100 %: 5 min of device time, in which your running job counts" in said
    assert "is at position 2 in the queue (behind 1 job of max)." in said
    assert own(viewer) is None


def own(client: TestClient) -> str | None:
    """The sentence for the reader."""
    sentence = re.search(r'<p id="own">(.*?)</p>', read(client, "/"), re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", sentence[1]).split()) if sentence else None
