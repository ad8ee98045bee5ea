"""Problems of the service as text: what is missing in MLflow, and hosts that cannot claim jobs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from normlab.cli.render.output import Item, ago, duration, say, seconds_since

#: Problems that `status` shows; `show` says the rest.
SHOWN = 5
#: A host that has been silent for longer was removed or renamed.
_FORGOTTEN_SECONDS = 24 * 3600.0
_LACKING = {"run": "it", "files": "its figures", "model": "its model"}


def problem_lines(item: Item) -> Iterator[str]:
    """Of a job or a study, its jobs named: `warning: MLflow lacks …`."""
    problems = item.get("mirror_problems", [])
    for problem in problems:
        of_job = "counts" in item and problem["job_id"] is not None
        owner = f"j{problem['job_id']}: " if of_job else ""
        yield f"warning: {owner}{_describe(problem)}"
    if (left := item.get("mirror_problem_count", 0) - len(problems)) > 0:
        yield f"warning: {left} more missing in MLflow: run `normlab show` for each job"


def say_mirror(answer: Mapping[str, Any] | None) -> None:
    if answer is None or not answer["count"]:
        return
    say()
    say(f"MLflow lacks {answer['count']} items that are in the database:")
    for line in _problem_lines(answer["problems"]):
        say(f"  {line}")
    if left := answer["count"] - len(answer["problems"]):
        say(f"  and {left} more")


def _problem_lines(problems: Iterable[Item]) -> Iterator[str]:
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


def say_workers(workers: Sequence[Item] | None) -> None:
    """Print a warning for each problem of a host."""
    lines = [line for worker in workers or () for line in _host_lines(worker)]
    if lines:
        say()
    for line in lines:
        say(f"warning: {line}")


def _host_lines(worker: Item) -> Sequence[str]:
    if not worker["alive"]:
        # One that was stopped on purpose says so before it goes; one that is gone for good never does.
        if worker["draining"] or seconds_since(worker["seen_at"]) > _FORGOTTEN_SECONDS:
            return []
        return [f"host {worker['host']} has not reported for {ago('seen_at')(worker)}"]
    return [f"host {worker['host']}: {problem}" for problem in worker["problems"]]
