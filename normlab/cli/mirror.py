"""What MLflow lacks, in words: for `show` and for `status`."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from normlab.cli.output import Item, ago, duration, say

#: Problems that `status` shows; `show` says the rest.
SHOWN = 5
_LACKING = {"run": "it", "files": "its figures", "model": "its model"}


def problem_lines(item: Item) -> Iterator[str]:
    """Of a job or a study, its jobs named: `warning: MLflow lacks …`."""
    problems = item.get("mirror_problems", [])
    for problem in problems:
        of_job = "counts" in item and problem["job_id"] is not None
        owner = f"j{problem['job_id']}: " if of_job else ""
        yield f"warning: {owner}{_describe(problem)}"
    if (left := item.get("mirror_problem_count", 0) - len(problems)) > 0:
        yield f"warning: {left} more that MLflow lacks: normlab show each job"


def say_mirror(answer: Mapping[str, Any] | None) -> None:
    if answer is None or not answer["count"]:
        return
    say()
    say(f"MLflow lacks {answer['count']} of what is in the database:")
    for line in _lines(answer["problems"]):
        say(f"  {line}")
    if left := answer["count"] - len(answer["problems"]):
        say(f"  and {left} more")


def _lines(problems: Iterable[Item]) -> Iterator[str]:
    for problem in problems:
        if problem["job_id"] is not None:
            owner = f"j{problem['job_id']}"
        elif problem["study_id"] is not None:
            owner = f"s{problem['study_id']}"
        else:
            owner = "project"
        yield f"{owner} {problem['name']}: {_describe(problem)}"


def _describe(problem: Item) -> str:
    reason = " ".join(problem["reason"].split())
    if problem["kind"] not in _LACKING:
        return f"{reason} (noticed {ago('since')(problem)} ago)"
    text = f"MLflow lacks {_LACKING[problem['kind']]}: {reason}"
    if problem["next_at"] is None:
        return text
    tried = f"{problem['attempts']} attempt{'' if problem['attempts'] == 1 else 's'}"
    wait = datetime.fromisoformat(problem["next_at"]) - datetime.now(UTC)
    until = f"the next in {duration(wait.total_seconds())}"
    return f"{text} ({tried} in {ago('since')(problem)}, {until})"
