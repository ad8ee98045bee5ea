"""The order in which contestants take turns, so that what else the machine does hits all alike."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from bench.harness.process_tree import kill_descendants, limit_time
from bench.harness.progress import say

Name = TypeVar("Name")
Result = TypeVar("Result")

_MOST_CHARACTERS = 200
#: Of one contestant; afterwards it is not run again, so that what hangs doesn't cost the others their time.
MOST_FAILURES = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """In place of a contestant's result of one round."""

    reason: str


def interleave(names: Sequence[Name], rounds: int) -> Iterator[tuple[int, Name]]:
    """Every contestant once a round; each round begins with the next one, so that none is always first."""
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            yield number, name


def take_turns(
    contestants: Mapping[str, Callable[[], Result]],
    rounds: int,
    announce: Callable[[int, str], None] = lambda number, name: None,
) -> dict[str, list[Result]]:
    """What each returned, round by round."""
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for number, name in interleave(list(contestants), rounds):
        announce(number, name)
        results[name].append(contestants[name]())
    return results


def tolerate(work: Callable[[], Result], limit_seconds: float) -> Callable[[], Result | Failure]:
    """The work as a contestant whose failure is a result, so that the others' results are kept. Processes that
    it leaves behind, or still has at the limit, are killed."""
    failures: list[Failure] = []

    def attempt() -> Result | Failure:
        if len(failures) == MOST_FAILURES:
            return failures[-1]
        with limit_time(limit_seconds):
            result = catch_failure(work)
        if isinstance(result, Failure):
            kill_descendants()
            failures.append(result)
        return result

    return attempt


def catch_failure(work: Callable[[], Result]) -> Result | Failure:
    try:
        return work()
    except Exception as error:
        say(traceback.format_exc())
        return Failure(f"{type(error).__name__}: {error}".splitlines()[0][:_MOST_CHARACTERS])


def successes(results: Sequence[Result | Failure]) -> list[Result]:
    return [result for result in results if not isinstance(result, Failure)]


def pairs_of_successes(
    results: Sequence[Result | Failure], others: Sequence[Result | Failure]
) -> list[tuple[Result, Result]]:
    """Of the rounds in which both succeeded."""
    return [
        (one, other)
        for one, other in zip(results, others, strict=True)
        if not isinstance(one, Failure) and not isinstance(other, Failure)
    ]


def describe_failures(results: Sequence[Result | Failure]) -> str:
    """A note for the contestant's figures; empty if it never failed."""
    reasons = [result.reason for result in results if isinstance(result, Failure)]
    return f"failed in {len(reasons)} of {len(results)} rounds: {reasons[-1]}" if reasons else ""


def median_ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of each round's ratio: a slow minute of the machine is in both parts of it."""
    return median(value / other for value, other in zip(values, base, strict=True))
