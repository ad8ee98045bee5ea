"""The order in which contestants take turns, so that what else the machine does hits all alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import TypeVar

Name = TypeVar("Name")
Result = TypeVar("Result")


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


def median_ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of each round's ratio: a slow minute of the machine is in both parts of it."""
    return median(value / other for value, other in zip(values, base, strict=True))
