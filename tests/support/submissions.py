"""What the API says to documents."""

from typing import Any

from fastapi.testclient import TestClient


def submit(client: TestClient, document: Any, path: str = "jobs") -> dict[str, Any]:
    """The accepted job or study."""
    answer = client.post(f"/api/v1/{path}", json=document)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refuse(client: TestClient, document: Any, path: str = "jobs") -> dict[str, Any]:
    """The only problem."""
    answer = client.post(f"/api/v1/{path}", json=document)
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["errors"]
    return dict(problem)
