"""What one person may ask for: requests per second, expensive ones at once, and how long the database may take."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.types import Message, Receive, Scope, Send

from api import limits
from api.http import find_client
from api.limits import Busy, FairTurns, Places, RequestRates
from api.routes import jobs as job_routes
from api.settings import Settings
from store.db import make_engine, make_readers, make_sessions
from tests.api.conftest import Clients
from tests.support.documents import JOB, STUDY, study

Replace = Callable[..., None]


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    monotonic = __call__


def make_rates(at_once: int = 3, per_second: float = 0.5) -> tuple[RequestRates, Clock]:
    clock = Clock()
    return RequestRates(per_second, at_once, clock), clock


def ask(rates: RequestRates, secret: str, token_id: int) -> int:
    """As a request does."""
    return rates.spend(secret) or rates.recognize(secret, token_id)


def test_a_bucket_fills_again_with_time_up_to_its_size() -> None:
    rates, clock = make_rates()
    assert [ask(rates, "one", 1) for _ in range(4)] == [0, 0, 0, 2]
    clock.now += 2
    assert [ask(rates, "one", 1) for _ in range(2)] == [0, 2]
    clock.now += 3600
    assert [ask(rates, "one", 1) for _ in range(4)] == [0, 0, 0, 2]


def test_sessions_share_their_tokens_bucket_and_other_tokens_have_their_own() -> None:
    rates, _ = make_rates()
    assert [ask(rates, secret, 1) for secret in ("token", "session", "session", "token")] == [
        0, 0, 0, 2,
    ]  # fmt: skip
    assert ask(rates, "other", 2) == 0


def test_a_secret_that_nobody_has_is_not_remembered() -> None:
    rates, _ = make_rates()
    for number in range(100):
        assert rates.spend(f"guess {number}") == 0
    assert not rates._of_secret


def test_too_many_requests_are_refused_with_the_time_to_wait_and_harm_no_other_person(
    member: TestClient, viewer: TestClient, replace: Replace
) -> None:
    rates, clock = make_rates()
    replace(rates=rates)
    answers = [member.get("/api/v1/jobs") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["Retry-After"] == "2"
    assert answers[-1].headers["content-type"] == "application/problem+json"
    assert "send the next one in 2 s" in answers[-1].json()["detail"]
    assert viewer.get("/api/v1/jobs").status_code == 200
    clock.now += 2
    assert member.get("/api/v1/jobs").status_code == 200


def test_a_refused_request_asks_the_database_nothing(
    member: TestClient, replace: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, _ = make_rates(at_once=1)
    replace(rates=rates)
    assert member.get("/api/v1/jobs").status_code == 200
    absent: Any = None
    replace(readers=absent, sessions=absent)
    assert member.get("/api/v1/jobs").status_code == 429


def test_a_page_says_that_there_were_too_many_requests(
    member: TestClient, replace: Replace
) -> None:
    rates, _ = make_rates(at_once=1)
    replace(rates=rates)
    page = {"Accept": "text/html"}
    assert member.get("/studies", headers=page).status_code == 200
    refused = member.get("/studies", headers=page)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "2"
    assert "Too many requests with this token" in refused.text


def test_logins_are_requests_too(app: FastAPI, member: TestClient, replace: Replace) -> None:
    rates, _ = make_rates(at_once=2)
    replace(rates=rates)
    form = {"token": member.headers["Authorization"].removeprefix("Bearer ")}
    browser = TestClient(app, follow_redirects=False)
    answers = [browser.post("/login", data=form) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [303, 303, 429]
    assert answers[-1].headers["Retry-After"] == "2"


def test_a_person_has_so_many_places_and_gives_them_back() -> None:
    places = Places(2)
    with places.taken(1), places.taken(2):
        with places.taken(1), pytest.raises(Busy), places.taken(1):
            raise AssertionError
        with places.taken(1):
            pass
    assert not places._taken


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/results"),
        ("GET", "/api/v1/results/groups?by=norm.kind"),
        ("GET", "/api/v1/results/comparison?by=norm.kind"),
        ("GET", "/api/v1/results/export"),
        ("GET", "/api/v1/leaderboard"),
        ("GET", "/api/v1/studies/1/comparison"),
        ("GET", "/api/v1/studies/1/curves"),
        ("GET", "/api/v1/studies/1/report"),
        ("GET", "/results"),
        ("GET", "/compare"),
        ("POST", "/api/v1/plans"),
        ("POST", "/api/v1/studies"),
    ],
)
def test_an_expensive_request_beyond_a_persons_places_is_refused(
    app: FastAPI, member: TestClient, viewer: TestClient, replace: Replace, method: str, path: str
) -> None:
    places = Places(1)
    replace(places=places)
    person = member.get("/api/v1/users/me").json()["id"]
    body = STUDY if method == "POST" else None
    with places.taken(person):
        refused = member.request(method, path, json=body)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert viewer.get("/api/v1/results").status_code == 200
        assert member.get("/api/v1/jobs").status_code == 200
    assert not places._taken
    assert member.request(method, path, json=body).status_code != 429


def test_a_statement_that_takes_too_long_is_stopped_and_the_answer_says_so(
    app: FastAPI,
    member: TestClient,
    replace: Replace,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make_engine(settings.database_url, statement_seconds=0.2)
    sessions = make_sessions(engine)
    replace(engine=engine, sessions=sessions, readers=make_readers(sessions))

    def sleep(services: Any, session: Session, jobs: Any) -> Any:
        session.execute(text("SELECT pg_sleep(600)"))

    monkeypatch.setattr(job_routes, "build_job_views", sleep)
    answer = member.get("/api/v1/jobs")
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert "took too long" in answer.json()["detail"]
    assert "pg_sleep" not in answer.text
    engine.dispose()


def test_the_service_limits_its_statements(app: FastAPI, settings: Settings) -> None:
    with app.state.services.engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "30s"


def test_an_export_of_too_many_jobs_is_refused_before_it_begins(
    app: FastAPI, member: TestClient, replace: Replace, sessions: sessionmaker[Session]
) -> None:
    assert member.post("/api/v1/studies", json=STUDY).status_code == 202
    path = "/api/v1/results/export"
    rows = len(member.get(path).text.splitlines()) - 1
    settings = app.state.services.settings
    replace(settings=settings.model_copy(update={"export_rows": rows - 1}))
    for parameters in ({}, {"columns": "job_id"}, {"format": "jsonl"}):
        refused = member.get(path, params=parameters)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["parameter"] == "query"
    replace(settings=settings.model_copy(update={"export_rows": rows}))
    assert len(member.get(path).text.splitlines()) == rows + 1


def test_only_an_admin_plans_more_measurements_than_the_limit(
    app: FastAPI, sign_in: Clients, replace: Replace
) -> None:
    member, admin = sign_in("max:member"), sign_in("ada:admin")
    wide = {**JOB, "training": {"epochs": 100_000}, "diagnostics": {"kind": "epoch"}}
    plan = admin.post("/api/v1/plans", json=wide)
    assert plan.status_code == 200
    [warning] = [one for one in plan.json()["warnings"] if "measurements" in one]
    assert "100,000 evaluation periods" in warning
    assert member.post("/api/v1/plans", json=wide).status_code == 200
    settings = app.state.services.settings
    replace(settings=settings.model_copy(update={"planned_rows": 200_000}))
    for path in ("plans", "jobs"):
        refused = member.post(f"/api/v1/{path}", json=wide)
        assert refused.status_code == 422
        [error] = refused.json()["errors"]
        assert "200,000" in error["detail"]
        assert "diagnostics" in error["remedy"]
    assert admin.post("/api/v1/plans", json=wide).status_code == 200
    assert member.post("/api/v1/plans", json=JOB).status_code == 200


@pytest.mark.parametrize(
    "trials",
    [
        {"tune": {"optimizer.lr": [0.1, 0.2], "seeds": [100]}},
        {"search": {"space": {"optimizer.lr": {"kind": "float", "low": 0.1, "high": 0.2}}, "trials": 2, "seeds": [100]}},
    ],
)  # fmt: skip
def test_what_follows_from_trials_counts_as_planned(
    app: FastAPI, member: TestClient, replace: Replace, trials: dict[str, Any]
) -> None:
    settings = app.state.services.settings
    replace(settings=settings.model_copy(update={"planned_rows": 100}))
    # Two epochs of two variants: eight measurements of trials, then of each seed four.
    accepted, refused, grown = (
        member.post("/api/v1/plans", json=study(seeds=seeds, **trials))
        for seeds in (20, 40, "until decided, at most 40")
    )
    assert accepted.status_code == 200, accepted.text
    for answer in (refused, grown):
        assert answer.status_code == 422, answer.text
        assert "up to 168 measurements" in answer.json()["errors"][0]["detail"]


def test_the_answer_to_a_wrong_method_names_all_right_ones(member: TestClient) -> None:
    for path, allowed in (
        ("/jobs", "GET, POST"),
        ("/jobs/1", "DELETE, GET, PATCH"),
        ("/queue", "GET"),
    ):
        refused = member.put(f"/api/v1{path}")
        assert refused.status_code == 405
        assert refused.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/gc", {"dry_run": 0}),
        ("PATCH", "/users/ada", {"disabled": 0}),
        ("PATCH", "/users/ada", {"weight": "1"}),
        ("PATCH", "/users/ada", {"weight": 5e-324}),
        ("PATCH", "/limits/users/ada", {"disk_bytes": False}),
        ("PATCH", "/limits/roles/member", {"disk_bytes": True}),
        ("PATCH", "/limits/roles/member", {"timeout_seconds": True}),
    ],
)
def test_a_value_of_another_type_is_refused_not_converted(
    admin: TestClient, method: str, path: str, body: dict[str, Any]
) -> None:
    refused = admin.request(method, f"/api/v1{path}", json=body)
    assert refused.status_code == 422
    [name] = body
    assert refused.json()["errors"][0]["pointer"] == f"/{name}"


def test_a_limit_is_removed_by_null(admin: TestClient) -> None:
    path = "/api/v1/limits/users/ada"
    for given, is_now in (("1kB", 1000), (2000, 2000), (None, None)):
        changed = admin.patch(path, json={"disk_bytes": given})
        assert changed.status_code == 200, changed.text
        assert changed.json()["disk_bytes"] == is_now


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Answers:
    """An application whose requests stand until they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open: dict[str, asyncio.Event] = {}
        self.statuses: dict[str, int] = {}
        self._turns = FairTurns(self._answer, lambda scope: scope["client"], exempt=["a/healthz"])
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        await self.open[scope["path"]].wait()
        await send({"type": "http.response.start", "status": self.statuses.get(scope["path"], 200)})

    async def ask(self, *names: str) -> None:
        """The first letter of a name is its client's."""
        for name in names:
            self.open[name] = asyncio.Event()
            scope = {"type": "http", "path": name, "client": name[0]}
            self._tasks[name] = asyncio.create_task(self._turns(scope, None, _drop))  # type: ignore[arg-type]
            await asyncio.sleep(0)

    async def end(self, name: str, status: int = 200) -> None:
        self.statuses[name] = status
        self.open[name].set()
        await self._tasks[name]
        await asyncio.sleep(0)

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self._tasks[name]
        await asyncio.sleep(0)

    async def end_all(self) -> None:
        for event in self.open.values():
            event.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        assert sorted(self.begun) == sorted(set(self.begun))


