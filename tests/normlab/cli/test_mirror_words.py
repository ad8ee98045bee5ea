"""What `show` and `status` say of what MLflow lacks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from normlab.cli.render.service import problem_lines, say_mirror


def problem(**fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "kind": "run",
        "job_id": None,
        "study_id": None,
        "reason": "MlflowException: too long",
        "attempts": 3,
        "since": (now - timedelta(minutes=11, seconds=1)).isoformat(),
        "next_at": (now + timedelta(seconds=20.9)).isoformat(),
        **fields,
    }


def test_a_job_says_what_mlflow_lacks_why_and_when_it_is_tried_again() -> None:
    item = {"mirror_problems": [problem(job_id=12), problem(job_id=12, kind="model", next_at=None)]}
    assert list(problem_lines(item)) == [
        "warning: MLflow lacks it: MlflowException: too long (3 attempts in 11m, the next in 20s)",
        "warning: MLflow lacks its model: MlflowException: too long",
    ]


def test_a_study_names_the_job_that_mlflow_lacks() -> None:
    deleted = problem(job_id=12, kind="deleted", reason="somebody deleted its run", next_at=None)
    item = {"counts": {}, "mirror_problems": [deleted], "mirror_problem_count": 3}
    assert list(problem_lines(item)) == [
        "warning: j12: somebody deleted its run (noticed 11m ago)",
        "warning: 2 more missing in MLflow: run `normlab show` for each job",
    ]


def test_status_says_how_much_mlflow_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [problem(job_id=12, name="batch | seed 1"), problem(study_id=3, name="norms")]
    say_mirror({"count": 4, "problems": problems})
    assert capsys.readouterr().out.splitlines() == [
        "",
        "MLflow lacks 4 items that are in the database:",
        "  j12 batch | seed 1: MLflow lacks it: MlflowException: too long "
        "(3 attempts in 11m, the next in 20s)",
        "  s3 norms: MLflow lacks it: MlflowException: too long (3 attempts in 11m, the next in 20s)",
        "  and 2 more",
    ]


@pytest.mark.parametrize("answer", [None, {"count": 0, "problems": []}])
def test_status_is_silent_where_nothing_lacks(
    answer: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    say_mirror(answer)
    assert capsys.readouterr().out == ""
