"""Who may do what in MLflow, asked with its own client and as a browser asks."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import PlainTextResponse

from store.accounts import authentication, users
from store.accounts import sessions as browser_sessions
from store.db.engine import make_engine, make_sessions
from tests.support.mlflow_server import MIRROR_TOKEN
from tests.worker.mlflow_server.conftest import People
from worker.mlflow_server import callers
from worker.mlflow_server.access import Access
from worker.mlflow_server.callers import Callers, Credentials

#: Served by Flask, by FastAPI, and by neither.
ROUTES = (
    ("GET", "/"),
    ("GET", "/version"),
    ("GET", "/static-files/manifest.json"),
    ("POST", "/api/2.0/mlflow/runs/search"),
    ("POST", "/ajax-api/2.0/mlflow/runs/search"),
    ("POST", "/graphql"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts/curves/notes.txt"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts/curves/notes.txt"),
    ("GET", "/get-artifact"),
    ("GET", "/api/3.0/mlflow/server-info"),
    ("POST", "/v1/traces"),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
    ("GET", "/no/such/page"),
)
CHANGES: dict[str, Callable[[MlflowClient, str], Any]] = {
    "log_metric": lambda client, run: client.log_metric(run, "test/accuracy", 0.9999),
    "set_tag": lambda client, run: client.set_tag(run, "normlab.variant", "mine"),
    "log_text": lambda client, run: client.log_text(run, "forged", "curves/notes.txt"),
    "delete_run": lambda client, run: client.delete_run(run),
    "create_experiment": lambda client, run: client.create_experiment("mine"),
    "create_registered_model": lambda client, run: client.create_registered_model("mine"),
}


def read(client: MlflowClient, run_id: str) -> list[Any]:
    """By every way that a person reads a run: what each answers."""
    run = client.get_run(run_id)
    [found] = client.search_runs([run.info.experiment_id], "metrics.`test/accuracy` > 0.5")
    [point] = client.get_metric_history(run_id, "test/accuracy")
    [model] = client.search_logged_models([run.info.experiment_id])
    experiment = client.get_experiment(run.info.experiment_id)
    client.search_experiments()
    client.search_registered_models()
    client.search_traces(locations=[run.info.experiment_id])
    return [
        found.data.metrics, point.step, run.data.params, model.name, experiment.lifecycle_stage, run.info.lifecycle_stage,
        [file.path for file in client.list_artifacts(run_id, "curves")],
        Path(client.download_artifacts(run_id, "curves/notes.txt")).read_text(),
    ]  # fmt: skip


EVERYTHING = [
    {"test/accuracy": 0.75}, 3, {"norm.kind": "batch"}, "best", "active", "active", ["curves/notes.txt"],
    "what the mirror has sent",
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_gets_in_without_a_token(people: People, method: str, path: str) -> None:
    answer = people.ask(method, path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert "MLFLOW_TRACKING_TOKEN" in answer.json()["message"]


def test_a_program_without_a_token_is_told_where_to_get_one(people: People, run_id: str) -> None:
    with people.client("", "") as client, pytest.raises(MlflowException) as refused:
        client.get_run(run_id)
    assert refused.value.error_code == "UNAUTHENTICATED"
    assert "`normlab token create`" in str(refused.value)


def test_only_whether_it_runs_is_told_to_everybody(people: People) -> None:
    assert people.ask("GET", "/health").text == "OK"


@pytest.mark.parametrize(
    ("role", "login", "scope"),
    [
        ("admin", "password", "all"),
        ("admin", "token", "read"),
        ("member", "token", "all"),
        ("viewer", "password", "all"),
    ],
)
def test_whoever_has_a_token_reads_everything(
    people: People, run_id: str, role: users.Role, login: str, scope: users.Scope
) -> None:
    with people.client(*people.add(role, scope=scope), login) as client:
        assert read(client, run_id) == EVERYTHING


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
def test_no_role_writes(people: People, run_id: str, role: users.Role) -> None:
    with people.client(*people.add(role)) as client:
        for change in CHANGES.values():
            # Files are sent without MLflow's own errors.
            with pytest.raises(Exception, match=r"PERMISSION_DENIED|403"):
                change(client, run_id)
        assert read(client, run_id) == EVERYTHING


def test_a_refusal_says_who_writes(people: People, run_id: str) -> None:
    with people.client(*people.add("admin")) as client:
        with pytest.raises(MlflowException) as refused:
            client.set_tag(run_id, "a", "b")
        assert "only its mirror writes it" in str(refused.value)


def test_the_mirror_writes_runs_but_starts_nothing_on_the_host(people: People) -> None:
    client = MlflowClient(people.url)
    experiment = client.create_experiment("the mirror's")
    client.delete_run(client.create_run(experiment).info.run_id)
    with pytest.raises(MlflowException, match="the mirror may not POST"):
        client.create_webhook("mine", "https://example.org", ["registered_model.created"])


@pytest.mark.parametrize("kind", ["add_expired", "add_revoked", "add_disabled", "unknown"])
def test_a_token_that_the_api_refuses_is_refused_here(people: People, kind: str) -> None:
    token = f"nl_{kind}" if kind == "unknown" else getattr(people, kind)()
    answer = people.ask("GET", "/version", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert "unknown, expired or revoked" in answer.json()["message"]


def test_a_name_must_be_that_of_the_tokens_user(people: People) -> None:
    _, token = people.add("member")
    answer = people.ask("GET", "/version", auth=("admin", token))
    assert answer.status_code == 401
    assert "The token is not one of 'admin'" in answer.json()["message"]


def test_a_browser_that_is_logged_in_to_normlab_is_logged_in_here(people: People) -> None:
    _, token = people.add("viewer")
    with people.sessions.begin() as session:
        row = authentication.lock_token(session, token)
        assert row is not None
        secret, _ = browser_sessions.open_session(session, row)
    # Cookies belong to a host: those of another service on another port come along.
    cookies = {"normlab_session_8001": "ns_another", "normlab_session_8000": secret}
    page = people.ask("GET", "/", cookies=cookies)
    assert "<title>MLflow</title>" in page.text
    assert people.ask("POST", "/graphql", cookies=cookies).status_code != 401
    # It is a browser's, as for the API.
    assert people.ask("GET", "/", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_a_browser_without_a_session_asks_for_a_password_and_shows_words(people: People) -> None:
    answer = people.ask("GET", "/", headers={"Accept": "text/html,*/*"})
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert answer.text.startswith("MLflow asks for your Normlab login.")


@pytest.mark.parametrize("header", ["Basic !", "Basic Zm9v", "Bearer", "Digest x", "nl_x"])
def test_a_login_that_is_none_is_refused(people: People, header: str) -> None:
    assert people.ask("GET", "/", headers={"Authorization": header}).status_code == 401


def test_without_a_database_nobody_gets_in_but_the_mirror() -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("MLflow")(scope, receive, send)

    absent = make_sessions(make_engine("postgresql://nobody@127.0.0.1:1/none"))
    access = Access(answer, Callers(absent), MIRROR_TOKEN)

    async def ask(token: str) -> httpx.Response:
        transport = httpx.ASGITransport(access)
        async with httpx.AsyncClient(transport=transport, base_url="http://mlflow") as client:
            return await client.get("/version", headers={"Authorization": f"Bearer {token}"})

    refused = asyncio.run(ask("nl_somebody"))
    assert refused.status_code == 503
    assert "Normlab's database does not answer" in refused.json()["message"]
    assert asyncio.run(ask(MIRROR_TOKEN)).text == "MLflow"


def test_an_answer_of_the_database_is_kept_for_seconds_only(
    people: People, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = people.add("member")
    known, credentials = Callers(sessions), Credentials("token", (token,))

    async def find() -> str | None:
        caller = await known.find(credentials)
        return caller and caller.caller.user.name

    async def watch() -> list[str | None]:
        answers = [await find()]
        with sessions.begin() as session:
            row = authentication.lock_token(session, token)
            assert row is not None
            users.revoke_token(session, row.id)
        answers.append(await find())
        monkeypatch.setattr(callers.time, "monotonic", lambda: 1e9)
        return [*answers, await find()]

    assert asyncio.run(watch()) == ["member", "member", None]


def test_a_use_in_mlflow_is_noted_as_the_tokens_last(people: People) -> None:
    name, token = people.add("member")
    assert people.ask("GET", "/version", auth=(name, token)).status_code == 200
    with people.sessions.begin() as session:
        row = authentication.lock_token(session, token)
        assert row is not None
        assert row.last_used_at is not None