async def _drop(message: Message) -> None:
    """What is answered."""


@pytest.fixture
def slow_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn ends by itself, and who was there is not forgotten."""
    monkeypatch.setattr(limits, "TURN_SECONDS", 600.0)
    monkeypatch.setattr(limits, "ACTIVE_SECONDS", 600.0)
    monkeypatch.setattr(limits, "GIVE_WAY_SECONDS", 600.0)


@pytest.mark.anyio
async def test_a_client_that_is_alone_waits_for_nothing(slow_turns: None) -> None:
    answers = Answers()
    await answers.ask("a1", "a2", "a3")
    assert answers.begun == ["a1", "a2", "a3"]
    await answers.end_all()


@pytest.mark.anyio
async def test_beside_others_one_request_of_a_client_is_answered_at_a_time(
    slow_turns: None,
) -> None:
    answers = Answers()
    await answers.ask("a1", "a2", "b1", "a3", "a4", "b2")
    assert answers.begun == ["a1", "a2", "b1"]
    await answers.end("a1")
    assert answers.begun == ["a1", "a2", "b1"]
    await answers.end("a2")
    assert answers.begun == ["a1", "a2", "b1", "a3"]
    # One that waits and is gone takes nobody's turn.
    await answers.cancel("a4")
    await answers.ask("a5")
    await answers.end("a3")
    assert answers.begun[4:] == ["a5"]
    await answers.end("a5")
    await answers.end("b1")
    assert answers.begun[5:] == ["b2"]
    await answers.end_all()


@pytest.mark.anyio
async def test_whose_requests_queue_up_lets_those_go_first_who_have_none_waiting(
    slow_turns: None,
) -> None:
    answers = Answers()
    await answers.ask("b1", "a1", "a2", "a3")
    await answers.end("a1")
    assert answers.begun == ["b1", "a1"]
    await answers.ask("c1")
    await answers.end("b1")
    assert answers.begun == ["b1", "a1", "c1"]
    await answers.end("c1")
    assert answers.begun == ["b1", "a1", "c1", "a2"]
    # Who comes next has not to wait for those that queue up.
    await answers.ask("b2")
    assert answers.begun[4:] == ["b2"]
    await answers.end("a2")
    await answers.end("b2")
    assert answers.begun[5:] == ["a3"]
    await answers.end_all()


@pytest.mark.anyio
async def test_nobody_gives_way_for_long(slow_turns: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others of whom one is always being answered would keep a client waiting for ever."""
    monkeypatch.setattr(limits, "GIVE_WAY_SECONDS", 0.0)
    answers = Answers()
    await answers.ask("b1", "c1", "a1", "a2")
    await answers.end("a1")
    assert answers.begun == ["b1", "c1", "a1", "a2"]
    await answers.end_all()


