"""Following jobs and studies: all of them until the end, and what has ended isn't asked for again."""

from typing import Any

import pytest

from normlab.cli import watch
from normlab.cli.render.progress import importance_lines
from normlab.cli.watch import describe_search, snapshots
from normlab.client.client import Client
from normlab.client.ids import Reference
from normlab.errors import NotReachable, WaitedTooLong

ONE, OTHER = Reference("study", 1), Reference("study", 2)


class Service(Client):
    """What each study says of its jobs, one answer after the other; the last one for ever."""

    def __init__(self, answers: dict[Reference, list[Any]]) -> None:
        self.answers = answers
        self.asked: list[Reference] = []

    def jobs_of(self, reference: Reference, *more: Any, **parameters: Any) -> list[dict[str, Any]]:
        self.asked.append(reference)
        left = self.answers[reference]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return [{"id": number, "status": status} for number, status in enumerate(answer)]


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that take no time."""
    taken: list[float] = []
    monkeypatch.setattr(watch.time, "sleep", taken.append)
    return taken


def test_what_has_ended_is_not_asked_for_again(naps: list[float]) -> None:
    service = Service({ONE: [["succeeded"]], OTHER: [["queued"], ["running"], ["failed"]]})
    seen = [[job["status"] for job in jobs] for jobs in snapshots(service, [ONE, OTHER])]
    assert seen == [["succeeded", "queued"], ["succeeded", "running"], ["succeeded", "failed"]]
    assert service.asked == [ONE, OTHER, OTHER, OTHER]
    assert all(0.5 <= pause <= 10 for pause in naps)


def test_a_service_that_is_away_for_a_moment_is_waited_for(naps: list[float]) -> None:
    service = Service({ONE: [NotReachable("away"), ["succeeded"]]})
    assert [len(jobs) for jobs in snapshots(service, [ONE])] == [1]
    assert naps == [1.0]


@pytest.mark.usefixtures("naps")
def test_patience_has_an_end() -> None:
    with pytest.raises(WaitedTooLong, match="1 running"):
        list(snapshots(Service({ONE: [["running"]]}), [ONE], timeout=0.0))


def test_nothing_to_wait_for_is_no_wait(naps: list[float]) -> None:
    assert list(snapshots(Service({}), [])) == [[]]
    assert naps == []


def test_of_a_search_it_is_said_why_its_jobs_become_more() -> None:
    search = {"trials": 48, "made": 24, "succeeded": 5, "failed": 0, "refused": 0}
    assert describe_search(ONE, search) == (
        "s1: 5 of 48 trials have succeeded; up to 24 of them are made as results come in, then the jobs of the comparison"
    )
    assert describe_search(ONE, {**search, "made": 48}) == "s1: 5 of 48 trials have succeeded"
    worse = {**search, "made": 48, "failed": 1, "refused": 2}
    assert describe_search(ONE, worse) == (
        "s1: 5 of 48 trials have succeeded, 1 has failed, 2 settings that can't be trained were skipped"
    )


def test_what_mattered_in_a_search_is_told_most_first() -> None:
    arm = {
        "arm": "group",
        "tried": [{}] * 20,
        "importance": {"norm.groups": 0.25, "optimizer.lr": 0.75},
    }
    assert list(importance_lines([arm, {"arm": "none", "tried": [], "importance": {}}])) == [
        "importance in group: optimizer.lr 75%, norm.groups 25%"
    ]
    assert list(importance_lines([{**arm, "tried": [{}] * 8}])) == [
        "importance in group: optimizer.lr 75%, norm.groups 25% (few trials: may be chance)"
    ]
