"""What MLflow answers to somebody who may not read an experiment: as if it weren't there."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.orm import Session, sessionmaker

from store.access import members
from store.accounts import users
from store.catalog import projects
from store.deletions import deleting, leftovers
from tests.worker.mlflow_server.conftest import People
from tests.worker.mlflow_server.test_access import EVERYTHING, read
from worker.mlflow_server.hiding import MOST_BYTES, Hiding, leave_out
from worker.mlflow_server.named import Named

NAME = "zebrafish"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
PRESIGNED = "/api/2.0/mlflow-artifacts/presigned"


@pytest.fixture(scope="module")
def secret(mlflow_server: str) -> tuple[str, str, str]:
    """An experiment, its run and that one's model, as the mirror has written them."""
    client = MlflowClient(mlflow_server)
    experiment = client.create_experiment(NAME)
    run: str = client.create_run(experiment, run_name=NAME).info.run_id
    client.log_metric(run, "test/accuracy", 0.75)
    client.log_text(run, NAME, "curves/notes.txt")
    model = client.create_logged_model(experiment, name=NAME, source_run_id=run)
    return experiment, run, model.model_id


@pytest.fixture
def hidden(sessions: sessionmaker[Session], secret: tuple[str, str, str]) -> Iterator[str]:
    """The private project whose experiment that is."""
    with sessions.begin() as session:
        owner = users.create_user(session, "max", "member")
        projects.create(session, NAME, owner, "private").experiment_id = secret[0]
    return NAME


WAYS: dict[str, Callable[[MlflowClient, str, str, str], Any]] = {
    "get_experiment": lambda client, experiment, run, model: client.get_experiment(experiment),
    "get_run": lambda client, experiment, run, model: client.get_run(run),
    "search_runs": lambda client, experiment, run, model: client.search_runs([experiment]),
    "metrics": lambda client, experiment, run, model: client.get_metric_history(
        run, "test/accuracy"
    ),
    "files": lambda client, experiment, run, model: client.list_artifacts(run, "curves"),
    "model": lambda client, experiment, run, model: client.get_logged_model(model),
    "models": lambda client, experiment, run, model: client.search_logged_models([experiment]),
}


def test_a_stranger_reads_what_is_open_and_finds_nothing_of_a_private_project(
    people: People, run_id: str, secret: tuple[str, str, str], hidden: str
) -> None:
    experiment, run, _ = secret
    name, token = people.add("viewer")
    with people.client(name, token) as client:
        assert read(client, run_id) == EVERYTHING
        for way, ask in WAYS.items():
            with pytest.raises(MlflowException) as refused:
                ask(client, *secret)
            assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST", way
        assert NAME not in [one.name for one in client.search_experiments()]
        assert client.get_experiment_by_name(NAME) is None
    for address in (
        f"{FILES}/{experiment}/{run}/artifacts/curves/notes.txt",
        f"{FILES}?path={experiment}",
        f"{FILES}?path=./{experiment}/.",
        FILES,
        f"/get-artifact?run_uuid={run}&path=curves/notes.txt",
    ):
        answer = people.ask("GET", address, auth=(name, token))
        assert answer.status_code == 404, address
        assert NAME not in answer.text


def escape(text: str, times: int) -> str:
    """All of it, percent-encoded as often."""
    escaped = "".join(f"%{ord(one):02X}" for one in text)
    return escaped.replace("%", "%" + "25" * (times - 1)) if times > 1 else escaped


#: Ways to write an address, all of which MLflow understands.
WRITTEN: dict[str, Callable[[str], str]] = {
    "once": lambda folder: escape(folder, 1),
    "twice": lambda folder: escape(folder, 2),
    "three times": lambda folder: escape(folder, 3),
    "a question mark": lambda folder: f"{folder}%3F",
    "an escaped question mark": lambda folder: f"{folder}%253F",
    "a place here": lambda folder: f".%252F{folder}",
    "a tabulator": lambda folder: f"%09{folder}",
}


@pytest.mark.parametrize("by", ["viewer", "admin"])
def test_a_hidden_folder_stays_hidden_however_its_address_is_written(
    people: People, secret: tuple[str, str, str], hidden: str, by: users.Role
) -> None:
    experiment, run, _ = secret
    login = people.add(by)
    # What an admin reads shows that MLflow understands these addresses.
    is_shown = by == "admin"
    for way, write in WRITTEN.items():
        folder = write(experiment)
        listed = people.ask("GET", f"{FILES}?path={folder}", auth=login)
        assert (run in listed.text) == is_shown, way
        for open_first in (f"path=0&path={folder}", f"path={folder}&path=0"):
            repeated = people.ask("GET", f"{FILES}?{open_first}", auth=login)
            assert is_shown or repeated.status_code == 404, (way, open_first)
        file = write(f"{experiment}/{run}/artifacts/curves/notes.txt")
        found = people.ask("GET", f"{FILES}/{file}", auth=login)
        assert (found.status_code == 200 and NAME in found.text) == is_shown, way
        signed = people.ask("GET", f"{PRESIGNED}/{file}", auth=login)
        # Files of a folder on disk can't be signed for anybody.
        assert (signed.status_code != 404) == is_shown, way


