"""What the tests read from MLflow, by its own REST interface."""

from typing import Any

import httpx

from tests.support.stack import Stack


def mlflow_post(stack: Stack, path: str, body: Any) -> Any:
    answer = stack.mlflow.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def experiments(stack: Stack) -> list[str]:
    found = mlflow_post(stack, "experiments/search", {"max_results": 100})
    return [one["experiment_id"] for one in found.get("experiments", [])]


def runs(stack: Stack, condition: str) -> list[dict[str, Any]]:
    body = {"experiment_ids": experiments(stack), "filter": condition, "max_results": 1000}
    return [
        {
            "id": run["info"]["run_id"],
            "info": run["info"],
            "tags": {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])},
            "metrics": {one["key"]: one["value"] for one in run["data"].get("metrics", [])},
        }
        for run in mlflow_post(stack, "runs/search", body).get("runs", [])
    ]


def finished_runs(stack: Stack, study_id: int, expected: int) -> list[dict[str, Any]]:
    found = [
        run
        for run in runs(stack, f"tags.`normlab.study` = '{study_id}' and status = 'FINISHED'")
        if "normlab.job" in run["tags"]
    ]
    return found if len(found) == expected else []


def run_of_job(stack: Stack, job_id: int) -> dict[str, Any] | None:
    """The job's run once it is closed; None as well while MLflow doesn't answer."""
    try:
        found = runs(stack, f"tags.`normlab.job` = '{job_id}' and status = 'FINISHED'")
    except httpx.TransportError:
        return None
    return found[0] if found else None


def history(stack: Stack, run_id: str, metric: str) -> list[dict[str, Any]]:
    asked = {"run_id": run_id, "metric_key": metric}
    answer = stack.mlflow.get("metrics/get-history", params=asked)
    points: list[dict[str, Any]] = answer.json().get("metrics", [])
    return [{"step": int(point["step"]), "value": float(point["value"])} for point in points]