@pytest.mark.anyio
async def test_health_checks_and_more_than_may_wait_do_not_wait(
    slow_turns: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_WAITING", 1)
    answers = Answers()
    await answers.ask("b1", "a1", "a2", "a/healthz", "a3")
    assert answers.begun == ["b1", "a1", "a/healthz", "a3"]
    await answers.end_all()


def test_the_services_checks_and_the_pages_streams_wait_for_nobody(app: FastAPI) -> None:
    [turns] = [one for one in app.user_middleware if one.cls is FairTurns]
    never_wait = turns.kwargs["exempt"]
    assert set(never_wait) == {"/healthz", "/readyz", "/metrics", "/events"}
    # Each is a route; that of the metrics answers 404 while there is no token for it.
    client = TestClient(app, follow_redirects=False)
    missing = {path for path in never_wait if client.get(path).status_code == 404}
    assert missing <= {"/metrics"}


@pytest.mark.anyio
async def test_a_client_whose_neighbours_have_gone_no_longer_waits(
    slow_turns: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers()
    await answers.ask("b1", "a1", "a2", "a3")
    await answers.end("b1")
    assert answers.begun == ["b1", "a1"]
    monkeypatch.setattr(limits, "ACTIVE_SECONDS", -1.0)
    await answers.end("a1")
    assert answers.begun == ["b1", "a1", "a2", "a3"]
    await answers.end_all()


@pytest.mark.anyio
async def test_a_client_whose_request_was_refused_rests_while_others_are_active(
    slow_turns: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GIVE_WAY_SECONDS", 0.0)
    monkeypatch.setattr(limits, "LONGEST_REST_SECONDS", 600.0)
    monkeypatch.setattr(limits, "time", clock := Clock())
    answers = Answers()
    await answers.ask("b1", "a1", "a2")
    clock.now += 5
    await answers.end("a1", status=404)
    assert answers.begun == ["b1", "a1"]
    # Neither another end nor another request shortens it.
    await answers.ask("a3", "c1")
    await answers.end("b1")
    clock.now += 4
    await answers.end("c1")
    assert answers.begun == ["b1", "a1", "c1"]
    clock.now += 1
    await answers.ask("c2")
    await answers.end("c2", status=500)
    assert answers.begun == ["b1", "a1", "c1", "c2", "a2"]
    # What was answered well costs nothing.
    await answers.end("a2")
    assert answers.begun[-1] == "a3"
    await answers.end_all()


@pytest.mark.anyio
async def test_a_rest_ends_by_itself_and_is_none_of_a_client_that_is_alone(
    slow_turns: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GIVE_WAY_SECONDS", 0.0)
    answers = Answers()
    await answers.ask("a1")
    await answers.end("a1", status=404)
    await answers.ask("a2")
    assert answers.begun == ["a1", "a2"]
    await answers.ask("b1", "b2")
    await asyncio.sleep(0.02)
    await answers.end("b1", status=404)
    while len(answers.begun) < 4:
        await asyncio.sleep(0.01)
    assert answers.begun == ["a1", "a2", "b1", "b2"]
    await answers.end_all()


@pytest.mark.anyio
async def test_a_long_request_leaves_its_turn_to_the_next(
    slow_turns: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TURN_SECONDS", 0.01)
    answers = Answers()
    await answers.ask("b1", "a1", "a2")
    while len(answers.begun) < 3:
        await asyncio.sleep(0.01)
    # Its end is not the end of another's turn.
    await answers.end("a1")
    await answers.end_all()


def test_turns_are_a_tokens_where_it_is_valid_and_an_addresss_elsewhere(
    app: FastAPI, member: TestClient, viewer: TestClient, replace: Replace
) -> None:
    """A guess at each request makes nobody many clients."""

    replace(rates=make_rates(at_once=100)[0])

    def client(*headers: tuple[bytes, bytes]) -> Hashable:
        return find_client(
            {"type": "http", "app": app, "headers": list(headers), "client": ("203.0.113.7", 50000)}
        )

    def of(person: TestClient) -> Hashable:
        assert person.get("/api/v1/jobs").status_code == 200
        return client((b"authorization", person.headers["Authorization"].encode()))

    assert of(member) == of(member)
    assert len({of(member), of(viewer), "203.0.113.7"}) == 3
    browser = TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False)
    token = member.headers["Authorization"].removeprefix("Bearer ")
    browser.post("/login", data={"token": token})
    assert browser.get("/studies").status_code == 200
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    assert client((b"cookie", cookie.encode())) == of(member)
    for unknown in (b"Bearer guess", b"Bearer", b"Basic x", b"\xff", b""):
        assert client((b"authorization", unknown)) == "203.0.113.7"
    for cookie in (b"normlab_session_80=guess", b"normlab_session_=", b"=;;\xff"):
        assert client((b"host", b"x:y:z"), (b"cookie", cookie)) == "203.0.113.7"
