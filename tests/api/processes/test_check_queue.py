"""Whose turn it is to be checked: everybody's in turn, whatever the number of their questions."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from api.processes import check_queue
from api.processes.check_queue import CheckQueue, Closed, NoPlace, NotYet, Work
from runtime.supervision import HelperGone

ANN, BOB, CAT = 1, 2, 3

Start = Callable[..., "Scene"]


class Scene:
    """A queue, and a thread for each who asks."""

    def __init__(self, threads: ThreadPoolExecutor, helpers: int, places: int) -> None:
        self.queue = CheckQueue(helpers=helpers, places=places)
        self.queue.resume()
        self._threads = threads

    def ask(self, person: int, key: str) -> "Future[Any]":
        """Returns when the question waits, or is answered."""
        before = self._count(person, key)
        asked = self._threads.submit(
            self.queue.ask, person, Work(key, {}, lambda answer: answer), 30.0
        )
        deadline = time.monotonic() + 120
        while self._count(person, key) == before and not asked.done():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return asked

    def _count(self, person: int, key: str) -> int:
        # Not how many there are in all: a newcomer's place may be another's before.
        places = [*self.queue._places]
        return sum((place.person, place.work.key) == (person, key) for place in places)

    def take(self) -> Work:
        work = self.queue.take()
        assert work is not None
        return work

    def take_and_answer(self) -> str:
        work = self.take()
        self.queue.finish(work, f"answer to {work.key}")
        return work.key


@pytest.fixture
def start() -> Iterator[Start]:
    scenes: list[Scene] = []
    with ThreadPoolExecutor(16) as threads:

        def start(helpers: int = 1, places: int = 8) -> Scene:
            scenes.append(Scene(threads, helpers, places))
            return scenes[-1]

        yield start
        for scene in scenes:
            scene.queue.close()


def test_people_take_turns(start: Start) -> None:
    scene = start()
    for person, key in (
        (ANN, "a1"),
        (ANN, "a2"),
        (ANN, "a3"),
        (BOB, "b1"),
        (CAT, "c1"),
        (BOB, "b2"),
    ):
        scene.ask(person, key)
    order = [scene.take_and_answer() for _ in range(6)]
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_the_last_free_helper_is_kept_for_people_for_whom_none_works(start: Start) -> None:
    scene = start(helpers=2)
    scene.ask(ANN, "a1")
    scene.ask(ANN, "a2")
    first = scene.take()
    scene.ask(BOB, "b1")
    assert scene.take_and_answer() == "b1"
    scene.queue.finish(first)
    assert scene.take_and_answer() == "a2"


def test_equal_questions_are_asked_once(start: Start) -> None:
    scene = start()
    answers = [scene.ask(ANN, "same"), scene.ask(BOB, "same")]
    work = scene.take()
    answers.append(scene.ask(CAT, "same"))
    scene.queue.finish(work, "yes")
    assert [answer.result() for answer in answers] == ["yes"] * 3
    scene.ask(BOB, "other")
    assert scene.take_and_answer() == "other"


def test_an_error_is_everybodys_who_asked(start: Start) -> None:
    scene = start()
    answers = [scene.ask(ANN, "same"), scene.ask(BOB, "same")]
    scene.queue.finish(scene.take(), error=HelperGone("ended"))
    assert all(isinstance(answer.exception(), HelperGone) for answer in answers)


def test_nobody_has_more_than_their_places(start: Start) -> None:
    scene = start(places=2)
    scene.ask(ANN, "a1")
    scene.ask(ANN, "a2")
    scene.take()
    with pytest.raises(NoPlace, match="2 of your requests are already waiting"):
        scene.ask(ANN, "a3").result()
    assert not scene.ask(BOB, "b1").done()


def test_whoever_has_most_places_loses_one_to_somebody_with_fewer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_queue, "MOST_PLACES", 4)
    scene = start()
    asked = {key: scene.ask(ANN, key) for key in ("a1", "a2", "a3")}
    scene.ask(BOB, "b1")
    bobs = scene.ask(BOB, "b2")
    with pytest.raises(NoPlace, match="users with fewer"):
        asked["a3"].result()
    assert not bobs.done()
    with pytest.raises(NoPlace, match="4 requests are already waiting"):
        scene.ask(BOB, "b3").result()
    assert [scene.take_and_answer() for _ in range(4)] == ["a1", "b1", "a2", "b2"]


def test_who_no_longer_waits_is_not_asked_for(start: Start) -> None:
    scene = start()
    with pytest.raises(NotYet) as refusal:
        scene.queue.ask(ANN, Work("a1", {}, lambda answer: answer), 0.0)
    assert not refusal.value.is_running
    scene.ask(ANN, "a2")
    assert scene.take_and_answer() == "a2"


def test_nothing_is_taken_while_there_is_no_server(start: Start) -> None:
    scene = start()
    scene.queue.pause()
    asked = scene.ask(ANN, "a1")
    with ThreadPoolExecutor(1) as helper:
        taken = helper.submit(scene.take_and_answer)
        with pytest.raises(TimeoutError):
            taken.result(timeout=0.05)
        scene.queue.resume()
        assert taken.result() == "a1"
    assert asked.result() == "answer to a1"


def test_closing_sends_everybody_away(start: Start) -> None:
    scene = start()
    asked = scene.ask(ANN, "a1")
    scene.queue.close()
    with pytest.raises(Closed):
        asked.result()
    assert scene.queue.take() is None
    with pytest.raises(Closed):
        scene.ask(BOB, "b1").result()
