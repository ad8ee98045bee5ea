"""MLflow's server in one process: it checks hosts as the two of `mlflow server` do."""

import httpx
import pytest

from tests.support.mlflow_server import MIRROR_TOKEN


@pytest.mark.parametrize("route", ["/api/2.0/mlflow/experiments/search", "/"])
@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [("mlflow:5000", True), ("normlab.example:5443", True), ("elsewhere.example", False)],
)
def test_it_answers_to_its_allowed_hosts_only(
    mlflow_server: str, route: str, host: str, is_allowed: bool
) -> None:
    given = {"max_results": 1}
    headers = {"Host": host, "Authorization": f"Bearer {MIRROR_TOKEN}"}
    with httpx.Client(base_url=mlflow_server, headers=headers) as client:
        answer = client.get(route) if route == "/" else client.post(route, json=given)
    assert answer.status_code == (200 if is_allowed else 403)
    assert ("Invalid Host header" in answer.text) != is_allowed


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://normlab.example:5443", 200), ("https://elsewhere.example", 403)],
)
def test_its_page_may_search_from_behind_a_proxy_and_others_may_not(
    mlflow_server: str, origin: str, status: int
) -> None:
    headers = {"Origin": origin, "Authorization": f"Bearer {MIRROR_TOKEN}"}
    route = f"{mlflow_server}/ajax-api/2.0/mlflow/experiments/search"
    assert httpx.post(route, json={"max_results": 1}, headers=headers).status_code == status
