"""Hostile requests over real HTTP: no failure of ours, no word of our insides, and nothing stored."""

from concurrent.futures import ThreadPoolExecutor

from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from bench.harness.hostile import ask, hostile_requests, is_failure
from store.db.models import Table

REQUESTS = 300


def test_hostile_requests_are_refused_and_leave_nothing(
    address: str, member: TestClient, sessions: sessionmaker[Session]
) -> None:
    token = member.headers["Authorization"].removeprefix("Bearer ")
    before = count_rows(sessions)
    hostile = list(hostile_requests(REQUESTS, token))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda one: ask(address, one), hostile))
    answered = zip(hostile, answers, strict=True)
    assert [(one.name, answer) for one, answer in answered if is_failure(one, answer)] == []
    assert count_rows(sessions) == before


def count_rows(sessions: sessionmaker[Session]) -> dict[str, int]:
    with sessions() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Table.metadata.sorted_tables
        }
