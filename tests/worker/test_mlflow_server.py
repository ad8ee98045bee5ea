"""MLflow's server in one process: it checks hosts as the two of `mlflow server` do."""

import httpx
import pytest


@pytest.mark.parametrize("route", ["/api/2.0/mlflow/experiments/search", "/"])
@pytest.mark.parametrize(
    ("host", "is_allowed"), [("mlflow:5000", True), ("elsewhere.example", False)]
)
def test_it_answers_to_its_allowed_hosts_only(
    mlflow_server: str, route: str, host: str, is_allowed: bool
) -> None:
    given = {"max_results": 1}
    with httpx.Client(base_url=mlflow_server, headers={"Host": host}) as client:
        answer = client.get(route) if route == "/" else client.post(route, json=given)
    assert answer.status_code == (200 if is_allowed else 403)
    assert ("Invalid Host header" in answer.text) != is_allowed
