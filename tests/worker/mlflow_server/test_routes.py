"""Every route that this MLflow has: what is no known read is closed to people."""

import json
import subprocess
import sys
from typing import Any

import pytest

from worker.mlflow_server.routes import is_mirrors, is_read

#: Prints them as JSON. A process of its own: MLflow's server changes what the libraries of this one do.
PROGRAM = """
import json
from mlflow.server.fastapi_app import app, flask_app
from mlflow.server.graphql.graphql_schema_extensions import schema

def of(routes, prefix=""):
    for route in routes:
        if (router := getattr(route, "original_router", None)) is not None:
            yield from of(router.routes, prefix + route.include_context.prefix)
        for method in getattr(route, "methods", None) or ():
            yield method, prefix + route.path

rules = [(method, rule.rule) for rule in flask_app.url_map.iter_rules() for method in rule.methods]
print(json.dumps({"routes": [*rules, *of(app.routes)], "changes": [*schema.graphql_schema.mutation_type.fields]}))
"""

#: POST requests that only search; each stands under `/api/…` and `/ajax-api/…`.
SEARCHES = {
    "artifacts/presigned-download-url", "datasets/search", "experiments/search", "experiments/search-datasets",
    "logged-models/search", "registered-models/get-latest-versions", "runs/search", "traces/batchGetInfos", "traces/search",
}  # fmt: skip
#: What may be read without being a result, or runs something.
CLOSED = (
    "assistant", "demo", "gateway", "invoke", "jobs", "mcp-servers", "scorers", "upload-artifact", "webhooks", "workspaces",
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> dict[str, list[Any]]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def routes(server: dict[str, list[Any]]) -> set[tuple[str, str]]:
    """Method and path, with a word in place of each variable."""
    found = {(method, path) for method, path in server["routes"]}
    assert {("POST", "/v1/traces"), ("POST", "/api/2.0/mlflow/runs/search")} <= found
    return found


def _rest(path: str) -> str:
    return path.partition("/mlflow/")[2]


def test_people_send_searches_and_nothing_else(routes: set[tuple[str, str]]) -> None:
    sent = {(method, path) for method, path in routes if is_read(method, path)}
    others = {(method, path) for method, path in sent if method not in ("GET", "HEAD")}
    assert {_rest(path) for method, path in others if path != "/graphql"} == SEARCHES
    assert {method for method, _ in others} == {"POST"}


def test_what_is_no_result_is_closed_to_people_and_to_the_mirror(
    routes: set[tuple[str, str]],
) -> None:
    closed = [route for route in routes if any(word in route[1] for word in CLOSED)]
    assert len(closed) > 50
    assert [route for route in closed if is_read(*route)] == []
    assert [route for route in closed if is_mirrors(*route)] == []


def test_what_its_client_and_page_read_is_open(routes: set[tuple[str, str]]) -> None:
    reads = {_rest(path) for method, path in routes if is_read(method, path)}
    assert {
        "runs/get",
        "logged-models/<model_id>/artifacts/files",
        "metrics/get-history-bulk",
    } <= reads


def test_no_field_of_its_graphql_writes(server: dict[str, list[Any]]) -> None:
    assert set(server["changes"]) == {"mlflowSearchDatasets", "mlflowSearchRuns", "testMutation"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/2.0/mlflow/runs/search/",
        "/x/api/2.0/mlflow/runs/search",
        "/api/2.0/mlflow/runs/search\n",
        "//api/2.0/mlflow/runs/search",
        "/api/2.0/mlflow/runs/delete",
        "/api/2.0/mlflow/logged-models/../runs/delete",
    ],
)
def test_a_path_must_be_the_whole_route(path: str) -> None:
    assert not is_read("POST", path)
