"""What queries over the history cost: statements per request, and plans that read no table of records."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from api.services import Services
from tests.support.factories import make_cells, make_study, make_user

#: Every request reads its token in one statement, and notes its use in another.
TOKEN = 2
METRIC = {"metric": "test_accuracy"}
SORTED = {"query": "norm.kind=batch", "sort": "-best.val_accuracy"}


@pytest.fixture(autouse=True)
def planted(sessions: sessionmaker[Session]) -> dict[str, int]:
    with sessions.begin() as session:
        user = make_user(session, "ann")
        studies = [make_study(session, user, make_cells(seeds=range(5)), METRIC) for _ in range(3)]
        job = session.scalar(text("SELECT max(id) FROM jobs"))
        return {"study": studies[0].id, "job": int(job or 0)}


@pytest.fixture
def statements(viewer: TestClient) -> Iterator[list[tuple[str, Any]]]:
    """What the API has sent to PostgreSQL since."""
    services: Services = viewer.app.state.services  # type: ignore[attr-defined]
    sent: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        sent.append((statement, parameters))

    event.listen(services.engine, "before_cursor_execute", note)
    yield sent
    event.remove(services.engine, "before_cursor_execute", note)


ROUTES: list[tuple[str, dict[str, Any], int]] = [
    ("results", {}, 1),
    ("results", SORTED, 1),
    ("results", {**SORTED, "columns": "name,norm.kind"}, 1),
    ("results/groups", {"by": "norm.kind,optimizer.lr"}, 1),
    ("results/export", {}, 1),
    ("results/comparison", {"by": "norm.kind"}, 2),
    ("leaderboard", {}, 3),
    ("jobs", {}, 3),
    ("studies/{study}/jobs", {}, 4),
    ("studies", {}, 6),
    ("studies", {"query": "norm.kind=batch"}, 6),
    ("jobs/{job}/epochs", {}, 2),
    ("jobs/{job}/attempts", {}, 2),
    ("jobs/{job}/logs", {}, 2),
]


@pytest.mark.parametrize(("path", "parameters", "most"), ROUTES)
def test_a_list_takes_few_statements_however_many_rows_it_has(
    viewer: TestClient,
    statements: list[tuple[str, Any]],
    planted: dict[str, int],
    path: str,
    parameters: dict[str, Any],
    most: int,
) -> None:
    answer = viewer.get(f"/api/v1/{path.format(**planted)}", params=parameters)
    assert answer.status_code == 200, answer.text
    assert len(statements) - TOKEN <= most, "\n".join(statement for statement, _ in statements)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("results", {}),
        ("results", SORTED),
        ("results", {"sort": "best.val_loss"}),
        ("results/groups", {"by": "norm.kind"}),
        ("results/groups", {"by": "regularization.kind", "study": "{study}"}),
        ("results/comparison", {"by": "norm.kind"}),
        ("studies", {"query": "norm.kind=batch and optimizer.nesterov=false"}),
        ("leaderboard", {}),
        ("jobs/{job}/epochs", {}),
    ],
)
def test_no_plan_scans_the_records_or_documents_of_all_jobs(
    viewer: TestClient,
    statements: list[tuple[str, Any]],
    planted: dict[str, int],
    engine: Engine,
    path: str,
    parameters: dict[str, str],
) -> None:
    filled = {name: value.format(**planted) for name, value in parameters.items()}
    answer = viewer.get(f"/api/v1/{path.format(**planted)}", params=filled)
    assert answer.status_code == 200, answer.text
    reads = [sent for sent in statements if sent[0].lstrip().startswith(("SELECT", "WITH"))]
    # That of the token, and those of the route.
    assert len(reads) >= 2
    with engine.begin() as connection:
        # So few rows would be scanned whatever the indexes: a scan that is left has no other way.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, values in reads:
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars().all()
            for table in ("epochs", "attempts", "jobs"):
                assert not [line for line in plan if f"Seq Scan on {table}" in line], "\n".join(
                    plan
                )