def test_an_open_folder_is_found_by_whoever_may_read_it(
    people: People, run_id: str, hidden: str
) -> None:
    login = people.add("viewer")
    experiment = MlflowClient(people.url).get_run(run_id).info.experiment_id
    for times in (1, 2):
        folder = escape(experiment, times)
        listed = people.ask("GET", f"{FILES}?path={folder}", auth=login)
        assert run_id in listed.text
        file = people.ask(
            "GET", f"{FILES}/{folder}/{run_id}/artifacts/curves/notes.txt", auth=login
        )
        assert file.text == "what the mirror has sent"


@pytest.mark.parametrize(
    "place",
    [
        "7%",
        "7/a%",
        "7/a?b",
        "7/a;b",
        "7/a#b",
        "7/a\\b",
        "x:7",
        "file:7",
        "7\x00",
        "../7",
        "a/7",
        "",
        ".",
    ],
)
def test_a_place_that_could_be_read_in_two_ways_is_refused(place: str) -> None:
    assert Named.of(FILES, urlencode({"path": place}), b"") is None


def test_of_a_list_of_files_the_folders_of_hidden_runs_are_left_out() -> None:
    run, other = "a" * 32, "b" * 32
    document = {"files": [{"path": run, "is_dir": True}, {"path": other, "is_dir": True}]}
    shown = leave_out(document, {"7"}, {run: "7", other: "8"})
    assert shown == {"files": [{"path": other, "is_dir": True}]}


def test_of_a_request_that_is_too_long_no_more_is_read() -> None:
    parts = iter([{"type": "http.request", "body": b" " * MOST_BYTES, "more_body": True}] * 9)
    sent: list[Any] = []

    async def receive() -> Any:
        return next(parts)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [],
    }
    asyncio.run(Hiding(None, None).answer(scope, receive, send, {"7"}))  # type: ignore[arg-type]
    assert sent[0]["status"] == 404
    assert len(list(parts)) == 7


def test_of_a_deleted_private_project_nothing_is_found_until_it_is_erased(
    people: People, secret: tuple[str, str, str], hidden: str
) -> None:
    with people.sessions.begin() as session:
        project = projects.find(session, hidden)
        assert project is not None
        deleting.delete_project(session, project)
    ask = "GET", f"/api/2.0/mlflow/runs/get?run_id={secret[1]}"
    assert people.ask(*ask, auth=people.add("viewer")).status_code == 404
    assert people.ask(*ask, auth=people.add("admin")).status_code == 200
    with people.sessions.begin() as session:
        leftovers.note_runs_removed(session, [one.id for one in leftovers.find_runs(session)])
    # What has its number now would be another one.
    assert people.ask(*ask, auth=people.add("viewer")).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        'query {{ mlflowGetRun(input: {{runId: "{run}"}}) {{ run {{ info {{ runName }} }} }} }}',
        'query {{ mlflowSearchRuns(input: {{experimentIds: ["{experiment}"]}}) {{ runs {{ info {{ runName }} }} }} }}',
    ],
)
def test_the_page_s_queries_find_nothing_of_it_either(
    people: People, secret: tuple[str, str, str], hidden: str, query: str
) -> None:
    experiment, run, _ = secret
    body = {"query": query.format(run=run, experiment=experiment)}
    found = people.ask("POST", "/graphql", json=body, auth=people.add("viewer"))
    assert found.status_code == 404
    assert NAME in people.ask("POST", "/graphql", json=body, auth=people.add("admin")).text


def test_who_is_listed_in_the_project_reads_its_experiment(
    people: People, secret: tuple[str, str, str], hidden: str
) -> None:
    name, token = people.add("viewer")
    with people.sessions.begin() as session:
        project, user = projects.find(session, hidden), users.find(session, name)
        assert project is not None
        assert user is not None
        members.set_role(session, project, user, "viewer")
    with people.client(name, token) as client:
        assert client.get_run(secret[1]).info.run_name == NAME


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [
        ("/api/2.0/mlflow/experiments/get", "experiment_id=7", b""),
        ("/api/2.0/mlflow/runs/search", "", b'{"experiment_ids": [7]}'),
        ("/api/2.0/mlflow/runs/search", "", b'{"experimentIds": ["+07 "]}'),
        ("/api/2.0/mlflow/runs/search", "", json.dumps('{"experiment_ids": ["7"]}').encode()),
        (f"{FILES}/7/x", "", b""),
        (f"{FILES}", "path=./7/x", b""),
        ("/graphql", "", b'{"query": "{ a(b: [\\"\\\\u0037\\"]) }"}'),
        ("/graphql", "", b'{"query": "query q($e: ID) { a(b: $e) }", "variables": {"e": 7}}'),
    ],
)
def test_an_experiment_is_found_however_a_request_names_it(
    path: str, query: str, body: bytes
) -> None:
    named = Named.of(path, query, body)
    assert named is not None
    assert "7" in named.experiments


def test_of_an_answer_all_that_is_hidden_is_left_out() -> None:
    run = "a" * 32
    document = {
        "runs": [{"info": {"experiment_id": "7"}}, {"info": {"experiment_id": "8"}}],
        "versions": [{"run_id": run}, {"run_id": "b" * 32}],
    }
    assert leave_out(document, {"7"}, {run: "7"}) == {
        "runs": [{"info": {"experiment_id": "8"}}],
        "versions": [{"run_id": "b" * 32}],
    }
